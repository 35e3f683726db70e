/** How many virtual CPUs a domain has, and which: in the running guest, and at its next start. */
import { VirtError } from '../../base/errors.ts';
import {
  type CpuChange,
  changeForCount,
  changeForCpus,
  countCpus,
  withCpuPlaces,
} from '../../drivers/cpu-places.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import { pinOf, pinThread } from '../../drivers/host-tuning/threads.ts';
import type { CpuPlace } from '../../drivers/live-tuning.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import {
  vcpuStateProblems,
  vcpuStates,
  withVcpuCount,
  withVcpuStates,
  withVcpusSet,
} from '../../model/domain/vcpu-states.ts';
import { changeAndStore } from './change-and-store.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { inheritedPlaces, limitNewThreads } from './guest-threads.ts';
import { runChange } from './late-changes.ts';
import { changeRunning } from './running-definition.ts';
import { applyTargeted, chooseTargets, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** A change of which CPUs are there. */
interface VcpuChange {
  readonly wanted: string;
  readonly targets: Targets;
  /** Throws for what cannot be; called for each definition that is meant before anything is done. */
  readonly check: (definition: DomainDef) => void;
  /** What has to be plugged and unplugged in the running guest. */
  readonly live: (places: readonly CpuPlace[]) => CpuChange;
  readonly stored: (definition: DomainDef) => DomainDef;
}

const verb = 'set the CPUs of';

export class DomainVcpus {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /**
   * Plugs virtual CPUs into the running guest, or asks it to give some back, and stores how many the next start has.
   * With `hotpluggable` those that the next start has more can be unplugged again.
   * @throws VirtError request.invalid for more than the domain may have; operation.timeout when the guest keeps them,
   *   which leaves the stored definition as it was
   */
  setCount(domain: Domain, count: number, targets: Targets, hotpluggable = false): Promise<void> {
    const wanted = `${verb} domain '${domain.name}'`;
    return this.change(domain, {
      wanted,
      targets,
      check: (definition) => checkCount(wanted, count, definition),
      live: (places) => changeForCount(places, count, wanted),
      stored: (definition) => withVcpuCount(definition, count, hotpluggable),
    });
  }

  /**
   * Has just these CPUs there, or not, whatever is there above them.
   * @throws VirtError request.invalid for the first one, for one that the domain cannot have, for one of the running
   *   guest that is there (or not) already, and where the next start would have CPUs of QEMU's first moment above it;
   *   operation.timeout as with `setCount`
   */
  setEach(domain: Domain, ids: readonly number[], enabled: boolean, targets: Targets): Promise<void> {
    const which = `${ids.length === 1 ? 'CPU' : 'CPUs'} ${ids.join(', ')}`;
    const wanted = `${enabled ? 'enable' : 'disable'} ${which} of domain '${domain.name}'`;
    const refuse = (reason: string) => new VirtError('request.invalid', { wanted, reason });
    return this.change(domain, {
      wanted,
      targets,
      check: ({ vcpu }) => {
        if (ids.length === 0) throw refuse('no vcpus selected for modification');
        const beyond = ids.find((id) => id >= vcpu.count);
        if (beyond !== undefined)
          throw refuse(`vcpu ${beyond} is not one of the ${vcpu.count} that the domain may have`);
        if (ids.includes(0)) throw refuse("vCPU '0' can't be modified");
      },
      live: (places) => changeForCpus(places, ids, enabled, wanted),
      stored: (definition) => {
        const after = withVcpusSet(definition, ids, enabled);
        if (vcpuStateProblems(after).length === 0) return after;
        throw new VirtError('request.invalid', {
          wanted,
          reason: `vcpu '${ids[0]}' can't be modified as it is followed by non-hotpluggable online vcpus`,
          hint: "only CPUs with hotpluggable='yes' may come behind a gap at a start; change the running guest alone, or edit <vcpus>",
        });
      },
    });
  }

  /** All is checked, then the guest changed, then stored. */
  private async change(domain: Domain, { wanted, targets, ...change }: VcpuChange): Promise<void> {
    await runChange(this.world, domain, 'set the CPUs', async () => {
      const chosen = chooseTargets(domain, verb, targets);
      const stored = chosen.stored ? this.definitions.definition(domain, { inactive: true }) : undefined;
      if (stored) change.check(stored);
      if (chosen.live) change.check(domain.requireLive(verb).guest.definition);
      const after = stored && change.stored(stored);
      await changeAndStore(
        domain,
        { world: this.world, definitions: this.definitions, stored: after },
        async () => {
          if (!chosen.live) return;
          const { guest } = domain.requireLive(verb);
          await this.plug(domain, change.live(await guest.tuning.cpuPlaces()), wanted);
        },
      );
      await saveStatus(this.world, domain);
    });
  }

  private async plug(domain: Domain, { plug, unplug }: CpuChange, wanted: string): Promise<void> {
    const { guest } = domain.requireLive(verb);
    const before = new Set((await guest.tuning.cpus()).map(({ index }) => index));
    try {
      if (plug.length > 0) await guest.tuning.plugCpus(plug);
      if (unplug.length > 0) await guest.tuning.unplugCpus(unplug);
    } finally {
      // Some may have come or gone before one failed.
      const places = await guest.tuning.cpuPlaces();
      changeRunning(guest, withCpuPlaces(guest.definition, places));
      await saveStatus(this.world, domain);
    }
    await this.placeNew(guest, before);
    const places = await guest.tuning.cpuPlaces();
    const kept = places.filter(({ first, isPresent }) => isPresent && unplug.includes(first));
    if (kept.length === 0) return;
    throw new VirtError('operation.timeout', {
      wanted,
      reason: `the guest still has ${countCpus(places)} CPUs`,
      hint: 'it may give them back later, or may not know how; take them offline inside the guest first',
    });
  }

  /** Threads that came run where the definition says, within its limits. */
  private async placeNew(guest: LiveGuest, before: ReadonlySet<number>): Promise<void> {
    for (const { index, threadId } of await guest.tuning.cpus()) {
      if (before.has(index)) continue;
      const cpus = pinOf(guest.definition, { vcpu: index }) ?? inheritedPlaces(guest.definition);
      if (cpus !== undefined) pinThread(threadId, cpus);
    }
    await limitNewThreads(this.world, guest);
  }

  /** How many CPUs a domain may have at most. @throws VirtError domain.active while it runs, request.invalid */
  async setMaximum(domain: Domain, count: number, targets: Targets): Promise<void> {
    const wanted = `set the maximum of CPUs of domain '${domain.name}'`;
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'set the maximum of CPUs of',
      targets: targets.live === undefined && targets.stored === undefined ? { stored: true } : targets,
      check: (definition, where) => {
        if (where === 'live')
          throw new VirtError('domain.active', {
            wanted,
            reason: "maximum vcpu count of a live domain can't be modified",
          });
        if (count < 1) throw new VirtError('request.invalid', { wanted, reason: 'a domain needs a CPU' });
        const topology = definition.cpu?.topology;
        if (topology !== undefined)
          throw new VirtError('request.invalid', {
            wanted,
            reason: "CPU topology doesn't match the desired vcpu count",
            hint: "its <topology> makes the count; edit it with 'vireo edit'",
          });
      },
      definition: (definition) => withMaximum(definition, count),
    });
  }
}

function checkCount(wanted: string, count: number, { vcpu }: DomainDef): void {
  if (count < 1) throw new VirtError('request.invalid', { wanted, reason: 'a guest needs a CPU' });
  if (count > vcpu.count)
    throw new VirtError('request.invalid', {
      wanted,
      reason: `requested vcpus is greater than max allowable vcpus for the domain: ${count} > ${vcpu.count}`,
      hint: "'vireo domain set-vcpus --maximum' changes that for the next start",
    });
}

function withMaximum(definition: DomainDef, count: number): DomainDef {
  const { current: before, ...vcpu } = definition.vcpu;
  const current = Math.min(before ?? vcpu.count, count);
  const { cputune, vcpus } = definition;
  const after = {
    ...definition,
    vcpu: { ...vcpu, count, ...(current < count && { current }) },
    ...(cputune && {
      cputune: { ...cputune, vcpupins: cputune.vcpupins.filter((pin) => pin.vcpu < count) },
    }),
  };
  return vcpus.length === 0 ? after : withVcpuStates(after, vcpuStates(after));
}
