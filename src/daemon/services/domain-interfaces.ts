/** Network cards of domains: the cable, limits, counters, and what a trusted guest's card wants to receive. */
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type Bandwidth, bandwidthProblems } from '../../model/network/connection.ts';
import type { LinkStatistics } from '../../net/links/requests.ts';
import { bandwidthPlanOf } from '../../net/plan-from-definition.ts';
import { changeAndStore } from './change-and-store.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { runChange } from './late-changes.ts';
import { floorOf } from './network-shares.ts';
import { changeRunning } from './running-definition.ts';
import { chooseTargets, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** Counters of one interface, or why there are none. */
export interface InterfaceStatistics {
  readonly nic: Interface;
  readonly counters: LinkStatistics | undefined;
  readonly reason: string | undefined;
}

type Rates = NonNullable<Bandwidth['inbound']>;

/** Directions left out stay as they are; null lifts the limit. */
export interface BandwidthWish {
  readonly inbound?: Rates | null | undefined;
  readonly outbound?: Rates | null | undefined;
}

export class DomainInterfaces {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** An interface as it runs, or as it is stored. @throws VirtError domain.no-device, domain.transient */
  find(domain: Domain, name: string, options: { readonly inactive: boolean }): Interface {
    const definition = this.definitions.definition(domain, options);
    const mac = options.inactive ? this.nameInOther(domain, name) : undefined;
    const nic = definition.devices.interfaces[findInterface(domain, definition, name, mac)];
    if (nic === undefined) throw new Error(`interface ${name} was found and is not there`);
    return nic;
  }

  /** @throws VirtError domain.no-device, domain.inactive, domain.transient, qmp.* */
  async setLink(domain: Domain, name: string, state: 'up' | 'down', targets: Targets): Promise<void> {
    await this.change(domain, name, 'set a link of', targets, {
      live: (guest, nic) => guest.setLink(nic.alias ?? '', state === 'up'),
      definition: (nic) => ({ ...nic, link: state }),
    });
  }

  /** @throws VirtError domain.no-device, domain.inactive, domain.transient, request.invalid, link.failed, program.* */
  async setBandwidth(domain: Domain, name: string, wish: BandwidthWish, targets: Targets): Promise<void> {
    await this.change(domain, name, 'limit an interface of', targets, {
      live: async (_guest, nic) => {
        const device = deviceOf(nic, `limit ${name} of domain '${domain.name}'`);
        const after = bandwidthAfter(nic, wish);
        await this.shareAgain(domain, nic, floorOf({ bandwidth: after }));
        await this.limit(device, after, nic.bandwidth);
      },
      definition: (nic) => withBandwidth(nic, wish, domain),
    });
  }

  /** @throws VirtError definition.unsupported, link.failed when the network cannot guarantee that */
  private async shareAgain(domain: Domain, nic: Interface, floorKBps: number | undefined): Promise<void> {
    if (floorKBps === floorOf(nic)) return;
    const wanted = `guarantee bandwidth to domain '${domain.name}'`;
    const { network } = { network: undefined, ...nic.source };
    if (network === undefined || this.world.shares === undefined)
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: 'bandwidth.inbound.floor: a share can only be guaranteed on a virtual network',
      });
    await this.world.shares.promise({ network, mac: nic.mac?.address ?? '', floorKBps, wanted });
  }

  /** A limit that the host cannot carry out leaves the one before in place. */
  private async limit(
    device: string,
    after: Bandwidth | undefined,
    before: Bandwidth | undefined,
  ): Promise<void> {
    const { links } = this.world;
    try {
      await links.setBandwidth(device, bandwidthPlanOf(after));
    } catch (error) {
      await links.setBandwidth(device, bandwidthPlanOf(before));
      throw error;
    }
  }

  /** Of all interfaces, or of one. @throws VirtError domain.no-device; request.unsupported for one that nobody counts */
  statistics(domain: Domain, name: string | undefined): InterfaceStatistics[] {
    const { guest } = domain.requireLive('count the traffic of');
    const { interfaces } = guest.definition.devices;
    if (name === undefined) return interfaces.map((nic) => this.count(nic));
    const nic = interfaces[findInterface(domain, guest.definition, name)];
    if (nic === undefined) throw new Error(`interface ${name} was found and is not there`);
    const one = this.count(nic);
    if (one.counters !== undefined) return [one];
    throw new VirtError('request.unsupported', {
      wanted: `count the traffic of ${name} of domain '${domain.name}'`,
      reason: one.reason ?? 'nobody counts it',
    });
  }

  private count(nic: Interface): InterfaceStatistics {
    if (!hasDevice(nic))
      return {
        nic,
        counters: undefined,
        reason: `an interface of type ${nic.source.type} has no device on the host`,
      };
    try {
      return { nic, counters: this.world.links.statistics(nic.target?.dev ?? ''), reason: undefined };
    } catch (error) {
      if (!isVirtError(error, 'domain.no-device')) throw error;
      return { nic, counters: undefined, reason: error.reason };
    }
  }

  private async change(
    domain: Domain,
    name: string,
    verb: string,
    targets: Targets,
    how: {
      readonly live: (guest: LiveGuest, nic: Interface) => Promise<void>;
      readonly definition: (nic: Interface) => Interface;
    },
  ): Promise<void> {
    await runChange(this.world, domain, verb.replace(/ of$/, ''), async () => {
      const chosen = chooseTargets(domain, verb, targets);
      const changed = (definition: DomainDef) => {
        const index = findInterface(domain, definition, name, this.nameInOther(domain, name));
        return withInterface(definition, index, how.definition);
      };
      // All is checked before anything is done.
      const stored = chosen.stored
        ? changed(this.definitions.definition(domain, { inactive: true }))
        : undefined;
      await changeAndStore(domain, { world: this.world, definitions: this.definitions, stored }, async () => {
        if (!chosen.live) return;
        const { guest } = domain.requireLive(verb);
        const after = changed(guest.definition);
        const nic = guest.definition.devices.interfaces[findInterface(domain, guest.definition, name)];
        if (nic !== undefined) await how.live(guest, nic);
        changeRunning(guest, after);
      });
      await saveStatus(this.world, domain);
    });
  }

  /** The MAC address of an interface of the running guest: its device and alias are in no stored definition. */
  private nameInOther(domain: Domain, name: string): string | undefined {
    const { interfaces = [] } = domain.live?.guest.definition.devices ?? {};
    return interfaces.find((nic) => nic.target?.dev === name || nic.alias === name)?.mac?.address;
  }
}

/** The place of an interface by MAC address, alias or device. @throws VirtError domain.no-device */
function findInterface(domain: Domain, definition: DomainDef, name: string, mac?: string): number {
  const { interfaces } = definition.devices;
  const index = interfaces.findIndex(
    (nic, i) =>
      nic.mac?.address === (mac ?? name.toLowerCase()) ||
      (mac === undefined && (nic.target?.dev === name || (nic.alias ?? `net${i}`) === name)),
  );
  if (index !== -1) return index;
  const known = interfaces.flatMap((nic) => nic.mac?.address ?? []);
  throw new VirtError('domain.no-device', {
    wanted: `find interface '${name}' of domain '${domain.name}'`,
    reason: 'it has no interface with that MAC address, alias or device',
    ...(known.length > 0 && { hint: `it has ${known.join(', ')}` }),
  });
}

function withInterface(
  definition: DomainDef,
  index: number,
  change: (nic: Interface) => Interface,
): DomainDef {
  const interfaces = definition.devices.interfaces.map((nic, i) => (i === index ? change(nic) : nic));
  return { ...definition, devices: { ...definition.devices, interfaces } };
}

/** Types whose traffic passes a device of the host. */
function hasDevice({ source, target }: Interface): boolean {
  return ['network', 'bridge', 'direct', 'ethernet'].includes(source.type) && target?.dev !== undefined;
}

function deviceOf(nic: Interface, wanted: string): string {
  if (hasDevice(nic) && nic.target !== undefined) return nic.target.dev;
  throw new VirtError('request.invalid', {
    wanted,
    reason: `an interface of type ${nic.source.type} has no device on the host`,
  });
}

function bandwidthAfter(nic: Interface, { inbound, outbound }: BandwidthWish): Bandwidth | undefined {
  const { inbound: oldIn, outbound: oldOut, ...rest } = nic.bandwidth ?? {};
  const nowIn = inbound === undefined ? oldIn : (inbound ?? undefined);
  const nowOut = outbound === undefined ? oldOut : (outbound ?? undefined);
  if (nowIn === undefined && nowOut === undefined) return undefined;
  return { ...rest, ...(nowIn && { inbound: nowIn }), ...(nowOut && { outbound: nowOut }) };
}

function withBandwidth(nic: Interface, wish: BandwidthWish, domain: Domain): Interface {
  const wanted = `limit an interface of domain '${domain.name}'`;
  if (!['network', 'bridge', 'direct', 'ethernet'].includes(nic.source.type)) deviceOf(nic, wanted);
  const after = bandwidthAfter(nic, wish);
  const problems = bandwidthProblems(after, 'bandwidth', { floor: 'allowed' });
  if (problems.length > 0)
    throw new VirtError('request.invalid', {
      wanted,
      reason: problems.map(({ path, message }) => `${path}: ${message}`).join('; '),
      details: { problems },
    });
  const { bandwidth: _before, ...rest } = nic;
  return after === undefined ? rest : { ...rest, bandwidth: after };
}
