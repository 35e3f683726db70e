/** Where an interface of a domain is plugged in, and how: from its definition and its network's. Decides, touches nothing. */
import { VirtError } from '../../base/errors.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { type Connection, connectionOn, ownConnection, portgroupOf } from '../../model/network/connection.ts';
import { forwardModeOf, hasOwnBridge, type NetworkDef } from '../../model/network/network.ts';
import type { MacvtapMode, PortSettings } from '../../net/links/requests.ts';
import { portVlansOf } from '../../net/plan-from-definition.ts';

/** The virtual network that an interface is on. */
interface Membership {
  readonly network?: string;
}

/** A tap on a bridge. */
export interface BridgePlace extends Membership {
  readonly kind: 'bridge';
  readonly bridge: string;
  /** The bridge is one that we made. */
  readonly isOwnBridge: boolean;
  readonly connection: Connection;
}

/** A macvtap on an interface of the host; of several, one that has the fewest guests. */
export interface MacvtapPlace extends Membership {
  readonly kind: 'macvtap';
  /** Not empty. */
  readonly candidates: readonly string[];
  readonly mode: MacvtapMode;
  readonly connection: Connection;
}

/** A tap by itself, or one that an administrator made. */
export interface EthernetPlace {
  readonly kind: 'loose' | 'existing';
  readonly connection: Connection;
}

export type Place = BridgePlace | MacvtapPlace | EthernetPlace;

/** What `placeOf` must know of networks. */
export interface NetworkLookup {
  /** The running definition. @throws VirtError network.not-found, network.inactive */
  readonly live: (name: string) => NetworkDef;
}

/** @throws VirtError definition.unsupported, with the path; and what the lookup throws */
export function placeOf(nic: Interface, path: string, wanted: string, networks: NetworkLookup): Place {
  const place = findPlace(nic, wanted, networks);
  refuseParts(nic, place, path, wanted);
  return place;
}

function findPlace(nic: Interface, wanted: string, networks: NetworkLookup): Place {
  const { source } = nic;
  switch (source.type) {
    case 'network':
      return onNetwork(nic, networks.live(source.network), source.portgroup, wanted);
    case 'bridge':
      return { kind: 'bridge', bridge: source.bridge, isOwnBridge: false, connection: ownConnection(nic) };
    case 'direct':
      return {
        kind: 'macvtap',
        candidates: [source.dev],
        mode: source.mode ?? 'vepa',
        connection: ownConnection(nic),
      };
    case 'ethernet':
      return {
        kind: nic.target?.managed === false ? 'existing' : 'loose',
        connection: ownConnection(nic),
      };
    default:
      throw new Error(`${wanted}: an interface of type '${source.type}' has no link of ours`);
  }
}

function onNetwork(nic: Interface, network: NetworkDef, wish: string | undefined, wanted: string): Place {
  const group = portgroupOf(network, wish);
  if (group === undefined && wish !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `network '${network.name}' has no port group '${wish}'`,
      hint: `'vireo network xml ${network.name}' shows those it has`,
    });
  const connection = connectionOn(nic, network, group);
  const bridge = network.bridge?.name;
  if (bridge !== undefined)
    return {
      kind: 'bridge',
      network: network.name,
      bridge,
      isOwnBridge: hasOwnBridge(network),
      connection,
    };
  return { ...onInterfaces(network, wanted), network: network.name, connection };
}

function onInterfaces(
  network: NetworkDef,
  wanted: string,
): Pick<MacvtapPlace, 'kind' | 'candidates' | 'mode'> {
  const mode = forwardModeOf(network);
  if (mode !== 'bridge' && mode !== 'private' && mode !== 'vepa' && mode !== 'passthrough')
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `network '${network.name}' has mode '${mode}', and no bridge or interface to plug a running card into`,
      hint: 'detach the interface and attach another',
    });
  const { interfaces = [], dev, physical } = network.forward ?? {};
  const candidates =
    interfaces.length > 0 ? interfaces.map((one) => one.dev) : dev === undefined ? [] : [dev];
  if (candidates.length > 0) return { kind: 'macvtap', candidates, mode };
  throw new VirtError('definition.unsupported', {
    wanted,
    reason:
      physical === undefined
        ? `network '${network.name}' names no interface of the host`
        : `network '${network.name}' takes the virtual functions of ${physical.dev}, which is not supported`,
    hint: 'list the interfaces with <interface dev=.../> in <forward>',
  });
}

/** What cannot be carried out at this place is refused, whoever asked for it: interface, port group or network. */
function refuseParts(nic: Interface, place: Place, path: string, wanted: string): void {
  const { connection, kind } = place;
  const refuse = (part: string, message: string, hint?: string): never => {
    const where = `${path}.${part}`;
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `${where}: ${message}`,
      ...(hint !== undefined && { hint }),
      details: { problems: [{ path: where, message }] },
    });
  };
  if (connection.virtualport)
    refuse(
      'virtualport',
      `virtual ports of type '${connection.virtualport.type ?? 'unknown'}' are not supported`,
      'Linux bridges know VLANs and isolated ports without a virtual port',
    );
  if (connection.vlan && kind !== 'bridge') refuse('vlan', 'needs a bridge');
  if (connection.isIsolated && kind !== 'bridge') refuse('port', 'needs a bridge');
  if (connection.bandwidth?.inbound?.floor !== undefined && (kind !== 'bridge' || !place.isOwnBridge))
    refuse('bandwidth.inbound.floor', 'a share can only be guaranteed on a network with a bridge of its own');
  if (connection.isTrusted && kind !== 'macvtap' && connection.macTable === 'libvirt')
    refuse('trustGuestRxFilters', "does not go with macTableManager='libvirt'");
  if (connection.isTrusted && kind === 'macvtap' && nic.model?.startsWith('virtio') !== true)
    refuse('trustGuestRxFilters', 'needs a virtio card');
}

/** How the bridge treats the port of an interface there. */
export function portOf(place: BridgePlace, mac: string): PortSettings & { readonly bridge: string } {
  const { connection, bridge, isOwnBridge } = place;
  return {
    bridge,
    mac,
    ...(connection.isIsolated && { isolated: true }),
    ...(connection.macTable && { macTable: connection.macTable }),
    ...(connection.vlan && { vlans: portVlansOf(connection.vlan), isOwnBridge }),
  };
}

/** The same for the port of a running guest, when its network's own bridge was made anew. */
export function portAgain(nic: Interface, mac: string, network: NetworkDef): PortSettings {
  const portgroup = 'portgroup' in nic.source ? nic.source.portgroup : undefined;
  const connection = connectionOn(nic, network, portgroupOf(network, portgroup));
  return portOf({ kind: 'bridge', bridge: network.bridge?.name ?? '', isOwnBridge: true, connection }, mac);
}
