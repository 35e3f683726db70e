/** The kernel's lists of processor numbers, `0-3,8,10-11` (Documentation/admin-guide/cputopology.rst). Pure. */

/** No machine that Linux runs on has more: CONFIG_NR_CPUS is at most 8192 on x86. */
const MAX_NUMBER = 65_535;

/** Parses a list; an empty text is an empty list. Undefined when the text is no such list. */
export function parseCpuList(text: string): number[] | undefined {
  const numbers: number[] = [];
  for (const part of text.trim().split(',')) {
    if (part === '') continue;
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (!match || last < first || last > MAX_NUMBER) return undefined;
    for (let number = first; number <= last; number += 1) numbers.push(number);
  }
  return numbers;
}
