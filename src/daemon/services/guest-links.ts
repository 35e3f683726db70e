/** Taps for guests: from the interface of a domain, through the network it names, to a bridge of the host. */
import { VirtError } from '../../base/errors.ts';
import type { GuestLink, LinkProvider } from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { forwardModeOf, hasOwnBridge, type NetworkDef } from '../../model/network/network.ts';
import type { NetworkHost, TapRequest } from '../../net/plan.ts';
import type { NetworkService } from './network-service.ts';

type LinkRequest = Parameters<LinkProvider['open']>[0];

/** Where a tap goes, and how. */
type Place = Pick<TapRequest, 'bridge' | 'mtu' | 'isolated' | 'macTable'>;

export class GuestLinks implements LinkProvider {
  private readonly networks: NetworkService;
  private readonly host: NetworkHost;

  constructor(networks: NetworkService, host: NetworkHost) {
    this.networks = networks;
    this.host = host;
  }

  async open(request: LinkRequest): Promise<GuestLink> {
    const { definition: nic, queues } = request;
    const wanted = `connect devices.interface[${request.interfaceIndex}] of domain '${request.domainName}'`;
    await this.networks.whenUp();
    const place = this.placeOf(nic, wanted);
    const mac = nic.mac?.address;
    if (mac === undefined) throw new Error(`${wanted}: the interface has no MAC address`);
    const name = nic.target?.dev;
    const tap = await this.host.openTap({
      mac,
      queues,
      ...place,
      ...(nic.mtu !== undefined && { mtu: nic.mtu }),
      ...(nic.portIsolated === true && { isolated: true }),
      // A name that libvirt made up is nobody's wish (its documentation: "target dev").
      ...(name !== undefined && !/^(vnet|vif|macvtap|macvlan)\d+$/.test(name) && { name }),
    });
    return { tapFds: tap.fds, vhostFds: tap.vhostFds, deviceName: tap.name };
  }

  async close({ deviceName }: { readonly deviceName: string }): Promise<void> {
    await this.host.deleteTap(deviceName);
  }

  private placeOf(nic: Interface, wanted: string): Place {
    const { source } = nic;
    switch (source.type) {
      case 'network':
        return this.onNetwork(source.network, source.portgroup, wanted);
      case 'bridge':
        return { bridge: source.bridge };
      default:
        throw new VirtError('definition.unsupported', {
          wanted,
          reason: `interfaces of type '${source.type}' are not supported yet`,
          hint: "use an interface of type 'network', 'bridge' or 'user'",
        });
    }
  }

  /** @throws VirtError network.not-found, network.inactive, definition.unsupported */
  private onNetwork(name: string, portgroup: string | undefined, wanted: string): Place {
    const network = this.networks.list().find((one) => one.name === name);
    if (network === undefined)
      throw new VirtError('network.not-found', {
        wanted,
        reason: `there is no network '${name}'`,
        hint: `'vireo network list' shows all; 'vireo network create ${name}' makes one`,
      });
    const { definition } = network.requireLive(wanted);
    refusePortgroup(definition, portgroup, wanted);
    const bridge = definition.bridge?.name;
    if (bridge === undefined)
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `network '${name}' has mode '${forwardModeOf(definition)}' on interfaces of the host, which is not supported yet`,
        hint: 'make a bridge on that interface, and a network of mode bridge with the name of the bridge',
      });
    return {
      bridge,
      ...(definition.mtu !== undefined && { mtu: definition.mtu }),
      ...(definition.portIsolated === true && { isolated: true }),
      ...(hasOwnBridge(definition) &&
        definition.bridge?.macTableManager && { macTable: definition.bridge.macTableManager }),
    };
  }
}

/** Settings of a port group that nobody carries out yet are refused, not passed over. */
function refusePortgroup({ portgroups, name }: NetworkDef, wish: string | undefined, wanted: string): void {
  const group = portgroups.find((one) => (wish === undefined ? one.default === true : one.name === wish));
  if (group === undefined) {
    if (wish === undefined) return;
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `network '${name}' has no port group '${wish}'`,
      hint: `'vireo network xml ${name}' shows those it has`,
    });
  }
  const { bandwidth, vlan, virtualport, trustGuestRxFilters } = group;
  const parts = { bandwidth, vlan, virtualport, trustGuestRxFilters: trustGuestRxFilters || undefined };
  const part = Object.entries(parts).find(([, value]) => value !== undefined)?.[0];
  if (part === undefined) return;
  throw new VirtError('definition.unsupported', {
    wanted,
    reason: `port group '${group.name}' of network '${name}' has <${part}>, which is not supported yet`,
  });
}
