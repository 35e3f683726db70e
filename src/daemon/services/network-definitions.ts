/** Definitions of networks: store, forget and change them. Acknowledged means on disk. */
import { randomBytes, randomUUID } from 'node:crypto';
import { VirtError } from '../../base/errors.ts';
import { type ParseMode, throwProblems } from '../../base/xml/codec.ts';
import { overlapOf, subnetsOf } from '../../model/network/addresses.ts';
import { applyNetworkDefaults } from '../../model/network/defaults.ts';
import { freeBridgeName } from '../../model/network/free-subnet.ts';
import {
  type CompleteNetworkDef,
  type Connections,
  formatNetwork,
  hasOwnBridge,
  type NetworkDef,
  parseNetwork,
} from '../../model/network/network.ts';
import { portForwardsOf } from '../../model/network/port-forwards.ts';
import { type NetworkUpdate, updateNetwork } from '../../model/network/update.ts';
import { validateNetwork } from '../../model/network/validate/validate.ts';
import { tellNetworkHooks } from '../hooks/network-hooks.ts';
import type { StoredDefinition } from '../state/definitions.ts';
import { type ReplaceOptions, replacesByName } from './by-name.ts';
import { Network, type NetworkFacts } from './network.ts';
import { activeDefinitions, allDefinitions, refuseForwardsOfOthers } from './network-forward-conflicts.ts';
import type { NetworkPlans } from './network-plans.ts';
import {
  factsOf,
  type NetworkWorld,
  runNetworkJob,
  saveNetworkStatus,
  storedDefinition,
  storedXml,
  transient,
} from './network-world.ts';

/** What a change is made to; what is left out means: wherever the network is. */
export interface ChangeTargets {
  readonly live?: boolean | undefined;
  readonly stored?: boolean | undefined;
}

export class NetworkDefinitions {
  private readonly world: NetworkWorld;
  private readonly plans: NetworkPlans;

  constructor(world: NetworkWorld, plans: NetworkPlans) {
    this.world = world;
    this.plans = plans;
  }

  /**
   * Stores a definition, new or in place of the one with its uuid. An active network is not touched.
   * @throws VirtError xml.*, definition.unsupported, network.exists, file.*
   */
  async define(
    xml: string,
    mode: ParseMode,
    options: ReplaceOptions = {},
  ): Promise<{ network: Network; dropped: readonly string[]; warnings: readonly string[] }> {
    const { definition, dropped } = parseNetwork(xml, { mode });
    return { ...(await this.store(definition, mode, options)), dropped };
  }

  /** As define, for a definition that is parsed already. */
  async store(
    definition: NetworkDef,
    mode: ParseMode,
    options: ReplaceOptions & { readonly autostart?: boolean } = {},
  ): Promise<{ network: Network; warnings: readonly string[] }> {
    return this.world.defining.run(
      'define',
      async () => {
        const prepared = await this.prepare(definition, mode, options);
        const { network, isNew } = this.take(prepared);
        try {
          await runNetworkJob(this.world, network, 'define', () =>
            this.write(network, prepared, options.autostart),
          );
        } finally {
          this.world.registry.forgetIfGone(network);
        }
        this.world.events.publish({ event: 'network.defined', network: network.identity, isNew });
        return { network, warnings: this.warnings(network, prepared) };
      },
      { waitMs: this.world.jobWaitMs },
    );
  }

  /**
   * Completes and checks a definition without storing it.
   * @throws VirtError xml.invalid, definition.unsupported, network.exists, forward.conflict
   */
  async prepare(
    definition: NetworkDef,
    mode: ParseMode,
    options: ReplaceOptions = {},
  ): Promise<CompleteNetworkDef> {
    const known = this.known(definition, replacesByName(mode, options));
    const previous = known && this.definition(known, { inactive: true });
    const complete = applyNetworkDefaults(inherit(definition, previous), {
      newUuid: () => randomUUID(),
      newMac,
      freeBridgeName: await this.bridgeNames(definition, previous),
    });
    this.check(complete, `define network '${definition.name}'`);
    this.refuseTaken(complete);
    refuseForwardsOfOthers(
      this.world,
      { network: complete, forwards: portForwardsOf(complete) },
      allDefinitions,
    );
    return complete;
  }

  /** The network that this definition would replace. */
  private known({ uuid, name }: NetworkDef, byName: boolean): Network | undefined {
    const { registry } = this.world;
    if (uuid !== undefined) return registry.withUuid(uuid);
    return byName ? registry.withName(name) : undefined;
  }

  /** Links of the host are only asked for when a name must be found. */
  private async bridgeNames(definition: NetworkDef, previous: NetworkDef | undefined): Promise<() => string> {
    const isNamed = (definition.bridge?.name ?? previous?.bridge?.name) !== undefined;
    const links = isNamed || !hasOwnBridge(definition) ? [] : (await this.world.host.probe()).links;
    const taken = new Set(links.map(({ name }) => name));
    for (const network of this.world.registry.all)
      for (const { bridge } of bridgeUses(network)) taken.add(bridge ?? '');
    return () => freeBridgeName(taken);
  }

  /** @throws VirtError xml.invalid, definition.unsupported */
  check(definition: CompleteNetworkDef, wanted: string): void {
    throwProblems(validateNetwork(definition), wanted);
    if (definition.dnsmasqOptions.length === 0 || this.world.allowDnsmasqOptions) return;
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: '<dnsmasq:options> may change anything about the DHCP and DNS server, and is not allowed here',
      hint: "set 'allow_dnsmasq_options = true' in section [network] of vireod.toml, if you trust everybody who may define networks",
    });
  }

  /** @throws VirtError network.exists when name, uuid or bridge belong to another network */
  private refuseTaken(definition: CompleteNetworkDef): void {
    const { registry } = this.world;
    const { name, uuid } = definition;
    const wanted = `define network '${name}'`;
    const withUuid = registry.withUuid(uuid);
    const withName = registry.withName(name);
    if (withUuid && withUuid.name !== name)
      throw new VirtError('network.exists', {
        wanted,
        reason: `network '${withUuid.name}' is already defined with uuid ${uuid}`,
        hint: 'leave the uuid out, or use another one',
      });
    if (withName && withName.uuid !== uuid)
      throw new VirtError('network.exists', {
        wanted,
        reason: `network '${name}' already exists with uuid ${withName.uuid}`,
        hint: 'use another name, or leave the uuid out to redefine it',
      });
    const bridge = definition.bridge?.name;
    if (bridge === undefined) return;
    for (const other of registry.all) {
      const isTaken = bridgeUses(other).some(
        (facts) => facts.bridge === bridge && (hasOwnBridge(definition) || facts.mode !== 'bridge'),
      );
      if (other.uuid === uuid || !isTaken) continue;
      throw new VirtError('network.exists', {
        wanted,
        reason: `bridge '${bridge}' belongs to network '${other.name}'`,
        hint: 'leave the name of the bridge out, and a free one is taken',
      });
    }
  }

  private warnings(network: Network, definition: NetworkDef): string[] {
    const mine = subnetsOf(definition);
    return this.world.registry.all.flatMap((other) => {
      if (other === network) return [];
      const overlap = overlapOf(mine, subnetsOf(this.definition(other)));
      return overlap === undefined
        ? []
        : [`${overlap} of network '${other.name}': they cannot be active at the same time`];
    });
  }

  /** The network of a checked definition, in the registry. */
  take(definition: CompleteNetworkDef): { network: Network; isNew: boolean } {
    const known = this.world.registry.withUuid(definition.uuid);
    if (known) return { network: known, isNew: !known.isPersistent };
    const network = new Network(definition.uuid, definition.name);
    this.world.registry.add(network);
    return { network, isNew: true };
  }

  /** Writes the file, then changes what is served. */
  private async write(
    network: Network,
    definition: CompleteNetworkDef,
    autostart = network.autostart,
  ): Promise<void> {
    const xml = storedXml(definition);
    const facts = factsOf(definition);
    await this.world.definitions.save(this.stored(network, { xml, autostart, facts: { ...facts } }));
    network.xml = xml;
    network.facts = facts;
    network.autostart = autostart;
  }

  private stored(network: Network, change: Partial<StoredDefinition>): StoredDefinition {
    return {
      uuid: network.uuid,
      name: network.name,
      autostart: network.autostart,
      xml: network.xml ?? '',
      ...(network.facts && { facts: { ...network.facts } }),
      ...(network.extra && { extra: network.extra }),
      ...change,
    };
  }

  /**
   * Forgets a stored definition; an active network becomes transient and is gone when it stops.
   * @throws VirtError network.transient
   */
  async undefine(network: Network): Promise<void> {
    await runNetworkJob(this.world, network, 'undefine', async () => {
      const definition = storedDefinition(network, 'undefine');
      await this.world.definitions.remove(network.uuid);
      network.xml = undefined;
      network.facts = undefined;
      network.autostart = false;
      if (network.live) await saveNetworkStatus(this.world, network, 'active', network.live.definition);
      else await this.plans.forget(definition);
    });
    this.world.registry.forgetIfGone(network);
    this.world.events.publish({ event: 'network.undefined', network: network.identity });
  }

  /** @throws VirtError network.transient */
  async setAutostart(network: Network, autostart: boolean): Promise<void> {
    await runNetworkJob(this.world, network, 'set autostart', async () => {
      if (!network.isPersistent) throw transient(network, 'autostart');
      if (network.autostart === autostart) return;
      await this.world.definitions.save(this.stored(network, { autostart }));
      network.autostart = autostart;
    });
  }

  /** The definition: as it runs for an active network (unless `inactive`), else the stored one. */
  definition(network: Network, options: { readonly inactive?: boolean } = {}): CompleteNetworkDef {
    if (network.live && !(options.inactive === true && network.isPersistent)) return network.live.definition;
    return storedDefinition(network, 'show');
  }

  xml(network: Network, options: { readonly inactive: boolean }): string {
    const isLive = network.live !== undefined && !(options.inactive && network.isPersistent);
    return formatNetwork(this.definition(network, options), isLive ? this.connections(network) : {});
  }

  /** How many guests are connected, and where a network has interfaces of the host, by which. */
  private connections(network: Network): Connections {
    const mine = this.world.guests.ports().filter((port) => port.network === network.name);
    const interfaceConnections = new Map<string, number>();
    for (const { definition } of mine) {
      if (definition.source.type !== 'direct') continue;
      const { dev } = definition.source;
      interfaceConnections.set(dev, (interfaceConnections.get(dev) ?? 0) + 1);
    }
    return { connections: mine.length, interfaceConnections };
  }

  /**
   * Changes one part, in the active network and in the stored definition. Guests stay connected.
   * @throws VirtError xml.*, operation.failed, network.inactive, network.transient
   */
  async update(network: Network, update: NetworkUpdate, targets: ChangeTargets): Promise<void> {
    await this.change(network, 'update', (definition) => updateNetwork(definition, update), targets);
    if (network.live) await tellNetworkHooks(this.world.hooks, 'updated', network.live.definition);
  }

  /** Changes the definition wherever it is, and brings the host to it. */
  async change(
    network: Network,
    job: string,
    change: (definition: CompleteNetworkDef) => NetworkDef,
    targets: ChangeTargets = {},
  ): Promise<void> {
    await this.changeQuietly(network, job, change, targets);
    this.world.events.publish({ event: 'network.changed', network: network.identity, what: job });
  }

  /** As `change`, for callers who tell what happened in an event of their own. */
  async changeQuietly(
    network: Network,
    job: string,
    change: (definition: CompleteNetworkDef) => NetworkDef,
    targets: ChangeTargets = {},
  ): Promise<void> {
    const wanted = `${job} of network '${network.name}'`;
    await runNetworkJob(this.world, network, job, async () => {
      const changed = (definition: CompleteNetworkDef) => {
        const result = { ...change(definition), uuid: definition.uuid };
        this.check(result, wanted);
        return result;
      };
      // Both are worked out before either is carried out.
      const live =
        (targets.live ?? network.isActive) ? changed(network.requireLive(wanted).definition) : undefined;
      const stored =
        (targets.stored ?? network.isPersistent) ? changed(storedDefinition(network, job)) : undefined;
      if (live) await this.changeLive(network, live);
      if (stored) await this.write(network, stored);
    });
  }

  /** Brings the host to another definition; when it can't be, the host goes back to the one before. */
  private async changeLive(network: Network, definition: CompleteNetworkDef): Promise<void> {
    const live = network.requireLive('change');
    const { host, log } = this.world;
    const [before, after] = hasOwnBridge(definition)
      ? [await this.plans.plan(network, live.definition), await this.plans.plan(network, definition)]
      : [];
    // Titles and foreign metadata are nothing to the host.
    if (before && after && JSON.stringify(before) !== JSON.stringify(after)) {
      try {
        await host.reconcile(after);
      } catch (error) {
        await host.reconcile(before).catch((failure: unknown) =>
          // The first error is the one to tell; the guardian goes on trying.
          log.error({ err: failure, network: network.name }, 'a change could not be taken back'),
        );
        throw error;
      }
    }
    live.definition = definition;
    await saveNetworkStatus(this.world, network, 'active', definition);
  }
}

/** An active network that was redefined has two bridges: the one it runs on, and the one of its next start. */
function bridgeUses(network: Network): NetworkFacts[] {
  const running = activeDefinitions(network).map((definition) => factsOf(definition));
  return [...running, ...(network.facts ? [network.facts] : [])];
}

/** A redefinition that leaves bridge or address open keeps those it had: a network is never renumbered. */
function inherit(definition: NetworkDef, previous: CompleteNetworkDef | undefined): NetworkDef {
  if (previous === undefined) return definition;
  const named = { ...definition, uuid: previous.uuid };
  if (!hasOwnBridge(definition) || !hasOwnBridge(previous)) return named;
  const name = definition.bridge?.name ?? previous.bridge?.name;
  const mac = definition.mac ?? previous.mac;
  return {
    ...named,
    bridge: { ...definition.bridge, ...(name !== undefined && { name }) },
    ...(mac !== undefined && { mac }),
  };
}

/** QEMU's range of addresses (52:54:00), as for guests. */
function newMac(): string {
  return `52:54:00:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
}
