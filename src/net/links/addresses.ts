/** Addresses and routes of the host by rtnetlink (rtnetlink(7)). */
import { formatIp, parseIp } from '../../base/ip.ts';
import {
  attribute,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  netlinkQuery,
  numberAttribute,
  parseAttributes,
} from '../../base/netlink.ts';
import type { Family, HostAddress, HostLink, HostRoute, RoutePlan } from '../plan.ts';
import { NETLINK_ROUTE, sendRoute } from './rtnetlink.ts';

// linux/rtnetlink.h
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const AF_INET = 2;
const AF_INET6 = 10;

const addressFamily = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);

// linux/if_addr.h
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_F_NODAD = 0x02;

export interface LinkAddress {
  readonly family: Family;
  readonly address: string;
  readonly prefix: number;
  /** IPv4 only. */
  readonly broadcast?: string;
}

function addressBody(link: HostLink, address: LinkAddress): Buffer {
  // struct ifaddrmsg: family, prefix length, flags, scope (8 bits each), index.
  const header = Buffer.alloc(8);
  header.writeUInt8(addressFamily(address.family), 0);
  header.writeUInt8(address.prefix, 1);
  // A bridge without ports has no carrier, so duplicate detection would leave an IPv6 address tentative for good.
  header.writeUInt8(address.family === 6 ? IFA_F_NODAD : 0, 2);
  header.writeUInt32LE(link.index, 4);
  const bytes = ipBytes(address.address);
  return Buffer.concat([
    header,
    attribute(IFA_LOCAL, bytes),
    attribute(IFA_ADDRESS, bytes),
    ...(address.broadcast === undefined ? [] : [attribute(IFA_BROADCAST, ipBytes(address.broadcast))]),
  ]);
}

function ipBytes(text: string): Buffer {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`'${text}' is no IP address`);
  return Buffer.from(address.bytes);
}

/** Adds an address, or refreshes the one that is there. */
export function addAddress(link: HostLink, address: LinkAddress): void {
  const what = `add address ${address.address}/${address.prefix} to ${link.name}`;
  sendRoute(RTM_NEWADDR, addressBody(link, address), what, NLM_F_CREATE | NLM_F_REPLACE);
}

export function deleteAddress(link: HostLink, address: LinkAddress): void {
  const what = `delete address ${address.address}/${address.prefix} of ${link.name}`;
  sendRoute(RTM_DELADDR, addressBody(link, address), what);
}

export function listAddresses(links: readonly HostLink[]): HostAddress[] {
  const names = new Map(links.map((link) => [link.index, link.name]));
  const request = {
    protocol: NETLINK_ROUTE,
    type: RTM_GETADDR,
    body: Buffer.alloc(8),
    what: 'list the addresses',
  };
  return netlinkQuery(request, true).flatMap((body) => {
    const family = familyOf(body.readUInt8(0));
    const attributes = parseAttributes(body.subarray(8));
    const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    const link = names.get(body.readUInt32LE(4));
    if (family === undefined || bytes === undefined || link === undefined) return [];
    return [{ family, link, address: ipText(family, bytes), prefix: body.readUInt8(1) }];
  });
}

function familyOf(number: number): Family | undefined {
  if (number === AF_INET) return 4;
  return number === AF_INET6 ? 6 : undefined;
}

function ipText(family: Family, bytes: Uint8Array): string {
  return formatIp({ family, bytes: [...bytes] });
}

// linux/rtnetlink.h
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_TABLE = 15;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RTN_UNICAST = 1;

function routeBody(link: HostLink, route: RoutePlan): Buffer {
  // struct rtmsg: family, destination and source prefix, tos, table, protocol, scope, type (8 bits each), flags.
  const header = Buffer.alloc(12);
  header.writeUInt8(addressFamily(route.family), 0);
  header.writeUInt8(route.prefix, 1);
  header.writeUInt8(RT_TABLE_MAIN, 4);
  header.writeUInt8(RTPROT_STATIC, 5);
  header.writeUInt8(RTN_UNICAST, 7);
  return Buffer.concat([
    header,
    attribute(RTA_DST, ipBytes(route.destination)),
    attribute(RTA_GATEWAY, ipBytes(route.gateway)),
    numberAttribute(RTA_OIF, link.index),
    ...(route.metric === undefined ? [] : [numberAttribute(RTA_PRIORITY, route.metric)]),
  ]);
}

/** Adds a route, or replaces the one to the same destination with the same metric. */
export function addRoute(link: HostLink, route: RoutePlan): void {
  const what = `add route ${route.destination}/${route.prefix} via ${route.gateway}`;
  sendRoute(RTM_NEWROUTE, routeBody(link, route), what, NLM_F_CREATE | NLM_F_REPLACE);
}

export function deleteRoute(link: HostLink, route: RoutePlan): void {
  const what = `delete route ${route.destination}/${route.prefix}`;
  sendRoute(RTM_DELROUTE, routeBody(link, route), what);
}

/** Unicast routes of the main table. */
export function listRoutes(links: readonly HostLink[]): (HostRoute & { readonly protocol: number })[] {
  const names = new Map(links.map((link) => [link.index, link.name]));
  const request = {
    protocol: NETLINK_ROUTE,
    type: RTM_GETROUTE,
    body: Buffer.alloc(12),
    what: 'list the routes',
  };
  return netlinkQuery(request, true).flatMap((body) => {
    const family = familyOf(body.readUInt8(0));
    const attributes = parseAttributes(body.subarray(12));
    const table = attributes.get(RTA_TABLE)?.readUInt32LE(0) ?? body.readUInt8(4);
    if (family === undefined || table !== RT_TABLE_MAIN || body.readUInt8(7) !== RTN_UNICAST) return [];
    const destination = attributes.get(RTA_DST);
    const gateway = attributes.get(RTA_GATEWAY);
    return [
      {
        family,
        destination: destination ? ipText(family, destination) : family === 4 ? '0.0.0.0' : '::',
        prefix: body.readUInt8(1),
        gateway: gateway && ipText(family, gateway),
        link: names.get(attributes.get(RTA_OIF)?.readUInt32LE(0) ?? 0),
        protocol: body.readUInt8(5),
      },
    ];
  });
}
