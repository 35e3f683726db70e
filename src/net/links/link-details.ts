/** What the kernel tells of one link beyond its name and state: what it lies on, its note, its counters. */
import { attributeText, netlinkQuery, parseAttributes, textAttribute } from '../../base/netlink.ts';
import type { HostLink } from '../plan.ts';
import type { LinkStatistics } from './requests.ts';
import { linkHeader, NETLINK_ROUTE, parseLink, RTM_GETLINK } from './rtnetlink.ts';

// linux/if_link.h
const IFLA_IFNAME = 3;
const IFLA_LINK = 5;
const IFLA_QDISC = 6;
const IFLA_IFALIAS = 20;
const IFLA_STATS64 = 23;

export interface LinkDetails extends HostLink {
  /** Index of the interface that this one lies on (macvtap, VLAN). */
  readonly lower: number | undefined;
  /** The administrator's note, which we write who made it. */
  readonly note: string | undefined;
  /** The kind of the queue that packets leave by (tc(8)): `noqueue`, `htb`. */
  readonly queue: string | undefined;
  /** The host's view: `rx` is what the device received. */
  readonly counters: LinkStatistics;
}

/** All links with their details. */
export function listLinkDetails(): LinkDetails[] {
  const request = {
    protocol: NETLINK_ROUTE,
    type: RTM_GETLINK,
    body: linkHeader({}),
    what: 'list the links',
  };
  return netlinkQuery(request, true).map(parseDetails);
}

/** @throws FfiError ENODEV when there is none of that name */
export function linkDetails(name: string): LinkDetails {
  const body = Buffer.concat([linkHeader({}), textAttribute(IFLA_IFNAME, name)]);
  const request = { protocol: NETLINK_ROUTE, type: RTM_GETLINK, body, what: `look up link ${name}` };
  const [answer] = netlinkQuery(request, false);
  if (answer === undefined) throw new Error(`no answer about link ${name}`);
  return parseDetails(answer);
}

function parseDetails(body: Buffer): LinkDetails {
  const attributes = parseAttributes(body.subarray(16));
  return {
    ...parseLink(body),
    lower: attributes.get(IFLA_LINK)?.readUInt32LE(0),
    note: attributeText(attributes.get(IFLA_IFALIAS)),
    queue: attributeText(attributes.get(IFLA_QDISC)),
    counters: parseCounters(attributes.get(IFLA_STATS64)),
  };
}

/** struct rtnl_link_stats64: 64-bit counters of packets, bytes, errors and drops, received before transmitted. */
function parseCounters(data: Buffer | undefined): LinkStatistics {
  const at = (index: number): number =>
    data !== undefined && data.length >= 8 * (index + 1) ? Number(data.readBigUInt64LE(8 * index)) : 0;
  return {
    rxPackets: at(0),
    txPackets: at(1),
    rxBytes: at(2),
    txBytes: at(3),
    rxErrors: at(4),
    txErrors: at(5),
    rxDropped: at(6),
    txDropped: at(7),
  };
}

/** The same counters from the other end of the cable. */
export function swapped(counters: LinkStatistics): LinkStatistics {
  return {
    rxPackets: counters.txPackets,
    txPackets: counters.rxPackets,
    rxBytes: counters.txBytes,
    txBytes: counters.rxBytes,
    rxErrors: counters.txErrors,
    txErrors: counters.rxErrors,
    rxDropped: counters.txDropped,
    txDropped: counters.rxDropped,
  };
}
