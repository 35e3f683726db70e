/** IPv4 and IPv6 addresses and subnets: reading, printing, comparing, counting. Arithmetic is done on bytes. */

export type IpFamily = 4 | 6;

/** An address: 4 or 16 bytes, most significant first. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly bytes: readonly number[];
}

/** A range of addresses with a common prefix; `base` has all host bits zero. */
export interface Subnet {
  readonly base: IpAddress;
  readonly prefix: number;
}

/** How many bits an address of the family has. */
export function bitsOf(family: IpFamily): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** Reads an address in its usual text form (RFC 4291, 2.2); zone ids and leading zeros in IPv4 are no address. */
export function parseIp(text: string): IpAddress | undefined {
  if (text.length > 45) return undefined;
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): IpAddress | undefined {
  const parts = text.split('.');
  const bytes = parts.map((part) => (/^(0|[1-9]\d{0,2})$/.test(part) ? Number(part) : 256));
  return parts.length === 4 && bytes.every((byte) => byte < 256) ? { family: 4, bytes } : undefined;
}

function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  const groups = halves.map((half, index) => groupBytes(half, index === halves.length - 1));
  const [head, rest] = groups;
  if (halves.length > 2 || head === undefined || groups.includes(undefined)) return undefined;
  if (halves.length === 1) return head.length === 16 ? { family: 6, bytes: head } : undefined;
  const tail = rest ?? [];
  const missing = 16 - head.length - tail.length;
  if (missing < 2) return undefined;
  return { family: 6, bytes: [...head, ...Array<number>(missing).fill(0), ...tail] };
}

/** The bytes of groups divided by colons; the last of all may be an IPv4 address. Undefined when one is wrong. */
function groupBytes(text: string, isEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [index, group] of groups.entries()) {
    if (isEnd && group.includes('.') && index === groups.length - 1) {
      const v4 = parseIpv4(group);
      if (v4 === undefined) return undefined;
      bytes.push(...v4.bytes);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    } else return undefined;
  }
  return bytes;
}

/** The canonical text (RFC 5952 for IPv6). */
export function formatIp(address: IpAddress): string {
  if (address.family === 4) return address.bytes.join('.');
  const groups = Array.from(
    { length: 8 },
    (_unused, i) => ((address.bytes[2 * i] ?? 0) << 8) | (address.bytes[2 * i + 1] ?? 0),
  );
  const run = longestZeroRun(groups);
  const text = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  if (run.length < 2) return text(groups);
  return `${text(groups.slice(0, run.start))}::${text(groups.slice(run.start + run.length))}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}

/** Negative, zero or positive, as for sort; IPv4 comes before IPv6. */
export function compareIp(a: IpAddress, b: IpAddress): number {
  if (a.family !== b.family) return a.family - b.family;
  for (const [index, byte] of a.bytes.entries()) {
    const difference = byte - (b.bytes[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export function isSameIp(a: IpAddress, b: IpAddress): boolean {
  return compareIp(a, b) === 0;
}

/** The byte of a mask of `prefix` bits at `index`. */
function maskByte(prefix: number, index: number): number {
  const bits = Math.min(8, Math.max(0, prefix - 8 * index));
  return (0xff00 >> bits) & 0xff;
}

/** The subnet an address is in. */
export function subnetOf(address: IpAddress, prefix: number): Subnet {
  const bytes = address.bytes.map((byte, index) => byte & maskByte(prefix, index));
  return { base: { family: address.family, bytes }, prefix };
}

/** The highest address: for IPv4 the broadcast address. */
export function lastOf(subnet: Subnet): IpAddress {
  const { base, prefix } = subnet;
  return {
    family: base.family,
    bytes: base.bytes.map((byte, index) => byte | (~maskByte(prefix, index) & 0xff)),
  };
}

export function contains(subnet: Subnet, address: IpAddress): boolean {
  return (
    address.family === subnet.base.family && isSameIp(subnetOf(address, subnet.prefix).base, subnet.base)
  );
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return contains(a, b.base) || contains(b, a.base);
}

/** The address `offset` further on; past the end of the family it starts again. */
export function offsetIp(address: IpAddress, offset: number): IpAddress {
  const bytes = [...address.bytes];
  let carry = offset;
  for (let index = bytes.length - 1; index >= 0 && carry > 0; index--) {
    const sum = (bytes[index] ?? 0) + (carry % 256);
    bytes[index] = sum & 0xff;
    carry = Math.floor(carry / 256) + (sum >> 8);
  }
  return { family: address.family, bytes };
}

/** How many addresses from `first` to `last`, both counted; exact up to 2^53, zero or less when they are reversed. */
export function countOf(first: IpAddress, last: IpAddress): number {
  const valueOf = (address: IpAddress) => address.bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  // The common head would cost the digits that count.
  const differs = first.bytes.findIndex((byte, index) => byte !== last.bytes[index]);
  if (differs === -1) return 1;
  const tail = (address: IpAddress) => valueOf({ ...address, bytes: address.bytes.slice(differs) });
  return tail(last) - tail(first) + 1;
}

/** The prefix length of a netmask; undefined when its ones are not all in front. */
export function prefixOfMask(mask: IpAddress): number | undefined {
  const bits = mask.bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(bits) ? bits.lastIndexOf('1') + 1 : undefined;
}

/** `192.168.122.0/24` */
export function formatSubnet(subnet: Subnet): string {
  return `${formatIp(subnet.base)}/${subnet.prefix}`;
}

/** Reads `192.168.150.0/24`; host bits that are set are cleared. */
export function parseSubnet(text: string): Subnet | undefined {
  const [head = '', bits, ...more] = text.split('/');
  const address = parseIp(head);
  if (address === undefined || more.length > 0 || bits === undefined || !/^(0|[1-9]\d{0,2})$/.test(bits))
    return undefined;
  const prefix = Number(bits);
  return prefix <= bitsOf(address.family) ? subnetOf(address, prefix) : undefined;
}
