/** Memory of domains: how much the balloon leaves the guest, how much it has at most, and what it says of its use. */
import { VirtError } from '../../base/errors.ts';
import type { BalloonStatistics } from '../../drivers/live-tuning.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { residentKiB } from './process-times.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** For what QEMU measures; a guest that hangs must not hold a query for longer. */
const SAMPLE_MS = 5000;

export interface MemoryUse {
  readonly balloonBytes: number | undefined;
  readonly residentKiB: number | undefined;
  readonly guest: BalloonStatistics | undefined;
}

export class DomainMemory {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /**
   * Asks the balloon of the running guest, which does it in its own time, and stores what the next start begins with.
   * @throws VirtError request.invalid for more than the domain has, domain.no-device without a balloon
   */
  async set(domain: Domain, kib: number, targets: Targets): Promise<void> {
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'set the memory of',
      targets,
      check: (definition) => checkSize(domain, kib, definition),
      live: () => domain.requireLive('set the memory of').guest.tuning.setBalloon(kib * 1024),
      definition: (definition) => ({ ...definition, currentMemoryKiB: kib }),
      // The running definition says what the balloon has come to, which its event tells.
      running: (definition) => definition,
    });
  }

  /**
   * The memory a domain boots with; what the balloon leaves is made smaller where it would be more.
   * @throws VirtError domain.active while it runs; request.invalid with NUMA cells, whose sizes would not fit
   */
  async setMaximum(domain: Domain, kib: number, targets: Targets): Promise<void> {
    const wanted = `set the maximum memory of domain '${domain.name}'`;
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'set the maximum memory of',
      targets: targets.live === undefined && targets.stored === undefined ? { stored: true } : targets,
      check: (definition, where) => {
        if (where === 'live')
          throw new VirtError('domain.active', {
            wanted,
            reason: 'cannot resize the maximum memory on an active domain',
            hint: 'change the stored definition, and start it anew',
          });
        if ((definition.cpu?.numa?.cells.length ?? 0) > 0)
          throw new VirtError('request.invalid', {
            wanted,
            reason: 'the sizes of its NUMA cells make its memory',
            hint: "edit them with 'vireo edit'",
          });
        if (kib < 1) throw new VirtError('request.invalid', { wanted, reason: 'a domain needs memory' });
      },
      definition: (definition) => ({
        ...definition,
        memory: { ...definition.memory, sizeKiB: kib },
        ...(definition.currentMemoryKiB !== undefined && {
          currentMemoryKiB: Math.min(definition.currentMemoryKiB, kib),
        }),
      }),
    });
  }

  /** How often the guest tells its statistics, in seconds; 0: never. @throws VirtError domain.no-device */
  async setPeriod(domain: Domain, seconds: number, targets: Targets): Promise<void> {
    const verb = 'measure the memory of';
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      check: (definition) => {
        const { memballoon } = definition.devices;
        if (memballoon !== undefined && memballoon.model !== 'none') return;
        throw new VirtError('domain.no-device', {
          wanted: `${verb} domain '${domain.name}'`,
          reason: 'it has no memory balloon',
          hint: "give it <memballoon model='virtio'/>",
        });
      },
      live: () => domain.requireLive(verb).guest.tuning.setBalloonPeriod(seconds),
      definition: (definition) => withPeriod(definition, seconds),
    });
  }

  /** What the guest and the host say of a running guest's memory. @throws VirtError domain.inactive, qmp.* */
  async use(domain: Domain): Promise<MemoryUse> {
    const { guest } = domain.requireLive('measure the memory of');
    const sample = await guest.tuning.sample(['balloon'], SAMPLE_MS);
    return {
      balloonBytes: sample.balloonBytes,
      residentKiB: residentKiB(guest.record.pid),
      guest: sample.balloon,
    };
  }
}

function checkSize(domain: Domain, kib: number, definition: DomainDef): void {
  const wanted = `set the memory of domain '${domain.name}'`;
  if (kib < 1) throw new VirtError('request.invalid', { wanted, reason: 'a guest needs memory' });
  if (kib > definition.memory.sizeKiB)
    throw new VirtError('request.invalid', {
      wanted,
      reason: 'cannot set memory higher than max memory',
      hint: `it has at most ${definition.memory.sizeKiB} KiB; 'vireo domain set-memory --maximum' changes that`,
    });
}

function withPeriod(definition: DomainDef, seconds: number): DomainDef {
  const { memballoon } = definition.devices;
  if (memballoon === undefined) return definition;
  const { statsPeriodSeconds: _before, ...rest } = memballoon;
  const after = seconds === 0 ? rest : { ...rest, statsPeriodSeconds: seconds };
  return { ...definition, devices: { ...definition.devices, memballoon: after } };
}
