/** Choosing what nobody uses: a subnet for a new network, and a name for its bridge. Pure. */
import { overlaps, parseSubnet, type Subnet } from '../../base/ip.ts';

/** Where a network of ours lies by custom, and where it goes when that is taken: private addresses (RFC 1918). */
function* candidates(): Generator<string> {
  for (let third = 122; third <= 254; third++) yield `192.168.${third}.0/24`;
  for (let third = 0; third < 122; third++) yield `192.168.${third}.0/24`;
  for (let second = 16; second <= 31; second++) yield `172.${second}.122.0/24`;
  for (let second = 0; second <= 254; second++) yield `10.${second}.122.0/24`;
}

/** The first subnet by custom that has no address in common with those taken; undefined when there is none. */
export function freeSubnet(taken: readonly Subnet[]): Subnet | undefined {
  for (const text of candidates()) {
    const subnet = parseSubnet(text);
    if (subnet !== undefined && !taken.some((other) => overlaps(other, subnet))) return subnet;
  }
  return undefined;
}

/** `virbr0`, or the lowest number that is not taken. */
export function freeBridgeName(taken: ReadonlySet<string>): string {
  for (let number = 0; ; number++) if (!taken.has(`virbr${number}`)) return `virbr${number}`;
}
