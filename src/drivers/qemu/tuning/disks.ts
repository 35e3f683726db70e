/** Disks of a running guest as QEMU counts, limits and resizes them. */
import * as z from 'zod';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { IoTune } from '../../../model/domain/devices/disk.ts';
import type { DiskCounters } from '../../live-tuning.ts';
import { ioLimits, throttleGroupId } from '../argv/throttle.ts';
import type { QmpClient } from '../qmp/client.ts';

const count = z.number();
const counters = z.looseObject({
  rd_operations: count,
  rd_bytes: count,
  rd_total_time_ns: count,
  wr_operations: count,
  wr_bytes: count,
  wr_total_time_ns: count,
  flush_operations: count,
  flush_total_time_ns: count,
  wr_highest_offset: count.optional(),
});
/** qapi/block-core.json, BlockStats: `parent` is the node below, down to the file. */
const node: z.ZodType<{ stats?: { wr_highest_offset?: number | undefined }; parent?: unknown }> =
  z.looseObject({
    stats: z.looseObject({ wr_highest_offset: count.optional() }).optional(),
    parent: z.unknown().optional(),
  }) as never;
const statistics = z.looseObject({
  qdev: z.string().optional(),
  stats: counters,
  parent: z.unknown().optional(),
});

const image = z.looseObject({ 'virtual-size': count, 'actual-size': count.optional() });
const drive = z.looseObject({
  qdev: z.string().optional(),
  'io-status': z.string().optional(),
  inserted: z
    .looseObject({
      'node-name': z.string().optional(),
      drv: z.string(),
      file: z.string(),
      image: image.optional(),
    })
    .optional(),
});
export type Drive = z.infer<typeof drive>;

/** The alias of a device: QEMU tells its id or its path, `/machine/peripheral/ALIAS/...`. */
function aliasOfDevice(qdev: string | undefined): string | undefined {
  return qdev === undefined ? undefined : (/^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1] ?? qdev);
}

/** What `query-blockstats` and `query-block` say of the disks of devices; entries of another shape are left out. */
export function readDiskCounters(stats: unknown, drives: unknown): DiskCounters[] {
  const byAlias = new Map(readDrives(drives).map((one) => [aliasOfDevice(one.qdev), one]));
  if (!Array.isArray(stats)) return [];
  return stats.flatMap((value: unknown) => {
    const { success, data } = statistics.safeParse(value);
    const alias = success ? aliasOfDevice(data.qdev) : undefined;
    if (!success || alias === undefined || alias === '') return [];
    const found = byAlias.get(alias)?.inserted?.image;
    const allocationBytes = highestOffset(data);
    return [
      {
        alias,
        readRequests: data.stats.rd_operations,
        readBytes: data.stats.rd_bytes,
        readNs: data.stats.rd_total_time_ns,
        writeRequests: data.stats.wr_operations,
        writeBytes: data.stats.wr_bytes,
        writeNs: data.stats.wr_total_time_ns,
        flushRequests: data.stats.flush_operations,
        flushNs: data.stats.flush_total_time_ns,
        ...(allocationBytes !== undefined && { allocationBytes }),
        ...(found && {
          capacityBytes: found['virtual-size'],
          physicalBytes: found['actual-size'] ?? found['virtual-size'],
        }),
      },
    ];
  });
}

/** Of the node furthest down, which is the file: where the image grows to. */
function highestOffset(top: unknown): number | undefined {
  let highest: number | undefined;
  let at: unknown = top;
  for (let depth = 0; depth < 16; depth++) {
    const { success, data } = node.safeParse(at);
    if (!success) break;
    highest = data.stats?.wr_highest_offset ?? highest;
    at = data.parent;
  }
  return highest;
}

export function readDrives(value: unknown): Drive[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((one: unknown) => {
    const { success, data } = drive.safeParse(one);
    return success ? [data] : [];
  });
}

/** The drive behind a device. @throws VirtError domain.no-device */
async function findDrive(qmp: QmpClient, alias: string): Promise<Drive> {
  const drives = readDrives(await qmp.executeRaw('query-block'));
  const found = drives.find(({ qdev }) => aliasOfDevice(qdev) === alias);
  if (found !== undefined) return found;
  throw new VirtError('domain.no-device', {
    wanted: `find disk ${alias}`,
    reason: 'QEMU has no such device',
  });
}

/** The topmost node of a drive. @throws VirtError domain.no-device without a medium */
export async function topNode(
  qmp: QmpClient,
  alias: string,
): Promise<NonNullable<Drive['inserted']> & { name: string; device: string }> {
  const { inserted, qdev = alias } = await findDrive(qmp, alias);
  const name = inserted?.['node-name'];
  if (inserted !== undefined && name !== undefined) return { ...inserted, name, device: qdev };
  throw new VirtError('domain.no-device', {
    wanted: `use disk ${alias}`,
    reason: 'there is no medium in it',
  });
}

/** Gives a disk another size, in bytes. @throws VirtError file.no-space when its image cannot grow, domain.no-device, qmp.* */
export async function resizeDisk(qmp: QmpClient, alias: string, size: number): Promise<void> {
  const { name } = await topNode(qmp, alias);
  try {
    await qmp.execute('block_resize', { 'node-name': name, size });
  } catch (error) {
    if (!isVirtError(error, 'qmp.failed') || !/No space left on device|File too large/.test(error.reason))
      throw error;
    throw new VirtError('file.no-space', {
      wanted: `resize disk ${alias}`,
      reason: error.reason,
      hint: 'make room where its image is; until then the disk has the size it had',
      cause: error,
    });
  }
}

/**
 * Limits a disk: in its throttle group where it was started with one (argv/throttle.ts), else at its device, where QEMU
 * needs every limit named.
 */
export async function setDiskLimits(qmp: QmpClient, alias: string, limits: IoTune): Promise<void> {
  const top = await topNode(qmp, alias);
  if (top.drv === 'throttle') return setGroupLimits(qmp, top.file, limits);
  const all = ioLimits(limits);
  await qmp.execute('block_set_io_throttle', {
    // The path of the device's back end, where that is a part of its own (virtio).
    id: top.device,
    bps: all['bps-total'],
    bps_rd: all['bps-read'],
    bps_wr: all['bps-write'],
    iops: all['iops-total'],
    iops_rd: all['iops-read'],
    iops_wr: all['iops-write'],
    bps_max: all['bps-total-max'],
    bps_rd_max: all['bps-read-max'],
    bps_wr_max: all['bps-write-max'],
    iops_max: all['iops-total-max'],
    iops_rd_max: all['iops-read-max'],
    iops_wr_max: all['iops-write-max'],
    iops_size: all['iops-size'],
    ...lengths(all),
    group: limits.groupName ?? alias,
  });
}

/** A length goes with its burst; QEMU refuses 0, and 1 s is its own default. */
function lengths(all: Readonly<Record<string, number>>): Record<string, number> {
  const pairs = {
    bps_max_length: 'bps-total-max-length',
    bps_rd_max_length: 'bps-read-max-length',
    bps_wr_max_length: 'bps-write-max-length',
    iops_max_length: 'iops-total-max-length',
    iops_rd_max_length: 'iops-read-max-length',
    iops_wr_max_length: 'iops-write-max-length',
  };
  return Object.fromEntries(
    Object.entries(pairs).flatMap(([ours, name]) => {
      const length = all[name] ?? 0;
      return length > 0 ? [[ours, length]] : [];
    }),
  );
}

async function setGroupLimits(qmp: QmpClient, file: string, limits: IoTune): Promise<void> {
  const group = /"throttle-group": *"([^"\\]+)"/.exec(file)?.[1];
  if (group === undefined)
    throw new VirtError('qmp.protocol', {
      wanted: 'limit a disk',
      reason: 'QEMU does not tell the throttle group of a disk that has one',
    });
  await qmp.execute('qom-set', { path: `/objects/${group}`, property: 'limits', value: everyLimit(limits) });
}

/** A group of limits that the definition names. @throws VirtError qmp.* */
export async function setThrottleGroup(
  qmp: QmpClient,
  name: string,
  { limits, isThere }: { readonly limits: IoTune; readonly isThere: boolean },
): Promise<void> {
  const id = throttleGroupId(name);
  const value = everyLimit(limits);
  if (isThere) await qmp.execute('qom-set', { path: `/objects/${id}`, property: 'limits', value });
  else await qmp.executeRaw('object-add', { 'qom-type': 'throttle-group', id, limits: value });
}

/** All limits by QEMU's names, so that those that are not set are lifted. */
function everyLimit(limits: IoTune): Record<string, number> {
  return Object.fromEntries(
    Object.entries(ioLimits(limits)).map(([name, value]) => [
      name,
      name.endsWith('-length') ? Math.max(1, value) : value,
    ]),
  );
}

export async function diskErrors(
  qmp: QmpClient,
): Promise<{ readonly alias: string; readonly error: 'no space' | 'failed' }[]> {
  const drives = readDrives(await qmp.executeRaw('query-block'));
  return drives.flatMap((one) => {
    const alias = aliasOfDevice(one.qdev);
    const status = one['io-status'];
    if (alias === undefined || status === undefined || status === 'ok') return [];
    return [{ alias, error: status === 'nospace' ? ('no space' as const) : ('failed' as const) }];
  });
}
