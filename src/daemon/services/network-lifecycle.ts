/** Lifecycle of networks: start, stop, and finding the active ones again after a restart of the daemon. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import { overlapOf, subnetsOf } from '../../model/network/addresses.ts';
import { type CompleteNetworkDef, hasOwnBridge, parseNetwork } from '../../model/network/network.ts';
import { portForwardsOf } from '../../model/network/port-forwards.ts';
import { askNetworkHooks, tellNetworkHooks } from '../hooks/network-hooks.ts';
import { AutostartMarker } from '../state/autostart-marker.ts';
import { adoptActive } from './adopt-active.ts';
import { portAgain } from './link-places.ts';
import { Network } from './network.ts';
import type { NetworkDefinitions } from './network-definitions.ts';
import { activeDefinitions, listenerInTheWay, refuseForwardsOfOthers } from './network-forward-conflicts.ts';
import { hostConflict } from './network-host-conflict.ts';
import type { NetworkPlans } from './network-plans.ts';
import {
  type NetworkWorld,
  parseTrusted,
  runNetworkJob,
  saveNetworkStatus,
  storedDefinition,
} from './network-world.ts';

export class NetworkLifecycle {
  private readonly world: NetworkWorld;
  private readonly definitions: NetworkDefinitions;
  private readonly plans: NetworkPlans;

  constructor(world: NetworkWorld, definitions: NetworkDefinitions, plans: NetworkPlans) {
    this.world = world;
    this.definitions = definitions;
    this.plans = plans;
  }

  /**
   * Starts a stored network; guests that run and were on it are connected again. Returns what the caller should know.
   * @throws VirtError network.active, network.conflict, forward.conflict, link.failed, program.*
   */
  async start(network: Network): Promise<readonly string[]> {
    return runNetworkJob(this.world, network, 'start', async (job) => {
      if (network.isActive) throw alreadyActive(network);
      const definition = storedDefinition(network, 'start');
      // The file may have been edited by hand since it was checked.
      this.definitions.check(definition, `start network '${network.name}'`);
      await this.launch(network, definition, job);
      return this.cutOff(network, definition);
    });
  }

  /**
   * A program that has taken a port since the forward was made: the forward counts, since it was asked for first and the
   * order at boot is chance; but it is told.
   */
  private cutOff(network: Network, definition: CompleteNetworkDef): string[] {
    const found = portForwardsOf(definition).flatMap((forward) => {
      const listener = listenerInTheWay(this.world, forward);
      return listener === undefined ? [] : [`${listener} and is cut off: the port leads into the network`];
    });
    for (const reason of found)
      this.world.log.warn(
        { network: network.name, reason },
        'a port forward is before a program of the host',
      );
    return found;
  }

  /** Starts a network that has no stored definition and is gone when it stops. */
  async create(xml: string, mode: ParseMode): Promise<{ network: Network; dropped: readonly string[] }> {
    const { definition, dropped } = parseNetwork(xml, { mode });
    const prepared = await this.definitions.prepare(definition, mode === 'strict' ? 'lenient' : mode);
    const { network } = this.definitions.take(prepared);
    try {
      await runNetworkJob(this.world, network, 'start', async (job) => {
        if (network.isActive) throw alreadyActive(network);
        await this.launch(network, prepared, job);
        this.cutOff(network, prepared);
      });
    } finally {
      this.world.registry.forgetIfGone(network);
    }
    return { network, dropped };
  }

  private async launch(network: Network, definition: CompleteNetworkDef, job: RunningJob): Promise<void> {
    this.refuseBridge(network, definition);
    this.refuseOverlap(network, definition);
    const forwards = portForwardsOf(definition);
    refuseForwardsOfOthers(this.world, { network, forwards }, activeDefinitions);
    network.starting = definition;
    try {
      await askNetworkHooks(this.world.hooks, 'start', definition);
      if (hasOwnBridge(definition)) await this.launchBridge(network, definition, job);
      network.live = { definition, startedAtMs: Date.now() };
    } catch (error) {
      await tellNetworkHooks(this.world.hooks, 'stopped', definition);
      throw error;
    } finally {
      network.starting = undefined;
    }
    try {
      await saveNetworkStatus(this.world, network, 'active', definition);
      await askNetworkHooks(this.world.hooks, 'started', definition);
    } catch (error) {
      // Without its status a restarted daemon would not know it, and a script may refuse it: then it has not started.
      await this.takeDown(network, definition);
      throw error;
    }
    this.world.events.publish({ event: 'network.started', network: network.identity });
  }

  private async launchBridge(
    network: Network,
    definition: CompleteNetworkDef,
    job: RunningJob,
  ): Promise<void> {
    await this.refuseHostOverlap(definition);
    await saveNetworkStatus(this.world, network, 'starting', definition);
    job.progress({ step: 'making the bridge, its rules and its server' });
    try {
      await this.world.host.start(await this.plans.plan(network, definition));
    } catch (error) {
      await this.world.status.remove(network.uuid);
      throw error;
    }
    await this.reconnect(network, definition);
  }

  /**
   * Define sees to it that bridges differ, but files can be edited by hand.
   * @throws VirtError network.conflict when an active network has the bridge
   */
  private refuseBridge(network: Network, definition: CompleteNetworkDef): void {
    const bridge = definition.bridge?.name;
    if (bridge === undefined || !hasOwnBridge(definition)) return;
    const other = this.world.registry.all.find(
      (one) => one !== network && activeDefinitions(one).some((active) => active.bridge?.name === bridge),
    );
    if (other === undefined) return;
    throw new VirtError('network.conflict', {
      wanted: `start network '${network.name}'`,
      reason: `bridge '${bridge}' is that of network '${other.name}', which is active`,
      hint: `stop '${other.name}', or give one of them another bridge with 'vireo network edit'`,
    });
  }

  /** @throws VirtError network.conflict when an active network has addresses of this one */
  private refuseOverlap(network: Network, definition: CompleteNetworkDef): void {
    const mine = subnetsOf(definition);
    for (const other of this.world.registry.all) {
      const active = other.live?.definition ?? other.starting;
      if (other === network || active === undefined) continue;
      const overlap = overlapOf(mine, subnetsOf(active));
      if (overlap === undefined) continue;
      throw new VirtError('network.conflict', {
        wanted: `start network '${network.name}'`,
        reason: `${overlap} of network '${other.name}', which is active`,
        hint: `stop '${other.name}', or give one of them another subnet with 'vireo network edit'`,
      });
    }
  }

  /** The host itself may be on a network with these addresses: guests and host would lose it. */
  private async refuseHostOverlap(definition: CompleteNetworkDef): Promise<void> {
    if (definition.ips.length + definition.routes.length === 0) return;
    const facts = await this.world.host.probe();
    const reason = hostConflict(definition, facts);
    if (reason === undefined) return;
    throw new VirtError('network.conflict', {
      wanted: `start network '${definition.name}'`,
      reason,
      hint: `give the network another subnet with 'vireo network edit ${definition.name}'`,
    });
  }

  /** Puts the taps of running guests on the bridge again. One that fails is logged, and the others go on. */
  private async reconnect(network: Network, definition: CompleteNetworkDef): Promise<void> {
    const bridge = definition.bridge?.name;
    if (bridge === undefined) return;
    const mine = this.world.guests.ports().filter((port) => port.network === network.name);
    await Promise.all(
      mine.map((port) =>
        this.world.host
          .attachTap(port.device, bridge, portAgain(port.definition, port.mac, definition))
          .catch((error: unknown) => {
            this.world.log.error(
              {
                network: network.name,
                domain: port.domain.name,
                device: port.device,
                reason: reasonOf(error),
              },
              'a running guest could not be connected again',
            );
          }),
      ),
    );
  }

  /**
   * Stops a network. Guests on it run on, without a connection until it is started again.
   * @throws VirtError network.inactive
   */
  async stop(network: Network): Promise<void> {
    await runNetworkJob(this.world, network, 'stop', async () => {
      const { definition } = network.requireLive(`stop network '${network.name}'`);
      await this.takeDown(network, definition);
    });
    this.world.registry.forgetIfGone(network);
    this.world.events.publish({ event: 'network.stopped', network: network.identity });
  }

  private async takeDown(network: Network, definition: CompleteNetworkDef): Promise<void> {
    if (hasOwnBridge(definition)) await this.world.host.stop(await this.plans.plan(network, definition));
    network.live = undefined;
    await this.world.status.remove(network.uuid);
    await this.plans.stopped(network, definition);
    await tellNetworkHooks(this.world.hooks, 'stopped', definition);
  }

  /** Brings the host of an active network to its definition again: rules that somebody flushed, a lost bridge. */
  async reload(network: Network): Promise<void> {
    await runNetworkJob(this.world, network, 'reload', async () => {
      const { definition } = network.requireLive(`reload network '${network.name}'`);
      if (!hasOwnBridge(definition)) return;
      await this.world.host.reconcile(await this.plans.plan(network, definition));
      await this.reconnect(network, definition);
    });
  }

  /** Takes the active networks of an earlier daemon into the registry; the host is not touched. */
  adopt(): void {
    const { status, registry, log } = this.world;
    adoptActive({
      noun: 'network',
      statuses: status.loadAll(),
      registry,
      log,
      make: (uuid, name) => new Network(uuid, name),
      parse: ({ xml }) => parseTrusted(xml),
      adopt: (network, definition, { startedAtMs, phase }) => {
        network.live = { definition, startedAtMs };
        if (phase === 'starting') this.unfinished.add(network);
      },
    });
  }

  /** Networks whose start was interrupted: acknowledged to nobody. */
  private readonly unfinished = new Set<Network>();

  /** Brings the host to what the networks of an earlier daemon need; traffic is not cut. */
  async recover(): Promise<void> {
    const active = this.world.registry.all.filter((network) => network.isActive);
    await Promise.all(active.map((network) => this.recoverOne(network)));
  }

  private async recoverOne(network: Network): Promise<void> {
    try {
      if (!this.unfinished.has(network)) return await this.reload(network);
      this.unfinished.delete(network);
      await this.stop(network);
    } catch (error) {
      this.world.log.error(
        { err: error, network: network.name },
        'a network of the daemon before could not be brought in order',
      );
    }
    return undefined;
  }

  /**
   * Starts the networks marked so, once in the life of the runtime directory: not again when the daemon restarts.
   * One that fails is logged and the others go on. When a daemon dies in the middle, the next one starts the rest.
   */
  async autostart(marker: string): Promise<void> {
    const attempts = new AutostartMarker(marker);
    if (attempts.isDone) return;
    const wanted = this.world.registry.all.filter(
      (network) => network.autostart && !attempts.has(network.uuid),
    );
    await Promise.all(
      wanted.map(async (network) => {
        if (!network.isActive) await this.autostartOne(network);
        attempts.note(network.uuid);
      }),
    );
    attempts.finish();
  }

  private async autostartOne(network: Network): Promise<void> {
    try {
      await this.start(network);
    } catch (error) {
      this.world.log.error({ err: error, network: network.name }, 'autostart of a network failed');
    }
  }
}

function alreadyActive(network: Network): VirtError {
  return new VirtError('network.active', {
    wanted: `start network '${network.name}'`,
    reason: 'network is already active',
  });
}
