/** Sets of CPUs or NUMA nodes as libvirt writes them: `0-3,^2,8`, kept in normal form `0-1,3,8`. */
import { BadValue, type Scalar } from '../../base/xml/codec.ts';

/** The largest number in a set: more than Linux's NR_CPUS (8192), so that a hostile range stays small. */
const MAX_MEMBER = 16_383;

const partRule = /^(?:\^(\d{1,5})|(\d{1,5})(?:-(\d{1,5}))?)$/;

/** The numbers in a set, ascending; throws BadValue when the text is no set or its result is empty. */
export function cpusetMembers(text: string): number[] {
  const bits = parseBits(text);
  const found: number[] = [];
  for (let i = bits.indexOf(1); i !== -1; i = bits.indexOf(1, i + 1)) found.push(i);
  return found;
}

/** One byte a number, since a hostile definition may repeat wide ranges many thousand times. */
function parseBits(text: string): Uint8Array {
  const bits = new Uint8Array(MAX_MEMBER + 1);
  for (const part of text.trim().split(',')) addPart(bits, part.trim());
  if (!bits.includes(1)) throw new BadValue(`'${text.slice(0, 60)}' is an empty set`);
  return bits;
}

function addPart(members: Uint8Array, part: string): void {
  const found = partRule.exec(part);
  if (!found) throw new BadValue(`'${part.slice(0, 40)}' is not a number, a range or an exclusion`);
  const first = Number(found[1] ?? found[2]);
  const last = found[3] === undefined ? first : Number(found[3]);
  if (last < first) throw new BadValue(`'${part}' runs backwards`);
  if (last > MAX_MEMBER) throw new BadValue(`${last} is out of range (0 to ${MAX_MEMBER})`);
  members.fill(found[1] === undefined ? 1 : 0, first, last + 1);
}

/** Numbers to the shortest text. */
export function formatCpuset(members: readonly number[]): string {
  const bits = new Uint8Array(MAX_MEMBER + 1);
  for (const member of members) bits[member] = 1;
  return formatBits(bits);
}

function formatBits(bits: Uint8Array): string {
  const parts: string[] = [];
  for (let first = bits.indexOf(1); first !== -1; ) {
    const end = bits.indexOf(0, first);
    const last = end === -1 ? MAX_MEMBER : end - 1;
    parts.push(first === last ? String(first) : `${first}-${last}`);
    first = bits.indexOf(1, last + 1);
  }
  return parts.join(',');
}

/** A set in an attribute, in normal form. */
export const cpuset: Scalar<string> = {
  parse: (text) => formatBits(parseBits(text)),
  format: (value) => value,
};
