/** Addresses and routes of the host's end of a tap (`<source><ip/><route/></source>` of an ethernet interface). */
import { VirtError } from '../../base/errors.ts';
import { parseIp } from '../../base/ip.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { familyOf, prefixOf } from '../../model/network/addresses.ts';
import type { LooseTapRequest } from '../../net/links/requests.ts';

type HostEnd = Pick<LooseTapRequest, 'addresses' | 'routes'>;
type EthernetSource = Extract<Interface['source'], { type: 'ethernet' }>;

/** @throws VirtError definition.unsupported for what is no address of that family, or names a peer */
export function hostEndOf({ source }: Interface, wanted: string): HostEnd {
  if (source.type !== 'ethernet') throw new Error(`${wanted}: not an ethernet interface`);
  return {
    addresses: source.ips.map((ip, index) => addressOf(ip, `source.ip[${index}]`, wanted)),
    routes: source.routes.map((route, index) => routeOf(route, `source.route[${index}]`, wanted)),
  };
}

function addressOf(
  { address, prefix, peer }: EthernetSource['ips'][number],
  path: string,
  wanted: string,
): HostEnd['addresses'][number] {
  if (peer !== undefined) throw refused(wanted, `${path}.peer`, 'point-to-point addresses are not supported');
  const family = familyAt(address, `${path}.address`, wanted);
  return { address, family, prefix: prefixAt({ address, prefix }, path, wanted) };
}

function routeOf(
  route: EthernetSource['routes'][number],
  path: string,
  wanted: string,
): HostEnd['routes'][number] {
  const family = familyAt(route.address, `${path}.address`, wanted);
  if (familyAt(route.gateway, `${path}.gateway`, wanted) !== family)
    throw refused(wanted, `${path}.gateway`, 'is of another family than the address');
  return {
    family,
    destination: route.address,
    prefix: prefixAt(route, path, wanted),
    gateway: route.gateway,
    ...(route.metric !== undefined && { metric: route.metric }),
  };
}

function familyAt(address: string, path: string, wanted: string): 4 | 6 {
  if (parseIp(address) === undefined) throw refused(wanted, path, `'${address}' is no IP address`);
  return familyOf(address);
}

function prefixAt(entry: Parameters<typeof prefixOf>[0], path: string, wanted: string): number {
  const prefix = prefixOf(entry);
  if (prefix === undefined) throw refused(wanted, `${path}.prefix`, 'does not fit the address');
  return prefix;
}

function refused(wanted: string, path: string, message: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: `${path}: ${message}`,
    details: { problems: [{ path, message }] },
  });
}
