/** `<ip>`: the addresses of the bridge, with what DHCP and TFTP serve beside them. */
import { attr, child, childAttr, children, type Infer, object } from '../../base/xml/codec.ts';
import { oneOf, path, uint, yesNo } from '../../base/xml/scalars.ts';
import { need } from '../domain/devices/combinators.ts';
import { bootFile, cardAddress, dnsName, duid, ipAddress, ipv4Address } from './names.ts';

/** How long an address is lent; 0 is for ever. Without a unit minutes are meant. */
const lease = child(
  'lease',
  object({
    expiry: need('expiry', uint({ max: 0xffff_ffff })),
    unit: attr('unit', oneOf('seconds', 'minutes', 'hours')),
  }),
);

const rangeCodec = object({ start: need('start', ipAddress), end: need('end', ipAddress), lease });
export type DhcpRange = Infer<typeof rangeCodec>;

const hostCodec = object({
  mac: attr('mac', cardAddress),
  /** A DHCPv6 unique identifier; IPv6 only. */
  id: attr('id', duid),
  name: attr('name', dnsName),
  ip: attr('ip', ipAddress),
  lease,
});
export type DhcpHost = Infer<typeof hostCodec>;

export const dhcpCodecs = { range: rangeCodec, host: hostCodec } as const;

const bootpServer = { parse: serverOf, format: (value: string) => value };

const dhcpCodec = object({
  ranges: children('range', rangeCodec, 64),
  hosts: children('host', hostCodec),
  bootp: child('bootp', object({ file: need('file', bootFile), server: attr('server', bootpServer) })),
});
export type Dhcp = Infer<typeof dhcpCodec>;

function serverOf(text: string): string {
  return /^[\d.]+$|:/.test(text) ? ipAddress.parse(text) : dnsName.parse(text);
}

const ipCodec = object({
  family: attr('family', oneOf('ipv4', 'ipv6')),
  address: attr('address', ipAddress),
  netmask: attr('netmask', ipv4Address),
  prefix: attr('prefix', uint({ max: 128 })),
  /** Reverse lookups of this subnet are answered here alone. */
  localPtr: attr('localPtr', yesNo),
  /** Directory that TFTP serves. */
  tftpRoot: childAttr('tftp', 'root', path),
  dhcp: child('dhcp', dhcpCodec),
});
export type NetworkIp = Infer<typeof ipCodec>;
export const ips = children('ip', ipCodec, 64);

const routeCodec = object({
  family: attr('family', oneOf('ipv4', 'ipv6')),
  address: need('address', ipAddress),
  netmask: attr('netmask', ipv4Address),
  prefix: attr('prefix', uint({ max: 128 })),
  gateway: need('gateway', ipAddress),
  metric: attr('metric', uint({ min: 1, max: 0xffff_ffff })),
});
export type NetworkRoute = Infer<typeof routeCodec>;
export const routes = children('route', routeCodec, 256);
