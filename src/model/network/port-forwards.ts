/** Port forwards of a network: kept in its metadata, in a namespace of ours, so that they live in the definition. */
import type { Problem } from '../../base/errors.ts';
import { contains, parseIp } from '../../base/ip.ts';
import { attr, children, type Infer, object, readDocument, writeElement } from '../../base/xml/codec.ts';
import { oneOf, str, uint } from '../../base/xml/scalars.ts';
import type { XmlElement } from '../../base/xml/tree.ts';
import { need } from '../domain/devices/combinators.ts';
import { findMetadata, withMetadata } from '../domain/metadata.ts';
import { splitName } from '../domain/qemu-namespace.ts';
import { familyOf, subnetsOf } from './addresses.ts';
import { ipAddress } from './names.ts';
import { forwardModeOf, type NetworkDef } from './network.ts';

const namespace = 'urn:vireo:network:forwards:1';
const prefix = 'vireo';

const port = uint({ min: 1, max: 65_535 });
const forwardCodec = object({
  protocol: need('protocol', oneOf('tcp', 'udp')),
  /** The host's address; without it all. */
  hostAddress: attr('hostAddress', ipAddress),
  hostPort: need('hostPort', port),
  /** The guest by its name: its address is looked up, and followed when it changes. */
  guest: attr('guest', str({ min: 1, max: 255 })),
  guestAddress: attr('guestAddress', ipAddress),
  guestPort: need('guestPort', port),
  /** How many ports in a row, beginning with these two; 1 when left out. */
  count: attr('count', uint({ min: 1, max: 1024 })),
});
/** One port of the host, or several in a row, and where they lead: to `guest`, or to `guestAddress`. */
export type NetworkPortForward = Infer<typeof forwardCodec>;

const listCodec = object({ forwards: children('forward', forwardCodec, 1024) });

/** The element with its prefixes taken off, as the mapping names things. */
function withoutPrefixes(element: XmlElement): XmlElement {
  return {
    ...element,
    name: splitName(element.name).local,
    children: element.children.map((node) => (typeof node === 'string' ? node : withoutPrefixes(node))),
  };
}

function withPrefixes(element: XmlElement): XmlElement {
  return {
    ...element,
    name: `${prefix}:${element.name}`,
    children: element.children.map((node) => (typeof node === 'string' ? node : withPrefixes(node))),
  };
}

/**
 * The port forwards of a definition.
 * @throws VirtError xml.invalid when somebody wrote something else there
 */
export function portForwardsOf(definition: NetworkDef): NetworkPortForward[] {
  const found = findMetadata(definition.metadata, namespace);
  if (found === undefined) return [];
  const { value } = readDocument(listCodec, withoutPrefixes(found), 'forwards', {
    mode: 'strict',
    what: 'port forwards in the metadata',
  });
  return value.forwards;
}

/** The definition with these port forwards instead of its own. */
export function withPortForwards(
  definition: NetworkDef,
  forwards: readonly NetworkPortForward[],
): NetworkDef {
  const element = withPrefixes(writeElement(listCodec, 'forwards', { forwards: [...forwards] }));
  const replacement = forwards.length === 0 ? undefined : { element, prefix };
  if (replacement === undefined && findMetadata(definition.metadata, namespace) === undefined)
    return definition;
  return { ...definition, metadata: withMetadata(definition.metadata, namespace, replacement) };
}

/** The host's end of a forward. */
export type HostEnd = Pick<
  NetworkPortForward,
  'protocol' | 'hostAddress' | 'hostPort' | 'guestAddress' | 'count'
>;

/** The address of the host that is meant, undefined for all: `0.0.0.0` and `::` say the same in other words. */
export function listenAddressOf({ hostAddress }: Pick<HostEnd, 'hostAddress'>): string | undefined {
  return hostAddress === '0.0.0.0' || hostAddress === '::' ? undefined : hostAddress;
}

/** A forward is of one family: that of its addresses, and without any IPv4. */
export function forwardFamilyOf({
  hostAddress,
  guestAddress,
}: Pick<HostEnd, 'hostAddress' | 'guestAddress'>): 4 | 6 {
  return familyOf(hostAddress ?? guestAddress ?? '');
}

/** The first and the last port of the host. */
export function hostPortsOf({ hostPort, count = 1 }: Pick<HostEnd, 'hostPort' | 'count'>): [number, number] {
  return [hostPort, hostPort + count - 1];
}

/** True when both have a port of the host in common, on the same address, or one of them on all. */
export function isSameHostEnd(a: HostEnd, b: HostEnd): boolean {
  const [addressA, addressB] = [listenAddressOf(a), listenAddressOf(b)];
  const [firstA, lastA] = hostPortsOf(a);
  const [firstB, lastB] = hostPortsOf(b);
  return (
    a.protocol === b.protocol &&
    forwardFamilyOf(a) === forwardFamilyOf(b) &&
    firstA <= lastB &&
    firstB <= lastA &&
    (addressA === undefined || addressB === undefined || addressA === addressB)
  );
}

/** `tcp port 8080`, `udp ports 5000 to 5009 of 192.0.2.1`. */
export function describeHostEnd(end: HostEnd): string {
  const [first, last] = hostPortsOf(end);
  const ports = first === last ? `port ${first}` : `ports ${first} to ${last}`;
  return `${end.protocol} ${ports}${end.hostAddress === undefined ? '' : ` of ${end.hostAddress}`}`;
}

/** A shifted range is a rule a port for the firewall; a range that keeps its ports is one rule. */
const MAX_SHIFTED_PORTS = 4096;

export function portForwardProblems(definition: NetworkDef): Problem[] {
  const forwards = portForwardsOf(definition);
  const mode = forwardModeOf(definition);
  if (forwards.length > 0 && mode !== 'nat' && mode !== 'route')
    return [{ path: 'metadata.forwards', message: "port forwards need mode 'nat' or 'route'" }];
  const shifted = forwards.filter(({ hostPort, guestPort }) => hostPort !== guestPort);
  if (shifted.reduce((sum, { count = 1 }) => sum + count, 0) > MAX_SHIFTED_PORTS)
    return [
      {
        path: 'metadata.forwards',
        message: `more than ${MAX_SHIFTED_PORTS} ports lead to another port of a guest`,
      },
    ];
  return forwards.flatMap((forward, i) => {
    const path = `metadata.forwards.forward[${i}]`;
    const twin = forwards.findIndex((other, j) => j < i && isSameHostEnd(other, forward));
    return [
      ...guestProblems(forward, definition, path),
      ...rangeProblems(forward, path),
      ...(twin === -1
        ? []
        : [{ path: `${path}.hostPort`, message: `is forwarded by forward[${twin}] already` }]),
    ];
  });
}

function rangeProblems({ hostPort, guestPort, count = 1 }: NetworkPortForward, path: string): Problem[] {
  const last = Math.max(hostPort, guestPort) + count - 1;
  return last <= 65_535 ? [] : [{ path: `${path}.count`, message: 'goes beyond port 65535' }];
}

function guestProblems(forward: NetworkPortForward, definition: NetworkDef, path: string): Problem[] {
  const { guest, guestAddress, hostAddress } = forward;
  if (hostAddress === '::1')
    return [{ path: `${path}.hostAddress`, message: 'cannot be led on: the kernel keeps ::1 to itself' }];
  if (forwardFamilyOf(forward) === 6 && !definition.ips.some(({ address = '' }) => familyOf(address) === 6))
    return [{ path, message: 'is IPv6, and the network has no IPv6 address' }];
  if ((guest === undefined) === (guestAddress === undefined))
    return [{ path, message: 'leads to a guest or to an address, one of both' }];
  const address = guestAddress === undefined ? undefined : parseIp(guestAddress);
  if (address === undefined) return [];
  if (!subnetsOf(definition).some((subnet) => contains(subnet, address)))
    return [{ path: `${path}.guestAddress`, message: 'is in no subnet of this network' }];
  if (definition.ips.some((ip) => ip.address === guestAddress))
    return [{ path: `${path}.guestAddress`, message: "is the network's own address" }];
  if (hostAddress !== undefined && parseIp(hostAddress)?.family !== address.family)
    return [{ path: `${path}.hostAddress`, message: 'is of another family than the address of the guest' }];
  return [];
}
