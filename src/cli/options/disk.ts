/** `--disk pool=default,size=10GiB`, `vol=default/web.qcow2`, `path=/x.qcow2,size=10GiB,format=qcow2,bus=virtio,readonly=yes`. */
import { resolve } from 'node:path';
import type { ParamsInput } from '../../api/index.ts';
import { parseSize } from '../../base/units.ts';
import { newVolumeNamed } from '../volumes.ts';
import { badOption, type Fields, fieldOf, oneOf, parseFields, parseFlag } from './fields.ts';

/** A disk as `domain.create` takes it. */
export type DiskSpec = NonNullable<ParamsInput<'domain.create'>['disks']>[number];

export const diskFormats = ['qcow2', 'raw', 'vmdk', 'vdi', 'vhdx'] as const satisfies DiskSpec['format'][];
export const diskBuses = ['virtio', 'scsi', 'sata', 'ide', 'usb'] as const satisfies DiskSpec['bus'][];

const HINT = 'write it like pool=default,size=10GiB, vol=default/web.qcow2 or path=/srv/web.qcow2,size=10GiB';

/** Relative paths are meant from `cwd`: the daemon has another one. @throws VirtError request.invalid */
export function parseDisk(text: string, cwd: string): DiskSpec {
  const what = '--disk';
  const fields = parseFields(what, text, {
    known: ['path', 'pool', 'vol', 'size', 'format', 'bus', 'readonly', 'secret'],
  });
  const places = [fields.head, ...['path', 'pool', 'vol'].map((key) => fieldOf(fields, key))];
  const given = places.filter((place) => place !== undefined && place !== '').length;
  if (given === 0) throw badOption(what, text, 'there is no path, pool or volume', HINT);
  if (given > 1) throw badOption(what, text, 'it has more than one path, pool or volume', HINT);
  const path = fieldOf(fields, 'path') ?? fields.head;
  const size = fieldOf(fields, 'size');
  const format = fieldOf(fields, 'format');
  const bus = fieldOf(fields, 'bus');
  const readonly = fieldOf(fields, 'readonly');
  const secret = fieldOf(fields, 'secret');
  return {
    ...(path === undefined ? volumeOf(fields) : { path: resolve(cwd, path) }),
    ...(size !== undefined && { createBytes: parseDiskSize(what, text, size) }),
    ...(format !== undefined && { format: oneOf(`${what} format`, format, diskFormats) }),
    ...(bus !== undefined && { bus: oneOf(`${what} bus`, bus, diskBuses) }),
    ...(readonly !== undefined && { readonly: parseFlag(`${what} readonly`, readonly) }),
    ...(secret !== undefined && { secret }),
  };
}

/** Where a volume is, or will be. */
function volumeOf(fields: Fields): Pick<DiskSpec, 'pool' | 'volume'> {
  const pool = fieldOf(fields, 'pool');
  return pool === undefined ? newVolumeNamed(fieldOf(fields, 'vol') ?? '') : { pool };
}

function parseDiskSize(what: string, text: string, size: string): number {
  // A bare number would be bytes, which nobody means for a disk.
  if (/^\d+$/.test(size))
    throw badOption(what, text, 'the size has no unit', `write size=${size}GiB or size=${size}MiB`);
  const bytes = parseSize(size);
  if (bytes < 512) throw badOption(what, text, 'the size is under one sector of 512 bytes');
  // QEMU counts disks in sectors.
  return Math.ceil(bytes / 512) * 512;
}
