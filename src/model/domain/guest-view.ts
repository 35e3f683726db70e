/**
 * What a guest sees of its definition, against what is the host's alone: a guest goes on (from a saved state, from a
 * snapshot, on another host) only where all that it sees is as it was.
 */
import type { DomainDef } from './domain.ts';

/** Parts of a definition that no guest sees; a name stands for all below it, in lists for that of each entry. */
const hostSide: ReadonlySet<string> = new Set([
  ...[
    'title',
    'description',
    'metadata',
    'currentMemoryKiB',
    'blkiotune',
    'memtune',
    'memoryBacking',
    'cputune',
  ],
  ...[
    'numatune',
    'resource',
    'iothreads',
    'iothreadids',
    'defaultiothread',
    'throttleGroups',
    'onPoweroff',
    'onReboot',
    'onCrash',
  ],
  ...[
    'onLockfailure',
    'perf',
    'seclabels',
    'qemuCommandline',
    'qemuDeprecation',
    'idmap',
    'clock',
    'keywrap',
  ],
  ...['vcpu.cpuset', 'vcpu.placement'],
  ...['devices.emulator', 'devices.graphics', 'devices.audios', 'devices.leases', 'devices.redirfilter'],
  ...[
    'source',
    'driver',
    'backingStore',
    'mirror',
    'iotune',
    'auth',
    'encryption',
    'startupPolicy',
    'boot',
  ].map((key) => `devices.disks.${key}`),
  ...[
    'source',
    'target',
    'bandwidth',
    'link',
    'script',
    'downscript',
    'filterref',
    'virtualport',
    'vlan',
  ].map((key) => `devices.interfaces.${key}`),
  ...[
    'backend',
    'driver',
    'portForwards',
    'trustGuestRxFilters',
    'ips',
    'routes',
    'coalesce',
    'tune',
    'boot',
  ].map((key) => `devices.interfaces.${key}`),
  ...['portOptions', 'portIsolated', 'guest', 'mtu'].map((key) => `devices.interfaces.${key}`),
  ...['serials', 'parallels', 'consoles', 'channels', 'smartcards', 'redirdevs'].flatMap((list) =>
    ['source', 'log', 'protocol'].map((key) => `devices.${list}.${key}`),
  ),
  ...['source', 'driver', 'binary', 'accessmode'].map((key) => `devices.filesystems.${key}`),
  ...['source', 'driver', 'managed', 'boot'].map((key) => `devices.hostdevs.${key}`),
  ...['devices.rngs.backend', 'devices.rngs.rate', 'devices.tpms.backend', 'devices.memories.source'],
  ...[
    'devices.videos.driver',
    'devices.watchdogs.action',
    'devices.memballoon.stats',
    'devices.sounds.audio',
  ],
]);

/**
 * Where two definitions differ for the guest, as a path in the model (`devices.disks[0].target.bus`); undefined where
 * they do not. Aliases count for nothing.
 */
export function guestDifference(before: DomainDef, after: DomainDef): string | undefined {
  return difference(before, after, '', '');
}

function difference(before: unknown, after: unknown, path: string, kind: string): string | undefined {
  if (Object.is(before, after)) return undefined;
  if (Array.isArray(before) && Array.isArray(after)) return listDifference(before, after, path, kind);
  if (!isRecord(before) || !isRecord(after)) return path;
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  for (const key of keys) {
    const below = kind === '' ? key : `${kind}.${key}`;
    if (isHostSide(key, below)) continue;
    const found = difference(before[key], after[key], path === '' ? key : `${path}.${key}`, below);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Of `<os>` only the machine counts: what the firmware and the boot left is in memory. */
function isHostSide(key: string, kind: string): boolean {
  return (
    key === 'alias' || key === 'tty' || hostSide.has(kind) || (/^os\.\w+$/.test(kind) && kind !== 'os.type')
  );
}

function listDifference(
  before: readonly unknown[],
  after: readonly unknown[],
  path: string,
  kind: string,
): string | undefined {
  if (before.length !== after.length) return path;
  for (const [index, one] of before.entries()) {
    const found = difference(one, after[index], `${path}[${index}]`, kind);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
