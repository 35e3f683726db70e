/** Follows the leases of active networks: what each change of the lease file means, told to clients. */
import { reasonOf } from '../../base/errors.ts';
import { diffLeases, leaseKey } from '../../net/dnsmasq/leases.ts';
import type { Lease } from '../../net/plan.ts';
import type { Network } from './network.ts';
import type { NetworkPlans } from './network-plans.ts';
import type { NetworkWorld } from './network-world.ts';

interface Watched {
  leases: readonly Lease[];
  /** When a lease was given or renewed, by its key; those from before this daemon have no time. */
  readonly changedAtMs: Map<string, number>;
}

export class NetworkLeaseWatch {
  private readonly world: NetworkWorld;
  private readonly plans: NetworkPlans;
  /** By uuid of the network. */
  private readonly watched = new Map<string, Watched>();
  private turn: Promise<void> = Promise.resolve();

  constructor(world: NetworkWorld, plans: NetworkPlans) {
    this.world = world;
    this.plans = plans;
  }

  /** Takes the leases that are there for known: nobody is told of them. Failures go to the log. */
  begin(network: Network): Promise<void> {
    return this.next(network, (leases) => {
      this.watched.set(network.uuid, { leases, changedAtMs: new Map() });
    });
  }

  /** Forgets a network that is not active any more. */
  end(uuid: string): void {
    this.watched.delete(uuid);
  }

  /** The lease file changed: tells what is new in it. Failures go to the log. */
  look(network: Network): Promise<void> {
    return this.next(network, (leases) => {
      const watched = this.watched.get(network.uuid) ?? { leases: [], changedAtMs: new Map() };
      this.watched.set(network.uuid, watched);
      const changes = diffLeases(watched.leases, leases);
      watched.leases = leases;
      const ports = this.world.guests.ports().filter((port) => port.network === network.name);
      for (const { action, lease } of changes) {
        if (action === 'removed') watched.changedAtMs.delete(leaseKey(lease));
        else watched.changedAtMs.set(leaseKey(lease), Date.now());
        const domain = ports.find(({ mac }) => mac === lease.mac)?.domain;
        this.world.events.publish({
          event: `network.lease-${action}`,
          network: network.identity,
          lease: leaseInfoOf(lease, domain?.name),
        });
      }
    });
  }

  /** When that lease was given or last renewed; undefined when it was before this daemon. */
  changedAtMs(network: Network, lease: Lease): number | undefined {
    return this.watched.get(network.uuid)?.changedAtMs.get(leaseKey(lease));
  }

  /** One reading after the other, so that none is compared with a later one. */
  private next(network: Network, take: (leases: readonly Lease[]) => void): Promise<void> {
    const before = this.turn;
    this.turn = this.read(network, take, before);
    return this.turn;
  }

  private async read(
    network: Network,
    take: (leases: readonly Lease[]) => void,
    before: Promise<void>,
  ): Promise<void> {
    await before;
    try {
      take(await this.plans.leases(network));
    } catch (error) {
      this.world.log.error(
        { network: network.name, reason: reasonOf(error) },
        'leases could not be followed',
      );
    }
  }
}

/** A lease as clients see it. `domain`: the running one that has its MAC address on the network. */
export function leaseInfoOf(lease: Lease, domain: string | undefined) {
  return {
    address: lease.address,
    prefix: lease.prefix,
    family: `ipv${lease.family}` as const,
    mac: lease.mac ?? null,
    clientId: lease.clientId ?? null,
    hostName: lease.hostName ?? null,
    domain: domain ?? null,
    expiresAt: lease.expiresAt === undefined ? null : new Date(lease.expiresAt * 1000).toISOString(),
  };
}
