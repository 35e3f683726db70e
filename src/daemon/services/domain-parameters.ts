/**
 * Shares and limits of domains on their host, by libvirt's names: scheduler, memory, blkio and NUMA parameters. All can be
 * stored; of a running guest those are changed that control groups here offer.
 */
import { VirtError } from '../../base/errors.ts';
import { type GroupLimit, type GuestGroups, groupLimitsOf } from '../../drivers/host-tuning/cgroups.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { CpuTune } from '../../model/domain/tuning.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { applyTargeted, type Targets } from './targets.ts';
import type { DomainWorld } from './world.ts';

export type ParameterValue = number | string;

/** One parameter: where a definition has it, and which control group file can change it at once. */
interface Parameter {
  readonly type: 'ullong' | 'llong' | 'uint' | 'int' | 'string';
  readonly get: (definition: DomainDef) => ParameterValue;
  readonly set: (definition: DomainDef, value: ParameterValue) => DomainDef;
  readonly least?: number;
  readonly most?: number;
  readonly group?: GroupLimit;
}

/** libvirt's "no limit": VIR_DOMAIN_MEMORY_PARAM_UNLIMITED, in KiB. */
export const UNLIMITED_KIB = 9_007_199_254_740_991;

const emptyTune: CpuTune = {
  vcpupins: [],
  iothreadpins: [],
  vcpuscheds: [],
  iothreadscheds: [],
  cachetunes: [],
  memorytunes: [],
};

type CpuField =
  | 'shares'
  | 'periodUs'
  | 'quotaUs'
  | 'globalPeriodUs'
  | 'globalQuotaUs'
  | 'emulatorPeriodUs'
  | 'emulatorQuotaUs'
  | 'iothreadPeriodUs'
  | 'iothreadQuotaUs';

function cpu(field: CpuField, more: Partial<Parameter> = {}): Parameter {
  const isQuota = field.toLowerCase().endsWith('quotaus');
  return {
    type: isQuota ? 'llong' : 'ullong',
    least: isQuota ? -1 : field === 'shares' ? 2 : 1000,
    most: isQuota ? 17_592_186_044_415 : field === 'shares' ? 262_144 : 1_000_000,
    get: ({ cputune }) => cputune?.[field] ?? 0,
    set: (definition, value) => ({
      ...definition,
      cputune: { ...(definition.cputune ?? emptyTune), [field]: Number(value) },
    }),
    ...more,
  };
}

function memory(field: 'hardLimitKiB' | 'softLimitKiB' | 'swapHardLimitKiB', group: GroupLimit): Parameter {
  return {
    type: 'ullong',
    least: 1,
    group,
    get: ({ memtune }) => memtune?.[field] ?? UNLIMITED_KIB,
    set: (definition, value) => {
      const { [field]: _before, ...rest } = definition.memtune ?? {};
      const isUnlimited = Number(value) >= UNLIMITED_KIB;
      const memtune = isUnlimited ? rest : { ...rest, [field]: Number(value) };
      return { ...definition, memtune: Object.keys(memtune).length === 0 ? undefined : memtune };
    },
  };
}

const numaModes = ['strict', 'preferred', 'interleave', 'restrictive'] as const;

/** The parameters of each kind, in the order in which clients see them. */
export const parameters = {
  scheduler: {
    cpu_shares: cpu('shares', { group: 'cputune.shares' }),
    vcpu_period: cpu('periodUs'),
    vcpu_quota: cpu('quotaUs'),
    emulator_period: cpu('emulatorPeriodUs'),
    emulator_quota: cpu('emulatorQuotaUs'),
    global_period: cpu('globalPeriodUs', { group: 'cputune.global_period' }),
    global_quota: cpu('globalQuotaUs', { group: 'cputune.global_quota' }),
    iothread_period: cpu('iothreadPeriodUs'),
    iothread_quota: cpu('iothreadQuotaUs'),
  },
  memory: {
    hard_limit: memory('hardLimitKiB', 'memtune.hard_limit'),
    soft_limit: memory('softLimitKiB', 'memtune.soft_limit'),
    swap_hard_limit: memory('swapHardLimitKiB', 'memtune.swap_hard_limit'),
  },
  blkio: {
    weight: {
      type: 'uint',
      least: 10,
      most: 10_000,
      group: 'blkiotune.weight',
      get: ({ blkiotune }) => blkiotune?.weight ?? 0,
      set: (definition, value) => ({
        ...definition,
        blkiotune: { devices: [], ...definition.blkiotune, weight: Number(value) },
      }),
    },
  },
  numa: {
    numa_mode: {
      type: 'int',
      least: 0,
      most: numaModes.length - 1,
      get: ({ numatune }) => Math.max(0, numaModes.indexOf(numatune?.memory?.mode ?? 'strict')),
      set: (definition, value) => ({
        ...definition,
        numatune: {
          memnodes: [],
          ...definition.numatune,
          memory: { ...definition.numatune?.memory, mode: numaModes[Number(value)] ?? 'strict' },
        },
      }),
    },
    numa_nodeset: {
      type: 'string',
      get: ({ numatune }) => numatune?.memory?.nodeset ?? '',
      set: (definition, value) => ({
        ...definition,
        numatune: {
          memnodes: [],
          ...definition.numatune,
          memory: { mode: 'strict', ...definition.numatune?.memory, nodeset: String(value) },
        },
      }),
    },
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Parameter>>>>;

export type ParameterKind = keyof typeof parameters;

export const parametersOf = (kind: ParameterKind): Readonly<Record<string, Parameter>> => parameters[kind];

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
   * Sets some parameters of a kind.
   * @throws VirtError request.invalid; request.unsupported, naming the parameter, for a running guest where the host's
   *   control groups have no such thing
   */
  async set(
    domain: Domain,
    kind: ParameterKind,
    given: ReadonlyMap<string, ParameterValue>,
    targets: Targets,
  ): Promise<void> {
    const verb = `set ${kind} parameters of`;
    const change = (definition: DomainDef) =>
      [...given].reduce((now, [name, value]) => {
        const parameter = parametersOf(kind)[name];
        return parameter === undefined ? now : parameter.set(now, value);
      }, definition);
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      check: (_definition, where) => {
        for (const [name, value] of given) this.check(domain, { kind, name, value, where });
      },
      live: async () => {
        const { guest } = domain.requireLive(verb);
        const wanted = groupLimitsOf(change(guest.definition));
        await this.groups?.limit(guest.record.pid, domain.uuid, wanted);
      },
      definition: change,
    });
    const isLive = targets.live ?? (targets.stored === undefined && domain.isActive);
    if (isLive && kind === 'scheduler')
      this.world.events.emit('domain.tunable', domain.identity, {
        parameters: Object.fromEntries([...given].map(([name, value]) => [`cputune.${name}`, value])),
      });
  }

  private check(
    domain: Domain,
    {
      kind,
      name,
      value,
      where,
    }: {
      readonly kind: ParameterKind;
      readonly name: string;
      readonly value: ParameterValue;
      readonly where: 'live' | 'stored';
    },
  ): void {
    const wanted = `set ${name} of domain '${domain.name}'`;
    const parameter = parametersOf(kind)[name];
    if (parameter === undefined)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `there is no ${kind} parameter of that name`,
      });
    const { least = 0, most = Number.MAX_SAFE_INTEGER } = parameter;
    if (typeof value === 'number' && (value < least || value > most))
      throw new VirtError('request.invalid', { wanted, reason: `it is from ${least} to ${most}` });
    if (typeof value === 'string' && !/^[0-9,^-]+$/.test(value))
      throw new VirtError('request.invalid', { wanted, reason: `'${value}' is no set of nodes` });
    if (where === 'stored' || (parameter.group !== undefined && this.groups !== undefined)) return;
    throw new VirtError('request.unsupported', {
      wanted,
      reason: `'${name}' is not supported here for a running guest`,
      hint: 'change the stored definition',
    });
  }
}
