/** The engine's network side as the front ends use it: one object that holds the registry and the verbs. */
import type { PublishedEvent } from '../../api/index.ts';
import { VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { NetworkDef } from '../../model/network/network.ts';
import type { Lease, NetworkHostEvent } from '../../net/plan.ts';
import type { QuarantinedFile } from '../state/definitions.ts';
import type { DatedLease } from './guest-addresses.ts';
import { type Network, NetworkRegistry } from './network.ts';
import { NetworkCreation } from './network-creation.ts';
import { NetworkDefinitions } from './network-definitions.ts';
import { type NetworkFiles, networkFiles } from './network-files.ts';
import { NetworkForwards } from './network-forwards.ts';
import { NetworkLeaseWatch } from './network-lease-watch.ts';
import { NetworkLifecycle } from './network-lifecycle.ts';
import { type NetworkMetadata, networkMetadata } from './network-metadata.ts';
import { NetworkPlans } from './network-plans.ts';
import { NetworkShares, ShareBook } from './network-shares.ts';
import { NetworkTests } from './network-tests.ts';
import type { NetworkPort, NetworkWorld } from './network-world.ts';

export type NetworkServiceOptions = Omit<NetworkWorld, 'registry' | 'defining'>;

/** Every filter that is given must hold. */
export interface NetworkFilter {
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
  readonly autostart?: boolean | undefined;
}

export class NetworkService {
  /** Store, forget, change, XML. */
  readonly definitions: NetworkDefinitions;
  /** Start, stop, recovery, autostart. */
  readonly lifecycle: NetworkLifecycle;
  readonly creation: NetworkCreation;
  readonly forwards: NetworkForwards;
  /** Title, description, foreign metadata. */
  readonly metadata: NetworkMetadata;
  /** Proofs that a network does what it promises. */
  readonly tests: NetworkTests;
  /** Bandwidth that interfaces of guests are guaranteed. */
  readonly shares: NetworkShares;
  private readonly world: NetworkWorld;
  private readonly plans: NetworkPlans;
  private readonly leaseWatch: NetworkLeaseWatch;
  private readonly files: NetworkFiles;
  private unsubscribe: () => void = () => undefined;
  private settled: Promise<void> = Promise.resolve();

  constructor(options: NetworkServiceOptions) {
    this.world = {
      ...options,
      registry: new NetworkRegistry(),
      defining: new JobQueue('the list of networks', 'network.busy'),
    };
    const book = new ShareBook(() => this.world.guests.ports());
    this.plans = new NetworkPlans(this.world, book);
    this.shares = new NetworkShares(this.world, this.plans, book);
    this.leaseWatch = new NetworkLeaseWatch(this.world, this.plans);
    this.definitions = new NetworkDefinitions(this.world, this.plans);
    this.lifecycle = new NetworkLifecycle(this.world, this.definitions, this.plans);
    this.creation = new NetworkCreation(this.world, this.definitions);
    this.forwards = new NetworkForwards(this.world, this.definitions, this.plans);
    this.metadata = networkMetadata(this.definitions, this.world.events);
    this.tests = new NetworkTests(this.world, this.plans);
    this.files = networkFiles(this.world);
  }

  /** Reads the stored and the active networks; the host is not touched yet. */
  open(): void {
    this.files.load();
    this.lifecycle.adopt();
    const stopHost = this.world.host.subscribe((event) => this.onHostEvent(event));
    const stopEvents = this.world.events.subscribe((event) => this.onEvent(event));
    this.unsubscribe = () => {
      stopHost();
      stopEvents();
    };
    for (const network of this.world.registry.all) if (network.isActive) void this.leaseWatch.begin(network);
  }

  /** Brings the host in order after a restart and starts what is to be started. Failures are logged. */
  bringUp(marker: string): Promise<void> {
    this.settled = this.lifecycle.recover().then(() => this.lifecycle.autostart(marker));
    return this.settled;
  }

  /** Settles when the networks that start with the daemon have started: a guest must not find them a moment too early. */
  async whenUp(): Promise<void> {
    await this.settled;
  }

  hasUuid(uuid: string): boolean {
    return this.world.registry.withUuid(uuid) !== undefined;
  }

  /** Finds by a text that is a uuid or a name. @throws VirtError network.not-found, network.quarantined */
  find(text: string): Network {
    const found = this.world.registry.find(text);
    if (found) return found;
    this.files.refuseQuarantined(text);
    throw new VirtError('network.not-found', {
      reason: `no network with matching name or uuid '${text}'`,
      hint: "'vireo network list' shows all networks",
    });
  }

  /**
   * The definition of an active network as it runs, for whoever connects a guest to it.
   * @throws VirtError network.not-found, network.inactive
   */
  liveDefinition(name: string, wanted: string): NetworkDef {
    const network = this.world.registry.withName(name);
    if (network !== undefined) return network.requireLive(wanted).definition;
    throw new VirtError('network.not-found', {
      wanted,
      reason: `there is no network '${name}'`,
      hint: `'vireo network list' shows all; 'vireo network create ${name}' makes one`,
    });
  }

  /** The networks that fit, by name. */
  list(filter: NetworkFilter = {}): Network[] {
    return this.world.registry.all
      .filter((network) => network.isPersistent || network.isActive)
      .filter(
        (network) =>
          (filter.active === undefined || network.isActive === filter.active) &&
          (filter.persistent === undefined || network.isPersistent === filter.persistent) &&
          (filter.autostart === undefined || network.autostart === filter.autostart),
      )
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }

  /** Looks at the stored definitions again, when an administrator has changed files. */
  async rescan(): Promise<void> {
    await this.files.rescan();
  }

  get quarantined(): readonly QuarantinedFile[] {
    return this.files.quarantined;
  }

  /** Interfaces of running guests on the network. */
  ports(network: Network): NetworkPort[] {
    return this.world.guests.ports().filter((port) => port.network === network.name);
  }

  leases(network: Network): Promise<Lease[]> {
    return this.plans.leases(network);
  }

  /** Leases of the active network of that name, each with when it was last given or renewed, if that was seen. */
  async datedLeases(name: string): Promise<DatedLease[]> {
    const network = this.world.registry.withName(name);
    if (network === undefined) return [];
    const leases = await this.plans.leases(network);
    return leases.map((lease) => ({ ...lease, changedAtMs: this.leaseWatch.changedAtMs(network, lease) }));
  }

  /** What is there when a network starts is no news; what its guests do from then on is. */
  private onEvent(event: PublishedEvent): void {
    if (event.event === 'network.stopped') this.leaseWatch.end(event.network.uuid);
    if (event.event !== 'network.started') return;
    const network = this.world.registry.withUuid(event.network.uuid);
    if (network !== undefined) void this.leaseWatch.begin(network); // It tells its failures itself.
  }

  private onHostEvent(event: NetworkHostEvent): void {
    // The host names a network by the uuid or the name of its plan.
    const network = this.world.registry.find(event.network);
    if (network === undefined) return;
    const { identity } = network;
    const { events } = this.world;
    switch (event.kind) {
      case 'leases':
        events.publish({ event: 'network.leases-changed', network: identity });
        // Both tell their failures themselves.
        void this.leaseWatch.look(network);
        void this.plans.follow(network);
        break;
      case 'dnsmasq-restarted':
        events.publish({
          event: 'network.repaired',
          network: identity,
          what: 'dnsmasq',
          reason: event.reason,
        });
        break;
      case 'firewall-restored':
        events.publish({
          event: 'network.repaired',
          network: identity,
          what: 'firewall',
          reason: event.reason,
        });
        break;
      case 'bridge-lost':
        void this.onBridgeLost(network); // It tells its failures itself.
        break;
    }
  }

  /** Somebody deleted the bridge: it is made anew, with the guests on it. Nobody waits, so failures are logged. */
  private async onBridgeLost(network: Network): Promise<void> {
    const { events, log } = this.world;
    try {
      await this.lifecycle.reload(network);
      log.warn({ network: network.name }, 'the bridge was lost and made anew');
      const reason = 'the bridge was deleted';
      events.publish({ event: 'network.repaired', network: network.identity, what: 'bridge', reason });
    } catch (error) {
      log.error({ err: error, network: network.name }, 'a lost bridge could not be made anew');
    }
  }

  /** Lets go of the host without touching it, when the daemon stops. */
  detach(): void {
    this.unsubscribe();
    this.world.host.detach();
  }
}
