/** Addresses and subnets of a definition, worked out: families, prefixes, ranges. */
import {
  bitsOf,
  formatSubnet,
  type IpAddress,
  type IpFamily,
  overlaps,
  parseIp,
  prefixOfMask,
  type Subnet,
  subnetOf,
} from '../../base/ip.ts';
import type { NetworkDef } from './network.ts';

/** An address with its mask, as `<ip>` and `<route>` give it. */
interface Masked {
  readonly address?: string | undefined;
  readonly netmask?: string | undefined;
  readonly prefix?: number | undefined;
}

/** The prefix of an address without one: its class (RFC 791, 3.2), or 64 for IPv6; what libvirt takes too. */
function classPrefix(address: IpAddress): number {
  if (address.family === 6) return 64;
  const first = address.bytes[0] ?? 0;
  if (first < 128) return 8;
  return first < 192 ? 16 : 24;
}

/** The prefix length; undefined when the netmask is none, or the address is missing. */
export function prefixOf(entry: Masked): number | undefined {
  const address = entry.address === undefined ? undefined : parseIp(entry.address);
  if (address === undefined) return undefined;
  if (entry.prefix !== undefined) return entry.prefix <= bitsOf(address.family) ? entry.prefix : undefined;
  if (entry.netmask === undefined) return classPrefix(address);
  const mask = parseIp(entry.netmask);
  return mask === undefined || address.family !== 4 ? undefined : prefixOfMask(mask);
}

/** The subnet of an `<ip>`; undefined when it has no address, or an impossible mask. */
export function subnetOfIp(entry: Masked): Subnet | undefined {
  const address = entry.address === undefined ? undefined : parseIp(entry.address);
  const prefix = prefixOf(entry);
  return address === undefined || prefix === undefined ? undefined : subnetOf(address, prefix);
}

/** All subnets of a network. */
export function subnetsOf(definition: NetworkDef): Subnet[] {
  return definition.ips.flatMap((ip) => subnetOfIp(ip) ?? []);
}

/** The first pair of subnets that have addresses in common, in words. */
export function overlapOf(mine: readonly Subnet[], others: readonly Subnet[]): string | undefined {
  for (const one of mine)
    for (const other of others)
      if (overlaps(one, other)) return `${formatSubnet(one)} overlaps with ${formatSubnet(other)}`;
  return undefined;
}

/** The family of an address that was checked by the XML mapping. */
export function familyOf(address: string): IpFamily {
  return address.includes(':') ? 6 : 4;
}
