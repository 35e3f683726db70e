/** From an active network to what the host needs now: port forwards follow their guests as leases come and go. */
import { isVirtError, reasonOf } from '../../base/errors.ts';
import { familyOf } from '../../model/network/addresses.ts';
import { type CompleteNetworkDef, hasOwnBridge } from '../../model/network/network.ts';
import { type NetworkPortForward, portForwardsOf } from '../../model/network/port-forwards.ts';
import type { Lease, NetworkPlan, PortForward } from '../../net/plan.ts';
import { planOf } from '../../net/plan-from-definition.ts';
import type { Network } from './network.ts';
import { type NetworkWorld, runNetworkJob } from './network-world.ts';

/** A forward as it is now: with the guest's address where it is known. */
export interface ResolvedForward {
  readonly forward: NetworkPortForward;
  readonly address: string | undefined;
}

export class NetworkPlans {
  private readonly world: NetworkWorld;
  /** What the host was last told, by uuid: a lease that changes nothing for a forward changes no rule. */
  private readonly told = new Map<string, string>();

  constructor(world: NetworkWorld) {
    this.world = world;
  }

  /** What the host needs for the network as it is now, forwards included. */
  async plan(network: Network, definition: CompleteNetworkDef): Promise<NetworkPlan> {
    const portForwards = (await this.resolve(network, definition)).flatMap((one) => planned(one));
    this.told.set(network.uuid, JSON.stringify(portForwards));
    return planOf(definition, { portForwards });
  }

  /** All forwards; of an active network with the addresses of the guests. */
  async resolve(network: Network, definition: CompleteNetworkDef): Promise<ResolvedForward[]> {
    const forwards = portForwardsOf(definition);
    if (forwards.length === 0) return [];
    const needsLeases = forwards.some(({ guest }) => guest !== undefined);
    const leases = needsLeases ? await this.leases(network) : [];
    return forwards.map((forward) => ({
      forward,
      address: forward.guestAddress ?? this.addressOf(forward, definition, leases),
    }));
  }

  /** A reservation counts before a lease: it is what the guest will have. */
  private addressOf(
    { guest = '', hostAddress }: NetworkPortForward,
    definition: CompleteNetworkDef,
    leases: readonly Lease[],
  ): string | undefined {
    const family = hostAddress === undefined ? 4 : familyOf(hostAddress);
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

  /** Leases changed: rules follow the guests. Nobody waits for it, so a failure goes to the log. */
  async follow(network: Network): Promise<void> {
    try {
      await runNetworkJob(this.world, network, 'follow leases', async () => {
        const { live } = network;
        if (live === undefined || !portForwardsOf(live.definition).some(({ guest }) => guest !== undefined))
          return;
        const before = this.told.get(network.uuid);
        const plan = await this.plan(network, live.definition);
        if (JSON.stringify(plan.portForwards) !== before) await this.world.host.reload(plan);
      });
    } catch (error) {
      if (isVirtError(error, 'network.not-found')) return; // Gone meanwhile, and its rules with it.
      this.world.log.error(
        { network: network.name, reason: reasonOf(error) },
        'port forwards could not follow a lease',
      );
    }
  }

  /** The leases of an active network; others have none, and neither do networks on foreign bridges. */
  async leases(network: Network): Promise<Lease[]> {
    const { live } = network;
    if (live === undefined || !hasOwnBridge(live.definition)) return [];
    return this.world.host.leases(planOf(live.definition, { portForwards: [] }));
  }

  /** The network has stopped: what the host was told counts no more. Leases outlive it where it is stored. */
  async stopped(network: Network, definition: CompleteNetworkDef): Promise<void> {
    this.told.delete(network.uuid);
    if (!network.isPersistent) await this.forget(definition);
  }

  /** The network is gone for good, and so are its leases. */
  async forget(definition: CompleteNetworkDef): Promise<void> {
    if (hasOwnBridge(definition)) await this.world.host.forget(planOf(definition, { portForwards: [] }));
  }
}

function planned({ forward, address }: ResolvedForward): PortForward[] {
  if (address === undefined) return [];
  return [
    {
      protocol: forward.protocol,
      family: familyOf(address),
      ...(forward.hostAddress !== undefined && { hostAddress: forward.hostAddress }),
      hostPort: forward.hostPort,
      count: 1,
      guestAddress: address,
      guestPort: forward.guestPort,
    },
  ];
}
