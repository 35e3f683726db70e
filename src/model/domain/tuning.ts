/** Shares and limits of a domain on its host: blkiotune, memtune, cputune, numatune, resource. */
import {
  attr,
  child,
  childAttr,
  children,
  childText,
  type Infer,
  object,
  required,
} from '../../base/xml/codec.ts';
import { int, oneOf, path, str, uint } from '../../base/xml/scalars.ts';
import { cpuset } from './cpuset.ts';
import { attrKiB, childKiB } from './sizes.ts';

const uint32 = uint({ max: 2 ** 32 - 1 });
const weight = uint({ max: 10_000 });

export const blkiotune = child(
  'blkiotune',
  object({
    weight: childText('weight', weight),
    devices: children(
      'device',
      object({
        path: required(childText('path', path), 'path'),
        weight: childText('weight', weight),
        readIopsSec: childText('read_iops_sec', uint32),
        writeIopsSec: childText('write_iops_sec', uint32),
        readBytesSec: childText('read_bytes_sec', uint()),
        writeBytesSec: childText('write_bytes_sec', uint()),
      }),
    ),
  }),
);

export const memtune = child(
  'memtune',
  object({
    hardLimitKiB: childKiB('hard_limit'),
    softLimitKiB: childKiB('soft_limit'),
    minGuaranteeKiB: childKiB('min_guarantee'),
    swapHardLimitKiB: childKiB('swap_hard_limit'),
  }),
);

/** Microseconds, as the cgroup's cpu.max takes them; a quota below zero means no limit. */
const periodUs = uint({ min: 0, max: 1_000_000 });
const quotaUs = int({ min: -1, max: 17_592_186_044_415 });

const schedule = {
  scheduler: required(attr('scheduler', oneOf('batch', 'idle', 'fifo', 'rr')), 'scheduler'),
  /** Only for fifo and rr. */
  priority: attr('priority', uint({ max: 99 })),
};

const vcpuNumber = uint({ max: 65_534 });

const cachetune = object({
  vcpus: required(attr('vcpus', cpuset), 'vcpus'),
  id: attr('id', str()),
  caches: children(
    'cache',
    object({
      id: required(attr('id', uint32), 'id'),
      level: required(attr('level', uint32), 'level'),
      type: required(attr('type', oneOf('both', 'code', 'data')), 'type'),
      sizeKiB: required(attrKiB('size'), 'size'),
    }),
  ),
  monitors: children(
    'monitor',
    object({
      level: required(attr('level', uint32), 'level'),
      vcpus: required(attr('vcpus', cpuset), 'vcpus'),
    }),
  ),
});

const memorytune = object({
  vcpus: required(attr('vcpus', cpuset), 'vcpus'),
  nodes: children(
    'node',
    object({
      id: required(attr('id', uint32), 'id'),
      /** Percent of the node's memory bandwidth. */
      bandwidth: required(attr('bandwidth', uint32), 'bandwidth'),
    }),
  ),
  monitors: children('monitor', object({ vcpus: required(attr('vcpus', cpuset), 'vcpus') })),
});

const cputuneCodec = object({
  shares: childText('shares', uint({ max: 262_144 })),
  periodUs: childText('period', periodUs),
  quotaUs: childText('quota', quotaUs),
  globalPeriodUs: childText('global_period', periodUs),
  globalQuotaUs: childText('global_quota', quotaUs),
  emulatorPeriodUs: childText('emulator_period', periodUs),
  emulatorQuotaUs: childText('emulator_quota', quotaUs),
  iothreadPeriodUs: childText('iothread_period', periodUs),
  iothreadQuotaUs: childText('iothread_quota', quotaUs),
  vcpupins: children(
    'vcpupin',
    object({
      vcpu: required(attr('vcpu', vcpuNumber), 'vcpu'),
      cpuset: required(attr('cpuset', cpuset), 'cpuset'),
    }),
  ),
  emulatorpin: childAttr('emulatorpin', 'cpuset', cpuset),
  iothreadpins: children(
    'iothreadpin',
    object({
      iothread: required(attr('iothread', uint({ min: 1, max: 65_535 })), 'iothread'),
      cpuset: required(attr('cpuset', cpuset), 'cpuset'),
    }),
  ),
  vcpuscheds: children('vcpusched', object({ vcpus: attr('vcpus', cpuset), ...schedule })),
  iothreadscheds: children('iothreadsched', object({ iothreads: attr('iothreads', cpuset), ...schedule })),
  emulatorsched: child('emulatorsched', object(schedule)),
  cachetunes: children('cachetune', cachetune),
  memorytunes: children('memorytune', memorytune),
});

export type CpuTune = Infer<typeof cputuneCodec>;

export const cputune = child('cputune', cputuneCodec);

const numaMode = oneOf('strict', 'preferred', 'interleave', 'restrictive');

export const numatune = child(
  'numatune',
  object({
    memory: child(
      'memory',
      object({
        mode: attr('mode', numaMode),
        placement: attr('placement', oneOf('static', 'auto')),
        nodeset: attr('nodeset', cpuset),
      }),
    ),
    memnodes: children(
      'memnode',
      object({
        cellid: required(attr('cellid', uint32), 'cellid'),
        mode: required(attr('mode', numaMode), 'mode'),
        nodeset: required(attr('nodeset', cpuset), 'nodeset'),
      }),
    ),
  }),
);

export const resource = child(
  'resource',
  object({
    partition: childText('partition', path),
    fibrechannelAppid: childAttr('fibrechannel', 'appid', str({ min: 1, max: 128 })),
  }),
);
