/** Port forwards of a network: kept in its metadata, in a namespace of ours, so that they live in the definition. */
import type { Problem } from '../../base/errors.ts';
import { contains, parseIp } from '../../base/ip.ts';
import { attr, children, type Infer, object, readDocument, writeElement } from '../../base/xml/codec.ts';
import { oneOf, str, uint } from '../../base/xml/scalars.ts';
import type { XmlElement } from '../../base/xml/tree.ts';
import { need } from '../domain/devices/combinators.ts';
import { findMetadata, withMetadata } from '../domain/metadata.ts';
import { splitName } from '../domain/qemu-namespace.ts';
import { subnetsOf } from './addresses.ts';
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
});
/** One port of the host and where it leads: to `guest`, or to `guestAddress`. */
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

/** True when both have the same port of the host, or one of them has it on all addresses. */
export function isSameHostEnd(
  a: Pick<NetworkPortForward, 'protocol' | 'hostAddress' | 'hostPort'>,
  b: Pick<NetworkPortForward, 'protocol' | 'hostAddress' | 'hostPort'>,
): boolean {
  return (
    a.protocol === b.protocol &&
    a.hostPort === b.hostPort &&
    (a.hostAddress === undefined || b.hostAddress === undefined || a.hostAddress === b.hostAddress)
  );
}

export function portForwardProblems(definition: NetworkDef): Problem[] {
  const forwards = portForwardsOf(definition);
  const mode = forwardModeOf(definition);
  if (forwards.length > 0 && mode !== 'nat' && mode !== 'route')
    return [{ path: 'metadata.forwards', message: "port forwards need mode 'nat' or 'route'" }];
  return forwards.flatMap((forward, i) => {
    const path = `metadata.forwards.forward[${i}]`;
    const twin = forwards.findIndex((other, j) => j < i && isSameHostEnd(other, forward));
    return [
      ...guestProblems(forward, definition, path),
      ...(twin === -1
        ? []
        : [{ path: `${path}.hostPort`, message: `is forwarded by forward[${twin}] already` }]),
    ];
  });
}

function guestProblems(forward: NetworkPortForward, definition: NetworkDef, path: string): Problem[] {
  const { guest, guestAddress, hostAddress } = forward;
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
