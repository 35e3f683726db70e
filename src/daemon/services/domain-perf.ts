/** Events of processor and kernel that are counted for guests (<perf>), as far as this host counts them. */
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import { PerfCounters, requireCountable } from '../../drivers/host-tuning/perf-counters.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type PerfEventName, perfEventProblem, perfEvents } from '../../model/domain/perf-events.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** Which events are to be counted, and which no more. */
export type PerfWish = ReadonlyMap<PerfEventName, boolean>;

export class DomainPerf {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly counters = new WeakMap<LiveGuest, PerfCounters>();

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** Counts what its definition asks for of a guest that was started or found again: from zero, each time. */
  readonly follow = (domain: Domain, guest: LiveGuest): void => {
    for (const name of wantedEvents(guest.definition)) {
      try {
        this.countersOf(guest).open(name);
      } catch (error) {
        if (!isVirtError(error)) throw error;
        this.world.log.warn({ domain: domain.name, event: name, reason: error.reason }, 'not counted');
      }
    }
  };

  /** All events, and whether the definition has them counted. */
  events(
    domain: Domain,
    options: { readonly inactive: boolean },
  ): { readonly name: PerfEventName; readonly enabled: boolean; readonly problem: string | undefined }[] {
    const wanted = wantedEvents(this.definitions.definition(domain, options));
    return perfEvents.map((name) => ({ name, enabled: wanted.includes(name), problem: hostProblem(name) }));
  }

  /** What has been counted of a running guest since each event was switched on, or this daemon started. */
  counts(domain: Domain): ReadonlyMap<PerfEventName, number> {
    const guest = domain.live?.guest;
    return (guest && this.counters.get(guest)?.read()) ?? new Map();
  }

  /**
   * Switches events on and off.
   * @throws VirtError request.unsupported, naming the event, for one that this host does not count of a running guest, or
   *   no host counts; domain.*
   */
  async set(domain: Domain, wish: PerfWish, targets: Targets): Promise<void> {
    const isOn = [...wish].filter(([, enabled]) => enabled).map(([name]) => name);
    await applyTargeted(this.world, this.definitions, domain, {
      verb: 'count events of',
      targets,
      check: (_definition, where) => {
        for (const name of isOn) {
          if (where === 'live') requireCountable(name);
          else requireKnown(name);
        }
      },
      live: () => Promise.resolve(this.apply(domain, wish)),
      definition: (definition) => withEvents(definition, wish),
    });
  }

  private apply(domain: Domain, wish: PerfWish): void {
    const counters = this.countersOf(domain.requireLive('count events of').guest);
    for (const [name, enabled] of wish) {
      if (enabled) counters.open(name);
      else counters.close(name);
    }
  }

  private countersOf(guest: LiveGuest): PerfCounters {
    const known = this.counters.get(guest);
    if (known !== undefined) return known;
    const made = new PerfCounters(guest.record.pid);
    this.counters.set(guest, made);
    const close = () => made.closeAll();
    guest.exited.then(close, close);
    return made;
  }
}

/** The events that a definition has counted. */
function wantedEvents({ perf }: DomainDef): PerfEventName[] {
  const enabled = new Set(perf.filter((event) => event.enabled).map(({ name }) => name));
  return perfEvents.filter((name) => enabled.has(name));
}

function withEvents(definition: DomainDef, wish: PerfWish): DomainDef {
  const others = definition.perf.filter(({ name }) => !wish.has(name as PerfEventName));
  return { ...definition, perf: [...others, ...[...wish].map(([name, enabled]) => ({ name, enabled }))] };
}

/** @throws VirtError request.unsupported for what this host does not count, before the guest is started */
export function requireCounted(definition: DomainDef): void {
  for (const name of wantedEvents(definition)) requireCountable(name);
}

/** @throws VirtError request.unsupported */
function requireKnown(name: PerfEventName): void {
  const reason = perfEventProblem(name);
  if (reason !== undefined) throw new VirtError('request.unsupported', { wanted: `count '${name}'`, reason });
}

function hostProblem(name: PerfEventName): string | undefined {
  try {
    requireCountable(name);
    return undefined;
  } catch (error) {
    if (isVirtError(error)) return error.reason;
    throw error;
  }
}
