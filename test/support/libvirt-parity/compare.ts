/** Makes XML and command lines of both daemons comparable, and finds their differences. */

/** One line that only one side has. */
export interface Difference {
  readonly side: 'libvirt' | 'vireo';
  readonly line: string;
}

/** The differing lines in document order, by the longest common subsequence. */
export function lineDifferences(libvirt: readonly string[], vireo: readonly string[]): Difference[] {
  const lengths = commonLengths(libvirt, vireo);
  const found: Difference[] = [];
  let [i, j] = [0, 0];
  while (i < libvirt.length || j < vireo.length) {
    const [a, b] = [libvirt[i], vireo[j]];
    if (a !== undefined && a === b) [i, j] = [i + 1, j + 1];
    else if (a !== undefined && (b === undefined || at(lengths, i + 1, j) >= at(lengths, i, j + 1))) {
      found.push({ side: 'libvirt', line: a });
      i++;
    } else {
      found.push({ side: 'vireo', line: b ?? '' });
      j++;
    }
  }
  return found;
}

const at = (table: readonly Uint16Array[], i: number, j: number): number => table[i]?.[j] ?? 0;

/** `[i][j]`: how many lines the ends from i and j have in common. */
function commonLengths(a: readonly string[], b: readonly string[]): Uint16Array[] {
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) {
      const row = table[i] as Uint16Array;
      row[j] =
        a[i] === b[j] ? at(table, i + 1, j + 1) + 1 : Math.max(at(table, i + 1, j), at(table, i, j + 1));
    }
  return table;
}

/** XML as lines, with what is random, or the daemon's own path, replaced. */
export function xmlLines(xml: string): string[] {
  return (
    xml
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
      .replace(/52:54:00(:[0-9a-f]{2}){3}/g, 'MAC')
      .replace(/\/dev\/pts\/\d+/g, '/dev/pts/N')
      // Foreign metadata: libxml2 prints it with its own quotes.
      .replaceAll('"', "'")
      .trim()
      .split('\n')
  );
}
