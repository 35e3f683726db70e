/** From an active network to what the host needs now: port forwards and names follow guests as leases come and go. */
import { isVirtError, reasonOf } from '../../base/errors.ts';
import { familyOf } from '../../model/network/addresses.ts';
import { type CompleteNetworkDef, hasOwnBridge } from '../../model/network/network.ts';
import {
  forwardFamilyOf,
  listenAddressOf,
  type NetworkPortForward,
  portForwardsOf,
} from '../../model/network/port-forwards.ts';
import type { Lease, NetworkPlan, PortForward } from '../../net/plan.ts';
import { type PlanExtras, planOf } from '../../net/plan-from-definition.ts';
import type { Network } from './network.ts';
import { listenerInTheWay } from './network-forward-conflicts.ts';
import { type GuestName, guestNamesOf, guestsOn, servesGuestNames } from './network-guest-names.ts';
import type { ShareBook } from './network-shares.ts';
import { type NetworkWorld, runNetworkJob } from './network-world.ts';

/** For plans that only say where files of a network lie. */
const nobody: PlanExtras = { portForwards: [], guestNames: [], guests: [] };

interface AddressedForward {
  readonly forward: NetworkPortForward;
  readonly address: string | undefined;
}

/** A forward as it is now: with the guest's address where it is known. */
export interface ResolvedForward extends AddressedForward {
  /** Why it leads nowhere, or whom it cuts off; undefined when all is well. */
  readonly trouble: string | undefined;
}

export class NetworkPlans {
  private readonly world: NetworkWorld;
  private readonly shares: ShareBook;
  /** What the host was last told, by uuid: a lease that changes neither forward nor name changes nothing there. */
  private readonly told = new Map<string, string>();

  constructor(world: NetworkWorld, shares: ShareBook) {
    this.world = world;
    this.shares = shares;
  }

  /** What the host needs for the network as it is now, forwards included. */
  async plan(network: Network, definition: CompleteNetworkDef): Promise<NetworkPlan> {
    const extras = await this.extras(network, definition);
    this.told.set(network.uuid, JSON.stringify(extras));
    return planOf(definition, extras);
  }

  /** What depends on who has which address just now. */
  private async extras(network: Network, definition: CompleteNetworkDef): Promise<PlanExtras> {
    const portForwards = (await this.addresses(network, definition)).flatMap((one) => planned(one));
    return {
      portForwards,
      guestNames: await this.guestNames(network, definition),
      guests: guestsOn(definition, this.world.guests.ports()),
      shares: this.shares.on(definition.name),
    };
  }

  private async guestNames(network: Network, definition: CompleteNetworkDef): Promise<GuestName[]> {
    const ports = this.world.guests.ports();
    if (!servesGuestNames(definition) || ports.every((port) => port.network !== network.name)) return [];
    return guestNamesOf(definition, ports, await this.leases(network));
  }

  /** All forwards; of an active network with the addresses of the guests, and with what is wrong. */
  async resolve(network: Network, definition: CompleteNetworkDef): Promise<ResolvedForward[]> {
    const forwards = await this.addresses(network, definition);
    return forwards.map((one) => ({ ...one, trouble: this.troubleOf(network, one) }));
  }

  private async addresses(network: Network, definition: CompleteNetworkDef): Promise<AddressedForward[]> {
    const forwards = portForwardsOf(definition);
    if (forwards.length === 0) return [];
    const needsLeases = forwards.some(({ guest }) => guest !== undefined);
    const leases = needsLeases ? await this.leases(network) : [];
    return forwards.map((forward) => ({
      forward,
      address: forward.guestAddress ?? this.addressOf(forward, definition, leases),
    }));
  }

  private troubleOf(network: Network, { forward, address }: AddressedForward): string | undefined {
    const listener = listenerInTheWay(this.world, forward);
    if (listener !== undefined) return `${listener} and is cut off`;
    if (!network.isActive) return 'the network is not active';
    if (address !== undefined) return undefined;
    const macs = this.world.guests.macsOf(forward.guest ?? '', network.name);
    return macs.length === 0
      ? `no domain '${forward.guest}' is on this network, and no guest has a lease by that name`
      : 'the guest has no address yet';
  }

  /** A reservation counts before a lease: it is what the guest will have. */
  private addressOf(
    forward: NetworkPortForward,
    definition: CompleteNetworkDef,
    leases: readonly Lease[],
  ): string | undefined {
    const { guest = '' } = forward;
    const family = forwardFamilyOf(forward);
    const macs = new Set(this.world.guests.macsOf(guest, definition.name));
    const fits = (mac: string | undefined, name: string | undefined) =>
      macs.size > 0 ? mac !== undefined && macs.has(mac) : name !== undefined && name === guest;
    const reserved = definition.ips
      .flatMap((ip) => ip.dhcp?.hosts ?? [])
      .find((host) => host.ip !== undefined && familyOf(host.ip) === family && fits(host.mac, host.name))?.ip;
    return (
      reserved ?? leases.find((lease) => lease.family === family && fits(lease.mac, lease.hostName))?.address
    );
  }

  /** Leases changed: rules and names follow the guests. Nobody waits for it, so a failure goes to the log. */
  async follow(network: Network): Promise<void> {
    try {
      // Most leases change nothing here, and should not keep a client's job waiting.
      if (!(await this.isBehind(network))) return;
      await runNetworkJob(this.world, network, 'follow leases', async () => {
        const { live } = network;
        if (live === undefined || !(await this.isBehind(network))) return;
        await this.world.host.reload(await this.plan(network, live.definition));
      });
    } catch (error) {
      if (isVirtError(error, 'network.not-found')) return; // Gone meanwhile, and its rules with it.
      this.world.log.error(
        { network: network.name, reason: reasonOf(error) },
        'port forwards and names could not follow a lease',
      );
    }
  }

  /** The host was told something else than what is true now. */
  private async isBehind(network: Network): Promise<boolean> {
    const { live } = network;
    if (live === undefined || !hasOwnBridge(live.definition)) return false;
    return JSON.stringify(await this.extras(network, live.definition)) !== this.told.get(network.uuid);
  }

  /** The leases of an active network; others have none, and neither do networks on foreign bridges. */
  async leases(network: Network): Promise<Lease[]> {
    const { live } = network;
    if (live === undefined || !hasOwnBridge(live.definition)) return [];
    return this.world.host.leases(planOf(live.definition, nobody));
  }

  /** The network has stopped: what the host was told counts no more. Leases outlive it where it is stored. */
  async stopped(network: Network, definition: CompleteNetworkDef): Promise<void> {
    this.told.delete(network.uuid);
    if (!network.isPersistent) await this.forget(definition);
  }

  /** The network is gone for good, and so are its leases. */
  async forget(definition: CompleteNetworkDef): Promise<void> {
    if (hasOwnBridge(definition)) await this.world.host.forget(planOf(definition, nobody));
  }
}

function planned({ forward, address }: AddressedForward): PortForward[] {
  if (address === undefined) return [];
  const hostAddress = listenAddressOf(forward);
  return [
    {
      protocol: forward.protocol,
      family: familyOf(address),
      ...(hostAddress !== undefined && { hostAddress }),
      hostPort: forward.hostPort,
      count: forward.count ?? 1,
      guestAddress: address,
      guestPort: forward.guestPort,
    },
  ];
}
