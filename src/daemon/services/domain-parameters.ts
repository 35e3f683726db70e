/**
 * Setting shares and limits of domains: in the definition always, of a running guest where control groups here offer it.
 */
import { VirtError } from '../../base/errors.ts';
import {
  type GroupLimit,
  type GuestGroups,
  groupLimitsOf,
  LIFTED,
} from '../../drivers/host-tuning/cgroups.ts';
import { threadLimitsOf } from '../../drivers/host-tuning/thread-groups.ts';
import { tuneThreads } from '../../drivers/host-tuning/threads.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { type ParameterKind, type ParameterValue, parametersOf } from './domain-parameter-table.ts';
import { threadsOf } from './guest-threads.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

/** One parameter with its new value. */
export interface ParameterChange {
  readonly kind: ParameterKind;
  readonly name: string;
  readonly value: ParameterValue;
}

export class DomainParameters {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly groups: GuestGroups | undefined;

  constructor(world: DomainWorld, definitions: DomainDefinitions, groups: GuestGroups | undefined) {
    this.world = world;
    this.definitions = definitions;
    this.groups = groups;
  }

  /** All parameters of a kind as the running, or the stored, definition has them. */
  get(
    domain: Domain,
    kind: ParameterKind,
    options: { readonly inactive: boolean },
  ): Map<string, ParameterValue> {
    const definition = this.definitions.definition(domain, options);
    return new Map(Object.entries(parametersOf(kind)).map(([name, one]) => [name, one.get(definition)]));
  }

  /**
   * Sets some parameters, of any kind, in one go.
   * @throws VirtError request.invalid; request.unsupported, naming the parameter, for a running guest where the host's
   *   control groups have no such thing
   */
  async set(domain: Domain, changes: readonly ParameterChange[], targets: Targets): Promise<void> {
    const verb = 'set parameters of';
    const change = (definition: DomainDef) =>
      changes.reduce((now, one) => findParameter(one)?.set(now, one.value) ?? now, definition);
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      check: (definition, where) => {
        for (const one of changes) this.check(domain, one, where, definition);
      },
      live: () => this.apply(domain, changes, change),
      definition: change,
    });
    this.tell(domain, changes, targets);
  }

  private async apply(
    domain: Domain,
    changes: readonly ParameterChange[],
    change: (definition: DomainDef) => DomainDef,
  ): Promise<void> {
    const { groups } = this;
    if (groups === undefined) return;
    const { guest } = domain.requireLive('set parameters of');
    const { definition, record } = guest;
    const after = change(definition);
    const parts = changes.map((one) => ({ value: one.value, parameter: findParameter(one) }));
    if (parts.some(({ parameter }) => parameter?.group !== undefined)) {
      const limits = { ...liftedBetween(definition, after), ...groupLimitsOf(after) };
      await groups.limit(record.pid, domain.uuid, limits);
    }
    if (parts.some(({ parameter }) => parameter?.ofThreads === true))
      await groups.limitThreads(await threadsOf(guest), domain.uuid, threadLimitsOf(after));
    for (const { parameter, value } of parts)
      await groups.limitDevices(record.pid, domain.uuid, parameter?.devices?.(String(value)) ?? []);
    for (const { parameter, value } of parts)
      if (parameter?.memoryNodes === true) {
        await groups.confineMemory(record.pid, domain.uuid, String(value));
        tuneThreads(after, await threadsOf(guest)); // the group took their pins
      }
  }

  /** By the names of libvirt's tunable event (VIR_DOMAIN_TUNABLE_*), which has none for memory and disks. */
  private tell(domain: Domain, changes: readonly ParameterChange[], targets: Targets): void {
    const isLive = targets.live ?? (targets.stored === undefined && domain.isActive);
    const told = changes.filter(({ kind }) => kind === 'scheduler');
    if (!isLive || told.length === 0) return;
    this.world.events.emit('domain.tunable', domain.identity, {
      parameters: Object.fromEntries(told.map(({ name, value }) => [`cputune.${name}`, value])),
    });
  }

  private check(
    domain: Domain,
    change: ParameterChange,
    where: 'live' | 'stored',
    definition: DomainDef,
  ): void {
    const { kind, name, value } = change;
    const wanted = `set ${name} of domain '${domain.name}'`;
    const parameter = findParameter(change);
    if (parameter === undefined)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `there is no ${kind} parameter of that name`,
      });
    const { least = 0, most = Number.MAX_SAFE_INTEGER, also = [] } = parameter;
    if (typeof value === 'number' && (value < least || value > most) && !also.includes(value))
      throw new VirtError('request.invalid', { wanted, reason: `${name} is from ${least} to ${most}` });
    const problem = parameter.problem?.(String(value));
    if (problem !== undefined)
      throw new VirtError('request.invalid', { wanted, reason: `${name}: ${problem}` });
    if (where === 'stored' || (parameter.isFixed === true && parameter.get(definition) === value)) return;
    if (parameter.isFixed === true)
      throw new VirtError('domain.active', {
        wanted,
        reason: `${name} cannot be changed while the guest runs`,
      });
    if (parameter.memoryNodes === true) requireMovable(definition, wanted);
    const isOfGroups =
      parameter.group !== undefined ||
      parameter.ofThreads === true ||
      parameter.memoryNodes === true ||
      parameter.devices !== undefined;
    if (isOfGroups && this.groups !== undefined) return;
    throw new VirtError('request.unsupported', {
      wanted,
      reason: `'${name}' is not supported here for a running guest`,
      hint: 'change the stored definition',
    });
  }
}

/** QEMU's own policies of the other modes would stay. @throws VirtError domain.state */
function requireMovable({ numatune }: DomainDef, wanted: string): void {
  const mode = numatune?.memory?.mode ?? 'strict';
  if (mode === 'strict' || mode === 'restrictive') return;
  throw new VirtError('domain.state', {
    wanted,
    reason: `change of nodeset for running domain requires strict numa mode, and it is ${mode}`,
    hint: 'change the stored definition',
  });
}

const findParameter = ({ kind, name }: ParameterChange) => {
  const all = parametersOf(kind);
  return Object.hasOwn(all, name) ? all[name] : undefined;
};

/** Limits that one definition has and the next has not: the guest's group has them still. */
function liftedBetween(before: DomainDef, after: DomainDef): Partial<Record<GroupLimit, number>> {
  const kept = groupLimitsOf(after);
  const lifted = Object.keys(groupLimitsOf(before)).filter((name) => kept[name as GroupLimit] === undefined);
  return Object.fromEntries(lifted.map((name) => [name, LIFTED]));
}
