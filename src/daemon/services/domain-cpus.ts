/** Where on the host the threads of domains run, and their IO threads. */
import { VirtError } from '../../base/errors.ts';
import { emulatorThreads, type GuestThreads, pinThread } from '../../drivers/host-tuning/threads.ts';
import type { IothreadFacts, IothreadSettings } from '../../drivers/live-tuning.ts';
import { cpusetMembers } from '../../model/domain/cpuset.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { CpuTune } from '../../model/domain/tuning.ts';
import { changeAndStore } from './change-and-store.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { inheritedPlaces, limitNewThreads, threadsOf } from './guest-threads.ts';
import { runChange } from './late-changes.ts';
import { changeRunning } from './running-definition.ts';
import { applyTargeted, chooseTargets, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

const SAMPLE_MS = 5000;

/** What can be pinned. */
export type PinTarget = { readonly vcpu: number } | { readonly iothread: number } | 'emulator';

export class DomainCpus {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** Has a thread run on these processors of the host only, now and from the next start on. */
  async pin(domain: Domain, target: PinTarget, cpus: string, targets: Targets): Promise<void> {
    const verb = 'pin a thread of';
    await runChange(this.world, domain, 'pin a thread', async () => {
      const chosen = chooseTargets(domain, verb, targets);
      const stored = chosen.stored ? this.definitions.definition(domain, { inactive: true }) : undefined;
      cpusetMembers(cpus);
      if (stored) checkTarget(domain, target, stored);
      const pinned = stored && withPin(stored, target, cpus);
      await changeAndStore(
        domain,
        { world: this.world, definitions: this.definitions, stored: pinned },
        async () => {
          if (!chosen.live) return;
          const { guest } = domain.requireLive(verb);
          checkTarget(domain, target, guest.definition);
          for (const thread of targetThreads(await this.threads(domain), target)) pinThread(thread, cpus);
          changeRunning(guest, withPin(guest.definition, target, cpus));
        },
      );
      await saveStatus(this.world, domain);
    });
    if (domain.isActive && targets.live !== false)
      this.world.events.emit('domain.tunable', domain.identity, {
        parameters: { [tunableName(target)]: cpus },
      });
  }

  /** Threads of the running guest by what they do. @throws VirtError domain.inactive, qmp.* */
  async threads(domain: Domain): Promise<GuestThreads> {
    return threadsOf(domain.requireLive('ask about threads of').guest);
  }

  /**
   * Nanoseconds that the running guest had on each processor of the host since its start, by number; undefined where the
   * host does not count that. @throws VirtError domain.inactive
   */
  async processorTimes(domain: Domain): Promise<number[] | undefined> {
    const { guest } = domain.requireLive('count the processor time of');
    return this.world.groups?.processorTimes(guest.record.pid, domain.uuid);
  }

  /** IO threads as they run. @throws VirtError domain.inactive, qmp.* */
  async iothreads(domain: Domain): Promise<readonly IothreadFacts[]> {
    const { guest } = domain.requireLive('ask about IO threads of');
    return (await guest.tuning.sample(['iothreads'], SAMPLE_MS)).iothreads ?? [];
  }

  /** @throws VirtError request.invalid when there is one of that number */
  async addIothread(domain: Domain, id: number, targets: Targets): Promise<void> {
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'add an IO thread to',
      targets,
      check: (definition) => {
        if (iothreadIds(definition).includes(id)) throw iothreadProblem(domain, id, 'is there already');
      },
      live: async () => {
        const { guest } = domain.requireLive('add an IO thread to');
        await guest.tuning.addIothread(id);
        const cpus = inheritedPlaces(guest.definition);
        if (cpus !== undefined)
          for (const thread of targetThreads(await this.threads(domain), { iothread: id }))
            pinThread(thread, cpus);
        await limitNewThreads(this.world, guest);
      },
      definition: (definition) => withIothreads(definition, [...iothreadIds(definition), id]),
    });
  }

  /** @throws VirtError domain.no-device; request.invalid while a device uses it */
  async removeIothread(domain: Domain, id: number, targets: Targets): Promise<void> {
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'remove an IO thread of',
      targets,
      check: (definition) => {
        if (!iothreadIds(definition).includes(id)) throw noIothread(domain, id);
        const { disks, controllers } = definition.devices;
        const isUsed = [...disks, ...controllers].some(
          ({ driver }) => driver !== undefined && 'iothread' in driver && driver.iothread === id,
        );
        if (isUsed) throw iothreadProblem(domain, id, 'is in use by a disk or controller');
      },
      live: () => domain.requireLive('remove an IO thread of').guest.tuning.removeIothread(id),
      definition: (definition) =>
        withIothreads(
          definition,
          iothreadIds(definition).filter((one) => one !== id),
        ),
    });
  }

  /** Polling and pool of an IO thread, while it runs; only the pool has a place in a definition. */
  async setIothread(domain: Domain, id: number, settings: IothreadSettings, targets: Targets): Promise<void> {
    const { pollMaxNs, pollGrow, pollShrink, threadPoolMin, threadPoolMax } = settings;
    const isPolling = [pollMaxNs, pollGrow, pollShrink].some((value) => value !== undefined);
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'tune an IO thread of',
      targets,
      check: (definition, where) => {
        if (!iothreadIds(definition).includes(id)) throw noIothread(domain, id);
        if (where === 'stored' && isPolling)
          throw iothreadProblem(domain, id, 'has no polling values in a stored definition');
      },
      live: () => domain.requireLive('tune an IO thread of').guest.tuning.setIothread(id, settings),
      definition: (definition) => ({
        ...withIothreads(definition, iothreadIds(definition)),
        iothreadids: withIothreads(definition, iothreadIds(definition)).iothreadids.map((one) =>
          one.id === id
            ? {
                ...one,
                ...(threadPoolMin !== undefined && { threadPoolMin }),
                ...(threadPoolMax !== undefined && { threadPoolMax }),
              }
            : one,
        ),
      }),
    });
  }
}

/** Numbers of the IO threads: those that are named, and the lowest free ones for the rest of the count. */
export function iothreadIds({ iothreads = 0, iothreadids }: DomainDef): number[] {
  const ids = new Set(iothreadids.map(({ id }) => id));
  for (let id = 1; ids.size < iothreads; id++) ids.add(id);
  return [...ids].sort((a, b) => a - b);
}

function withIothreads(definition: DomainDef, ids: readonly number[]): DomainDef {
  const known = new Map(definition.iothreadids.map((one) => [one.id, one]));
  const { iothreads: _count, ...rest } = definition;
  const iothreadids = ids.toSorted((a, b) => a - b).map((id) => known.get(id) ?? { id });
  const cputune = definition.cputune && {
    ...definition.cputune,
    iothreadpins: definition.cputune.iothreadpins.filter((pin) => ids.includes(pin.iothread)),
  };
  return {
    ...rest,
    ...(ids.length > 0 && { iothreads: ids.length }),
    iothreadids,
    ...(cputune && { cputune }),
  };
}

const emptyTune: CpuTune = {
  vcpupins: [],
  iothreadpins: [],
  vcpuscheds: [],
  iothreadscheds: [],
  cachetunes: [],
  memorytunes: [],
};

function withPin(definition: DomainDef, target: PinTarget, cpuset: string): DomainDef {
  const tune = definition.cputune ?? emptyTune;
  if (target === 'emulator') return { ...definition, cputune: { ...tune, emulatorpin: cpuset } };
  if ('vcpu' in target) {
    const others = tune.vcpupins.filter(({ vcpu }) => vcpu !== target.vcpu);
    const vcpupins = [...others, { ...target, cpuset }].sort((a, b) => a.vcpu - b.vcpu);
    return { ...definition, cputune: { ...tune, vcpupins } };
  }
  const others = tune.iothreadpins.filter(({ iothread }) => iothread !== target.iothread);
  const iothreadpins = [...others, { ...target, cpuset }].sort((a, b) => a.iothread - b.iothread);
  return { ...definition, cputune: { ...tune, iothreadpins } };
}

function checkTarget(domain: Domain, target: PinTarget, definition: DomainDef): void {
  if (target === 'emulator') return;
  if ('iothread' in target) {
    if (!iothreadIds(definition).includes(target.iothread)) throw noIothread(domain, target.iothread);
    return;
  }
  if (target.vcpu < definition.vcpu.count) return;
  throw new VirtError('request.invalid', {
    wanted: `pin vCPU ${target.vcpu} of domain '${domain.name}'`,
    reason: `vcpu ${target.vcpu} is out of range of persistent cpu count ${definition.vcpu.count}`,
  });
}

function targetThreads(threads: GuestThreads, target: PinTarget): number[] {
  if (target === 'emulator') return emulatorThreads(threads);
  if ('vcpu' in target)
    return threads.vcpus.filter(({ index }) => index === target.vcpu).map(({ threadId }) => threadId);
  return threads.iothreads.filter(({ id }) => id === target.iothread).map(({ threadId }) => threadId);
}

/** libvirt's names of these parameters in its tunable event (VIR_DOMAIN_TUNABLE_CPU_*). */
function tunableName(target: PinTarget): string {
  if (target === 'emulator') return 'cputune.emulatorpin';
  return 'vcpu' in target ? `cputune.vcpupin${target.vcpu}` : `cputune.iothreadpin${target.iothread}`;
}

function noIothread(domain: Domain, id: number): VirtError {
  return new VirtError('request.invalid', {
    wanted: `find IO thread ${id} of domain '${domain.name}'`,
    reason: `cannot find IOThread '${id}' in iothreadids list`,
  });
}

function iothreadProblem(domain: Domain, id: number, what: string): VirtError {
  return new VirtError('request.invalid', {
    wanted: `change IO thread ${id} of domain '${domain.name}'`,
    reason: `an IOThread ${id} ${what}`,
  });
}
