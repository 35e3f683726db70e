/** Limits on a disk's bytes and operations: throttle groups, and a filter node above the image. */
import type { Disk, IoTune } from '../../../model/domain/devices/disk.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** The object of a group that the definition names; those of single disks are called otherwise. */
export const throttleGroupId = (name: string): string => `throttlegroup-${name}`;

/** `<throttlegroups>`: the groups that disks name in their filters. A running guest has them already. */
export function buildThrottleGroups(b: Build): void {
  if (b.isLive) return;
  for (const [index, group] of (b.definition.throttleGroups ?? []).entries())
    b.object(`throttlegroups.throttlegroup[${index}]`, {
      'qom-type': 'throttle-group',
      id: throttleGroupId(group.groupName ?? ''),
      limits: limitsOf(group) ?? {},
    });
}

/**
 * `<throttlefilters>` above `node`, the first of them at the bottom; the answer is the topmost node. Filters are called by
 * the disk, not by its image: that changes with snapshots and copies, and they stay.
 */
export function buildThrottleFilters(b: Build, { throttleFilters = [], target }: Disk, node: string): string {
  let below = node;
  for (const [index, { group }] of throttleFilters.entries()) {
    const name = `throttle-${target.dev}-${index}`;
    b.json('-blockdev', {
      driver: 'throttle',
      'node-name': name,
      'throttle-group': throttleGroupId(group),
      file: below,
    });
    below = name;
  }
  return below;
}

/** Groups of one command line, by the name in the definition. Disks that name the same group share one budget. */
export class ThrottleGroups {
  private readonly ids = new Map<string, string>();

  /** Adds the filter for a disk above `node`; the answer is the node that the device uses. */
  build(b: Build, { iotune, target }: Disk, node: string, alias: string, path: string): string {
    if (iotune === undefined) return node;
    const limits = limitsOf(iotune);
    if (limits === undefined && iotune.groupName === undefined) return node;
    const group = this.group(b, iotune.groupName ?? alias, limits, path);
    const name = `throttle-${target.dev}`;
    b.json('-blockdev', { driver: 'throttle', 'node-name': name, 'throttle-group': group, file: node });
    return name;
  }

  private group(b: Build, name: string, limits: JsonObject | undefined, path: string): string {
    const known = this.ids.get(name);
    if (known !== undefined) return known;
    // Numbers count the groups of one command line, and some of them are in use in a guest that runs.
    const id = b.isLive ? `throttle-${name}` : `throttle${this.ids.size}`;
    this.ids.set(name, id);
    b.object(`${path}.iotune`, { 'qom-type': 'throttle-group', id, limits: limits ?? {} });
    return id;
  }
}

/** QEMU's names (qapi ThrottleLimits). 0 means no limit there too, and is left out. */
const names: Readonly<Record<Exclude<keyof IoTune, 'groupName'>, string>> = {
  totalBytesSec: 'bps-total',
  readBytesSec: 'bps-read',
  writeBytesSec: 'bps-write',
  totalIopsSec: 'iops-total',
  readIopsSec: 'iops-read',
  writeIopsSec: 'iops-write',
  totalBytesSecMax: 'bps-total-max',
  readBytesSecMax: 'bps-read-max',
  writeBytesSecMax: 'bps-write-max',
  totalIopsSecMax: 'iops-total-max',
  readIopsSecMax: 'iops-read-max',
  writeIopsSecMax: 'iops-write-max',
  sizeIopsSec: 'iops-size',
  totalBytesSecMaxLength: 'bps-total-max-length',
  readBytesSecMaxLength: 'bps-read-max-length',
  writeBytesSecMaxLength: 'bps-write-max-length',
  totalIopsSecMaxLength: 'iops-total-max-length',
  readIopsSecMaxLength: 'iops-read-max-length',
  writeIopsSecMaxLength: 'iops-write-max-length',
};

/** All limits by QEMU's names, 0 for those that are not set. */
export function ioLimits(iotune: IoTune): Record<string, number> {
  return Object.fromEntries(
    Object.entries(names).map(([key, name]) => [name, iotune[key as keyof typeof names] ?? 0]),
  );
}

export function limitsOf(iotune: IoTune): JsonObject | undefined {
  const limits: Record<string, number> = {};
  for (const [key, name] of Object.entries(names)) {
    const value = iotune[key as keyof typeof names];
    if (value !== undefined && value !== 0) limits[name] = value;
  }
  return Object.keys(limits).length === 0 ? undefined : limits;
}
