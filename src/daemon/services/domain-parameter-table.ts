/**
 * Shares and limits of domains on their host, by libvirt's names (include/libvirt/libvirt-domain.h): where a definition has
 * them, which values they take, and what of a running guest changes with them. Pure.
 */
import type { GroupLimit } from '../../drivers/host-tuning/cgroups.ts';
import type { DeviceLimit } from '../../drivers/host-tuning/device-limits.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { CpuTune } from '../../model/domain/tuning.ts';

export type ParameterValue = number | string;

/** One parameter: where a definition has it, and how a running guest gets it. */
export interface Parameter {
  readonly type: 'ullong' | 'llong' | 'uint' | 'int' | 'string';
  readonly get: (definition: DomainDef) => ParameterValue;
  readonly set: (definition: DomainDef, value: ParameterValue) => DomainDef;
  readonly least?: number;
  readonly most?: number;
  /** Numbers out of the range that mean something: 0 says nothing, -1 is no limit. */
  readonly also?: readonly number[];
  /** Why a value, as text, cannot be taken; undefined when it can. */
  readonly problem?: (text: string) => string | undefined;
  /** A limit of the guest's control group. */
  readonly group?: GroupLimit;
  /** A limit of single threads. */
  readonly ofThreads?: boolean;
  /** The nodes that the guest's memory is kept on. */
  readonly memoryNodes?: boolean;
  /** It cannot change while the guest runs. */
  readonly isFixed?: boolean;
  /** A limit on block devices of the host: which. */
  readonly devices?: (text: string) => DeviceLimit[];
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
    also: isQuota ? [0, -1] : [0],
    least: field === 'shares' ? 2 : 1000,
    most: isQuota ? 17_592_186_044_415 : field === 'shares' ? 262_144 : 1_000_000,
    get: ({ cputune }) => cputune?.[field] ?? 0,
    set: (definition, value) => ({
      ...definition,
      cputune: { ...(definition.cputune ?? emptyTune), [field]: Number(value) || undefined },
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

/** `/dev/sda,1000,/dev/sdb,0`: pairs of a device and a number. */
function readPairs(text: string): [path: string, value: number][] | undefined {
  const words = text.split(',');
  if (words.length % 2 !== 0) return undefined;
  const pairs: [string, number][] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [path = '', value = ''] = words.slice(at, at + 2);
    if (!path.startsWith('/') || !/^\d{1,15}$/.test(value)) return undefined;
    pairs.push([path, Number(value)]);
  }
  return pairs;
}

type DeviceField = Exclude<keyof DeviceLimit, 'path'>;

/** A number for each of some devices; 0 takes it away. */
function device(field: DeviceField): Parameter {
  const most = field.endsWith('BytesSec') ? Number.MAX_SAFE_INTEGER : 2 ** 32 - 1;
  return {
    type: 'string',
    problem(text) {
      const pairs = readPairs(text);
      if (pairs === undefined) return 'it is pairs of a path and a number, with commas';
      return pairs.some(([, value]) => value > most) ? `the largest number is ${most}` : undefined;
    },
    get: ({ blkiotune }) =>
      (blkiotune?.devices ?? [])
        .flatMap((one) => (one[field] === undefined ? [] : [`${one.path},${one[field]}`]))
        .join(','),
    set: (definition, text) =>
      withDevices(
        definition,
        (readPairs(String(text)) ?? []).map(([path, value]) => ({ path, [field]: value })),
      ),
    devices: (text) => (readPairs(text) ?? []).map(([path, value]) => ({ path, [field]: value })),
  };
}

/** The definition with these limits of devices in place of those that it had; 0 leaves one out. */
function withDevices(definition: DomainDef, changes: readonly DeviceLimit[]): DomainDef {
  const all = new Map((definition.blkiotune?.devices ?? []).map((one) => [one.path, one]));
  for (const change of changes) all.set(change.path, { ...all.get(change.path), ...change });
  const devices = [...all.values()]
    .map((one) => Object.fromEntries(Object.entries(one).filter(([, value]) => value !== 0)) as DeviceLimit)
    .filter((one) => Object.keys(one).length > 1);
  return { ...definition, blkiotune: { ...definition.blkiotune, devices } };
}

const nodesProblem = (text: string) =>
  /^[0-9,^-]+$/.test(text) ? undefined : `'${text}' is no set of nodes`;

const numaModes = ['strict', 'preferred', 'interleave', 'restrictive'] as const;

/** The parameters of each kind, in the order in which clients see them. */
export const parameters = {
  scheduler: {
    cpu_shares: cpu('shares', { group: 'cputune.shares' }),
    vcpu_period: cpu('periodUs', { ofThreads: true }),
    vcpu_quota: cpu('quotaUs', { ofThreads: true }),
    emulator_period: cpu('emulatorPeriodUs', { ofThreads: true }),
    emulator_quota: cpu('emulatorQuotaUs', { ofThreads: true }),
    global_period: cpu('globalPeriodUs', { group: 'cputune.global_period' }),
    global_quota: cpu('globalQuotaUs', { group: 'cputune.global_quota' }),
    iothread_period: cpu('iothreadPeriodUs', { ofThreads: true }),
    iothread_quota: cpu('iothreadQuotaUs', { ofThreads: true }),
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
      also: [0],
      group: 'blkiotune.weight',
      get: ({ blkiotune }) => blkiotune?.weight ?? 0,
      set: (definition, value) => ({
        ...definition,
        blkiotune: { devices: [], ...definition.blkiotune, weight: Number(value) || undefined },
      }),
    },
    device_weight: device('weight'),
    device_read_iops_sec: device('readIopsSec'),
    device_write_iops_sec: device('writeIopsSec'),
    device_read_bytes_sec: device('readBytesSec'),
    device_write_bytes_sec: device('writeBytesSec'),
  },
  numa: {
    numa_mode: {
      type: 'int',
      least: 0,
      most: numaModes.length - 1,
      isFixed: true,
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
      problem: nodesProblem,
      memoryNodes: true,
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
