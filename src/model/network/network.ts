/** A network's definition: its type, and libvirt's XML for it, each element declared once. */
import {
  attr,
  childAttr,
  childText,
  type FormatOptions,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  required,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { longText, str, uint, uuidText, yesNo } from '../../base/xml/scalars.ts';
import { childElements, childOf, formatXml } from '../../base/xml/tree.ts';
import { bandwidth, virtualport, vlan } from '../domain/devices/interface-parts.ts';
import { metadata } from '../domain/metadata.ts';
import { dns, domain } from './dns.ts';
import { declareDnsmasqPrefix, dnsmasqOptions, normalizeDnsmasqPrefix } from './dnsmasq-namespace.ts';
import { bridge, connections, type ForwardMode, forward } from './forward.ts';
import { ips, routes } from './ip.ts';
import { cardAddress, networkName } from './names.ts';
import { portgroups } from './portgroup.ts';

/** The order is the one in which libvirt prints. */
const networkCodec = object({
  connections,
  /** Guests may speak IPv6 with each other though the network has no IPv6 address. */
  ipv6: attr('ipv6', yesNo),
  trustGuestRxFilters: attr('trustGuestRxFilters', yesNo),
  name: required(childText('name', networkName), 'name'),
  uuid: childText('uuid', uuidText),
  title: childText('title', str()),
  description: childText('description', longText(1_048_576)),
  metadata: metadata((reader) => reader.element),
  forward,
  bridge,
  mtu: childAttr('mtu', 'size', uint({ min: 68, max: 65_535 })),
  mac: childAttr('mac', 'address', cardAddress),
  domain,
  dns,
  vlan,
  bandwidth,
  portIsolated: childAttr('port', 'isolated', yesNo),
  ips,
  routes,
  virtualport,
  portgroups,
  dnsmasqOptions,
});

/** A network as its definition tells it. What the document left out is absent until `applyNetworkDefaults`. */
export type NetworkDef = Omit<Infer<typeof networkCodec>, 'connections'>;

/** A definition with its defaults: what it must have to be stored. */
export type CompleteNetworkDef = NetworkDef & { readonly uuid: string };

/**
 * Reads a definition.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`.
 */
export function parseNetwork(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly definition: NetworkDef; readonly dropped: readonly string[] } {
  const root = normalizeDnsmasqPrefix(parseXml(xml));
  const { value, dropped } = readDocument(networkCodec, root, 'network', {
    mode: options.mode,
    what: 'network definition',
  });
  return { definition: value, dropped };
}

/** How many guests are connected: to the network, and to each of its interfaces by name. */
export interface Connections {
  readonly connections?: number;
  readonly interfaceConnections?: ReadonlyMap<string, number>;
}

/** Prints a definition as libvirt does. Connections are written for a running network that has some. */
export function formatNetwork(definition: NetworkDef, options: FormatOptions & Connections = {}): string {
  const root = writeElement(networkCodec, 'network', definition, options);
  if (options.connections) root.attrs.set('connections', String(options.connections));
  const forwardElement = childOf(root, 'forward');
  for (const entry of forwardElement ? childElements(forwardElement, 'interface') : []) {
    const count = options.interfaceConnections?.get(entry.attrs.get('dev') ?? '');
    if (count) entry.attrs.set('connections', String(count));
  }
  return formatXml(declareDnsmasqPrefix(root));
}

/** How the network is connected. */
export function forwardModeOf(definition: NetworkDef): ForwardMode {
  return definition.forward === undefined ? 'none' : (definition.forward.mode ?? 'nat');
}

/** True for networks whose bridge is ours: nat, route, open, and isolated ones. */
export function hasOwnBridge(definition: NetworkDef): boolean {
  return ['nat', 'route', 'open', 'none'].includes(forwardModeOf(definition));
}
