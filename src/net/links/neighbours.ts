/** The host's neighbour table (ARP for IPv4, NDP for IPv6) by rtnetlink: who answers to which address on which link. */
import { formatIp } from '../../base/ip.ts';
import { netlinkQuery, parseAttributes } from '../../base/netlink.ts';
import type { Family } from '../plan.ts';
import { linkError } from './link-error.ts';
import { macText, NETLINK_ROUTE } from './rtnetlink.ts';

// linux/rtnetlink.h, linux/neighbour.h
const RTM_GETNEIGH = 30;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_CACHEINFO = 3;
const NUD_INCOMPLETE = 0x01;
const NUD_FAILED = 0x20;
const NUD_NOARP = 0x40;

/** The kernel counts times for user space in hundredths of a second on all we run on (USER_HZ). */
const TICK_MS = 10;

const families: Readonly<Record<number, Family>> = { 2: 4, 10: 6 };

/** An address that the kernel has seen a MAC address answer to. */
export interface Neighbour {
  readonly family: Family;
  readonly address: string;
  /** Lower case, with colons. */
  readonly mac: string;
  /** Index of the host's link it is behind. */
  readonly linkIndex: number;
  /** How long ago it last answered to the kernel; undefined when the kernel does not say. */
  readonly confirmedAgoMs: number | undefined;
}

/**
 * All neighbours with a hardware address. An entry may be minutes old (NUD_STALE); those that nobody answered to any
 * more, or that stand for multicast, are left out. Needs no rights.
 * @throws VirtError link.failed
 */
export function listNeighbours(): Neighbour[] {
  const request = {
    protocol: NETLINK_ROUTE,
    type: RTM_GETNEIGH,
    body: Buffer.alloc(12), // struct ndmsg, all zero: every family
    what: 'list the neighbours',
  };
  try {
    return netlinkQuery(request, true).flatMap(parseNeighbour);
  } catch (error) {
    throw linkError(error, 'look at the neighbour table of the host');
  }
}

/** struct ndmsg: family (8 bits), pads, index (at 4), state (16 bits at 8), flags, type; then the attributes. */
export function parseNeighbour(body: Buffer): Neighbour[] {
  if (body.length < 12) return [];
  const family = families[body.readUInt8(0)];
  const attributes = parseAttributes(body.subarray(12));
  const destination = attributes.get(NDA_DST);
  const mac = attributes.get(NDA_LLADDR);
  const isKnown = (body.readUInt16LE(8) & (NUD_INCOMPLETE | NUD_FAILED | NUD_NOARP)) === 0;
  if (family === undefined || !isKnown || destination?.length !== (family === 4 ? 4 : 16)) return [];
  if (mac?.length !== 6) return [];
  return [
    {
      family,
      address: formatIp({ family, bytes: [...destination] }),
      mac: macText(mac),
      linkIndex: body.readInt32LE(4),
      confirmedAgoMs: confirmedAgo(attributes.get(NDA_CACHEINFO)),
    },
  ];
}

/** struct nda_cacheinfo: ages in ticks since it was confirmed, used and updated, and the count of references. */
function confirmedAgo(info: Buffer | undefined): number | undefined {
  return info === undefined || info.length < 16 ? undefined : info.readUInt32LE(0) * TICK_MS;
}
