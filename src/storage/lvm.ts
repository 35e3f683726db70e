/** What LVM's reports say (lvmreport(7), JSON), as plain data. */
import * as z from 'zod';
import { VirtError } from '../base/errors.ts';

const text = z.string();

const lvSchema = z.object({
  lv_name: text,
  lv_uuid: text,
  lv_size: text,
  lv_attr: text,
  lv_path: text,
  origin: text.optional(),
  data_percent: text.optional(),
  seg_start_pe: text.optional(),
  devices: text.optional(),
  seg_size: text.optional(),
  vg_extent_size: text.optional(),
});

const reportSchema = z.object({
  report: z.array(
    z.object({
      lv: z.array(lvSchema).optional(),
      vg: z.array(z.object({ vg_name: text, vg_size: text, vg_free: text })).optional(),
      pv: z.array(z.object({ pv_name: text, vg_name: text })).optional(),
    }),
  ),
});

export interface LogicalVolume {
  readonly name: string;
  readonly uuid: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** What of it is taken: all, but for thin volumes and snapshots. */
  readonly usedBytes: number;
  readonly isActive: boolean;
  readonly origin?: string;
  readonly extents: readonly { readonly device: string; readonly start: number; readonly end: number }[];
}

/** Columns that `parseVolumes` reads. */
export const volumeColumns =
  'lv_name,lv_uuid,lv_size,lv_attr,lv_path,origin,data_percent,devices,seg_size,vg_extent_size';

/** One volume for each name; LVM prints a row for each segment. Pools of thin volumes and hidden parts are left out. */
export function parseVolumes(stdout: string): LogicalVolume[] {
  const volumes = new Map<string, LogicalVolume>();
  for (const row of parseReport(stdout).flatMap(({ lv = [] }) => lv)) {
    // lvs(8), lv_attr: the first letter is the kind; t is a thin pool, those in [] are parts of others.
    const kind = row.lv_attr[0] ?? '-';
    if ('tTeMlI'.includes(kind) || row.lv_name.startsWith('[') || row.lv_path === '') continue;
    const known = volumes.get(row.lv_name);
    const extents = [...(known?.extents ?? []), ...extentsOf(row)];
    volumes.set(row.lv_name, known ? { ...known, extents } : { ...volumeOf(row), extents });
  }
  return [...volumes.values()];
}

function volumeOf(row: z.output<typeof lvSchema>): LogicalVolume {
  const sizeBytes = bytesOf(row.lv_size);
  const percent = Number.parseFloat(row.data_percent ?? '');
  const usedBytes = Number.isFinite(percent) ? Math.round((sizeBytes * percent) / 100) : sizeBytes;
  return {
    name: row.lv_name,
    uuid: row.lv_uuid,
    path: row.lv_path,
    sizeBytes,
    usedBytes,
    isActive: row.lv_attr[4] === 'a',
    ...(row.origin !== undefined && row.origin !== '' && { origin: row.origin }),
    extents: [],
  };
}

/** `/dev/sda1(256)`: device and first extent, one for each stripe. */
function extentsOf(row: z.output<typeof lvSchema>): LogicalVolume['extents'] {
  const devices = (row.devices ?? '').split(',').flatMap((part) => {
    const match = /^(.+)\((\d+)\)$/.exec(part.trim());
    return match?.[1] === undefined ? [] : [{ device: match[1], first: Number(match[2]) }];
  });
  const sizeBytes = bytesOf(row.seg_size ?? '0') / Math.max(1, devices.length);
  const extentBytes = bytesOf(row.vg_extent_size ?? '0');
  return devices.map(({ device, first }) => ({
    device,
    start: first * extentBytes,
    end: first * extentBytes + sizeBytes,
  }));
}

export function parseGroups(stdout: string): { name: string; sizeBytes: number; freeBytes: number }[] {
  return parseReport(stdout)
    .flatMap(({ vg = [] }) => vg)
    .map((row) => ({ name: row.vg_name, sizeBytes: bytesOf(row.vg_size), freeBytes: bytesOf(row.vg_free) }));
}

/** Physical volumes with their group, '' for none. */
export function parsePhysical(stdout: string): { device: string; group: string }[] {
  return parseReport(stdout)
    .flatMap(({ pv = [] }) => pv)
    .map((row) => ({ device: row.pv_name, group: row.vg_name }));
}

function parseReport(stdout: string): z.output<typeof reportSchema>['report'] {
  try {
    return reportSchema.parse(JSON.parse(stdout)).report;
  } catch (cause) {
    throw new VirtError('pool.failed', {
      wanted: 'read a report of LVM',
      reason: 'it cannot be understood',
      cause,
    });
  }
}

function bytesOf(digits: string): number {
  const bytes = Number.parseInt(digits, 10);
  return Number.isSafeInteger(bytes) ? bytes : 0;
}
