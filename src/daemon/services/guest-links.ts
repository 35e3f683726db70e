/** Links for guests: from the interface of a domain, through the network it names, to a tap or macvtap of the host. */
import { createHash, randomUUID } from 'node:crypto';
import { VirtError } from '../../base/errors.ts';
import { close } from '../../base/ffi.ts';
import type { XmlElement } from '../../base/xml/tree.ts';
import type {
  ActualInterface,
  FunctionPool,
  GuestLink,
  LinkProvider,
  RetuneRequest,
} from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { NetworkDef } from '../../model/network/network.ts';
import type { LinkHost } from '../../net/links/requests.ts';
import type { BandwidthPlan, NetworkHost, Tap } from '../../net/plan.ts';
import { bandwidthPlanOf } from '../../net/plan-from-definition.ts';
import type { Hooks } from '../hooks/hooks.ts';
import { askPortCreated, tellPortDeleted } from '../hooks/port-hooks.ts';
import { functionPool } from './function-pools.ts';
import { hostEndOf } from './link-addresses.ts';
import { type MacvtapPlace, type Place, placeOf, portOf } from './link-places.ts';
import { networkPortElement } from './network-port-document.ts';
import type { NetworkService } from './network-service.ts';
import { floorOf } from './network-shares.ts';

type LinkRequest = Parameters<LinkProvider['open']>[0];

/** What every kind of link is asked for with. */
interface Wish {
  readonly mac: string;
  readonly queues: number;
  readonly name?: string;
  readonly mtu?: number;
  readonly bandwidth?: BandwidthPlan;
}

/** A name that libvirt made up is nobody's wish (its documentation: "target dev"). */
const generatedName = /^(vnet|vif|macvtap|macvlan)\d+$/;

export class GuestLinks implements LinkProvider {
  private readonly networks: NetworkService;
  private readonly host: LinkHost;
  private readonly hooks: Hooks | undefined;
  private readonly owner: string;

  /**
   * @param installation tells the macvtaps of this daemon from those of others on the host
   * @param hooks hear of ports of networks
   */
  constructor(networks: NetworkService, host: NetworkHost, installation: string, hooks?: Hooks) {
    this.networks = networks;
    this.host = host;
    this.hooks = hooks;
    this.owner = `vireo:${createHash('sha256').update(installation).digest('hex').slice(0, 12)}`;
  }

  async open(request: LinkRequest): Promise<GuestLink> {
    const { definition: nic, interfaceIndex } = request;
    const path = `devices.interface[${interfaceIndex}]`;
    const wanted = `connect ${path} of domain '${request.domainName}'`;
    await this.networks.whenUp();
    const place = placeOf(nic, path, wanted, { live: (name) => this.networks.liveDefinition(name, wanted) });
    await this.promise(place, nic, wanted);
    const { tap, lower } = await this.makeOrTakeBack(place, request, wanted);
    const actual = actualOf(nic, place, lower);
    await this.askHooks(request, { ...nic, ...actual }, tap);
    return {
      tapFds: tap.fds,
      vhostFds: tap.vhostFds,
      deviceName: tap.name,
      isKept: place.kind === 'existing',
      actual,
    };
  }

  /** The network's bandwidth that the interface is guaranteed is set aside before its guest runs. */
  private async promise(place: Place, nic: Interface, wanted: string): Promise<void> {
    const floorKBps = place.connection.bandwidth?.inbound?.floor;
    if (floorKBps === undefined || place.kind !== 'bridge' || place.network === undefined) return;
    const mac = nic.mac?.address ?? '';
    await this.networks.shares.promise({ network: place.network, mac, floorKBps, wanted });
  }

  private async takeBack(nic: Interface): Promise<void> {
    if (floorOf(nic) === undefined || !('network' in nic.source) || nic.source.network === undefined) return;
    await this.networks.shares.end(nic.source.network, nic.mac?.address ?? '');
  }

  private async makeOrTakeBack(place: Place, request: LinkRequest, wanted: string) {
    try {
      return await this.make(place, request, wanted);
    } catch (error) {
      await this.takeBack(request.definition);
      throw error;
    }
  }

  /** A refused port leaves no link behind. @throws VirtError hook.refused */
  private async askHooks(request: LinkRequest, nic: Interface, tap: Tap): Promise<void> {
    const port = this.portOn(request, nic);
    if (port === undefined) return;
    try {
      await askPortCreated(this.hooks, port.network, port.element);
    } catch (error) {
      for (const fd of [...tap.fds, ...tap.vhostFds]) close(fd);
      await this.host.deleteTap(tap.name);
      await this.takeBack(nic);
      throw error;
    }
  }

  /** The port that a running interface is, of a network that is active. */
  private portOn(
    domain: { readonly domainUuid: string; readonly domainName: string },
    nic: Interface,
  ): { readonly network: NetworkDef; readonly element: XmlElement } | undefined {
    const { source, mac } = nic;
    const { network: name, portid } = { network: undefined, portid: undefined, ...source };
    const network = this.networks.list({ active: true }).find((one) => one.name === name)?.live?.definition;
    if (network === undefined || portid === undefined) return undefined;
    const owner = { uuid: domain.domainUuid, name: domain.domainName };
    const port = { domain: owner, mac: mac?.address ?? '', definition: nic };
    return { network, element: networkPortElement(portid, port) };
  }

  /** From one bridge to another. @throws VirtError definition.unsupported for a network without a bridge; as open */
  async move(request: LinkRequest & { readonly deviceName: string }): Promise<ActualInterface> {
    const { definition: nic, interfaceIndex, deviceName } = request;
    const wanted = `connect devices.interface[${interfaceIndex}] of domain '${request.domainName}'`;
    await this.networks.whenUp();
    const place = placeOf(nic, `devices.interface[${interfaceIndex}]`, wanted, {
      live: (name) => this.networks.liveDefinition(name, wanted),
    });
    if (place.kind !== 'bridge')
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: 'that network has no bridge',
        hint: 'detach the interface and attach another',
      });
    await this.promise(place, nic, wanted);
    const port = portOf(place, nic.mac?.address ?? '');
    await this.host.attachTap(deviceName, port.bridge, port);
    await this.host.setBandwidth(deviceName, bandwidthPlanOf(place.connection.bandwidth));
    return actualOf(nic, place, undefined);
  }

  /** Limits of a running guest's link. @throws VirtError link.failed, definition.unsupported */
  async retune({ definition: nic, before, deviceName, domainName }: RetuneRequest): Promise<void> {
    const floorKBps = floorOf(nic);
    if (floorKBps !== floorOf(before)) {
      const { network } = { network: undefined, ...nic.source };
      const wanted = `guarantee bandwidth to domain '${domainName}'`;
      if (network === undefined)
        throw new VirtError('definition.unsupported', {
          wanted,
          reason: 'bandwidth.inbound.floor: a share can only be guaranteed on a virtual network',
        });
      if (floorKBps === undefined) await this.takeBack(before);
      else await this.networks.shares.promise({ network, mac: nic.mac?.address ?? '', floorKBps, wanted });
    }
    try {
      await this.host.setBandwidth(deviceName, bandwidthPlanOf(nic.bandwidth));
    } catch (error) {
      await this.host.setBandwidth(deviceName, bandwidthPlanOf(before.bandwidth));
      throw error;
    }
  }

  async close({
    domainUuid,
    deviceName,
    isKept,
    port: known,
  }: Parameters<LinkProvider['close']>[0]): Promise<void> {
    if (isKept !== true) await this.host.deleteTap(deviceName);
    if (known !== undefined) await this.takeBack(known.definition);
    const port = known && this.portOn({ domainUuid, ...known }, known.definition);
    if (port !== undefined) await tellPortDeleted(this.hooks, port.network, port.element);
  }

  /** @throws VirtError definition.unsupported for what a function cannot have, as its network or port group wants it */
  async functionsFor(nic: Interface, path: string): Promise<FunctionPool | undefined> {
    const { source } = nic;
    if (source.type !== 'network') return undefined;
    await this.networks.whenUp();
    const network = this.networks.list({ active: true }).find(({ name }) => name === source.network)
      ?.live?.definition;
    return network && functionPool(nic, network, path);
  }

  /** The MTU of the network: the guest is to know it. What is wrong with the network is told when it is connected. */
  async mtuOf({ source }: Interface): Promise<number | undefined> {
    if (source.type !== 'network') return undefined;
    await this.networks.whenUp();
    return this.networks.list({ active: true }).find(({ name }) => name === source.network)?.live?.definition
      .mtu;
  }

  /** Deletes macvtaps of this installation but those of the domains with these uuids; the names of the deleted. */
  sweep(running: ReadonlySet<string>): Promise<string[]> {
    return this.host.sweep(this.owner, running);
  }

  private async make(
    place: Place,
    request: LinkRequest,
    wanted: string,
  ): Promise<{ readonly tap: Tap; readonly lower?: string }> {
    const { definition: nic, domainUuid } = request;
    const wish = wishOf(request, place, wanted);
    switch (place.kind) {
      case 'bridge':
        return { tap: await this.host.openTap({ ...wish, ...portOf(place, wish.mac) }) };
      case 'macvtap': {
        const lower = this.leastUsed(place, wanted);
        const owner = `${this.owner}:${domainUuid}`;
        return { tap: await this.host.openMacvtap({ ...wish, lower, mode: place.mode, owner }), lower };
      }
      case 'loose':
        return { tap: await this.host.openLooseTap({ ...wish, ...hostEndOf(nic, wanted) }) };
      case 'existing':
        return { tap: await this.host.openExisting({ ...wish, name: keptName(nic, wanted) }) };
    }
  }

  /** Of a network's interfaces the one that carries the fewest devices, whoever made them. */
  private leastUsed({ candidates, mode, network }: MacvtapPlace, wanted: string): string {
    const [first = ''] = candidates;
    if (candidates.length === 1) return first;
    const used = candidates.map((dev) => ({ dev, users: this.host.usersOf(dev) }));
    const best = used.reduce((least, one) => (one.users < least.users ? one : least));
    if (mode !== 'passthrough' || best.users === 0) return best.dev;
    throw new VirtError('link.failed', {
      wanted,
      reason: `all ${candidates.length} interfaces of network '${network}' are in use, each by one guest`,
      hint: 'stop a guest on that network, or give it more interfaces',
    });
  }
}

function wishOf({ definition: nic, queues }: LinkRequest, { connection }: Place, wanted: string): Wish {
  const mac = nic.mac?.address;
  if (mac === undefined) throw new Error(`${wanted}: the interface has no MAC address`);
  const name = nic.target?.dev;
  const bandwidth = bandwidthPlanOf(connection.bandwidth);
  return {
    mac,
    queues,
    ...(connection.mtu !== undefined && { mtu: connection.mtu }),
    ...(name !== undefined && !generatedName.test(name) && { name }),
    ...(bandwidth && { bandwidth }),
  };
}

function keptName(nic: Interface, wanted: string): string {
  const name = nic.target?.dev;
  if (name !== undefined) return name;
  throw new VirtError('definition.unsupported', {
    wanted,
    reason: "a device that is not managed has to be named with <target dev='...' managed='no'/>",
  });
}

/** What the running definition says of the interface: where it is now, with what. */
function actualOf(nic: Interface, place: Place, lower: string | undefined): ActualInterface {
  const { connection } = place;
  return {
    source: actualSource(nic, place, lower),
    ...(connection.vlan && { vlan: connection.vlan }),
    ...(connection.bandwidth && { bandwidth: connection.bandwidth }),
    ...(connection.isTrusted && { trustGuestRxFilters: true }),
    ...(connection.isIsolated && { portIsolated: true }),
  };
}

function actualSource(nic: Interface, place: Place, lower: string | undefined): Interface['source'] {
  const { source } = nic;
  if (source.type !== 'network' || (place.kind !== 'bridge' && place.kind !== 'macvtap')) return source;
  const portgroup = place.connection.portgroup;
  const member = {
    network: source.network,
    portid: randomUUID(),
    ...(portgroup !== undefined && { portgroup }),
  };
  if (place.kind === 'macvtap') return { type: 'direct', ...member, dev: lower ?? '', mode: place.mode };
  if (!place.isOwnBridge) return { type: 'bridge', ...member, bridge: place.bridge };
  const { macTable } = place.connection;
  return { ...source, ...member, bridge: place.bridge, ...(macTable && { macTableManager: macTable }) };
}
