/**
 * Limits of a guest on block devices of the host (<blkiotune><device>), as the lines that control groups take:
 * Documentation/admin-guide/cgroup-v1/blkio-controller.rst and cgroup-v2.rst (io.max, io.weight).
 */
import { stat } from 'node:fs/promises';
import { fileError, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/** 0 lifts a limit. */
export type DeviceLimit = NonNullable<DomainDef['blkiotune']>['devices'][number];

/** One line for one file; of several files the first that is there takes it. */
export interface DeviceLine {
  readonly files: readonly string[];
  readonly line: string;
}

/** `8:16`, as the kernel names a device. @throws VirtError file.*, request.invalid for what is no block device */
export async function deviceNumber(path: string): Promise<string> {
  const wanted = 'limit a block device';
  const found = await stat(path).catch((error: unknown) => {
    throw fileError(error, wanted, path);
  });
  if (!found.isBlockDevice())
    throw new VirtError('request.invalid', {
      wanted,
      reason: `${path} is not a block device`,
      hint: "limit the guest's disk instead: 'vireo domain disk limit'",
    });
  // sys/sysmacros.h, gnu_dev_major and gnu_dev_minor.
  const device = BigInt(found.rdev);
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}

/** The lines for one device. Pure. */
export function deviceLines(limit: DeviceLimit, device: string, isVersion2: boolean): DeviceLine[] {
  return isVersion2 ? linesV2(limit, device) : linesV1(limit, device);
}

function linesV1(limit: DeviceLimit, device: string): DeviceLine[] {
  const rates = [
    ['read_bps', limit.readBytesSec],
    ['write_bps', limit.writeBytesSec],
    ['read_iops', limit.readIopsSec],
    ['write_iops', limit.writeIopsSec],
  ] as const;
  const lines = rates.flatMap(([name, value]) =>
    value === undefined ? [] : [{ files: [`blkio.throttle.${name}_device`], line: `${device} ${value}` }],
  );
  if (limit.weight === undefined) return lines;
  const files = ['blkio.weight_device', 'blkio.bfq.weight_device'];
  return [...lines, { files, line: `${device} ${limit.weight}` }];
}

function linesV2(limit: DeviceLimit, device: string): DeviceLine[] {
  const rates = [
    ['rbps', limit.readBytesSec],
    ['wbps', limit.writeBytesSec],
    ['riops', limit.readIopsSec],
    ['wiops', limit.writeIopsSec],
  ] as const;
  const words = rates.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value === 0 ? 'max' : value}`],
  );
  const lines = words.length === 0 ? [] : [{ files: ['io.max'], line: `${device} ${words.join(' ')}` }];
  if (limit.weight === undefined) return lines;
  const weight = limit.weight === 0 ? 'default' : String(limit.weight);
  return [...lines, { files: ['io.weight', 'io.bfq.weight'], line: `${device} ${weight}` }];
}
