/** The images that a backup writes: made where they are not there, refused where they would be written over. */
import { stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { syncDirectory } from '../../base/files.ts';
import type { BackupDiskRequest } from '../../drivers/driver.ts';
import type { BackupDef, BackupDisk } from '../../model/backup/backup.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import { createQcow2 } from '../../storage/images/create-qcow2.ts';
import { createRaw } from '../../storage/images/create-raw.ts';
import { requireSize } from './device-size.ts';
import { usersOfPaths } from './disk-paths-in-use.ts';
import type { LiveDomain } from './domain.ts';
import type { DomainWorld } from './world.ts';

const SAMPLE_MS = 5000;

/** Names the image below in the header of an incremental one, by disk. */
export type BackingNames = ReadonlyMap<string, { readonly name: string; readonly format: string }>;

/** What a disk of the document asks of the driver; nothing is touched. @throws VirtError definition.unsupported, request.invalid */
export function requestFor(mode: BackupDef['mode'], disk: BackupDisk, wanted: string): BackupDiskRequest {
  const { name, type = 'file', format = 'qcow2', incremental, exportName, exportBitmap } = disk;
  const place = mode === 'pull' ? disk.scratch : disk.target;
  const refuse = (path: string, message: string): never => {
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: message,
      details: { problems: [{ path: `disks.disk[${name}].${path}`, message }] },
    });
  };
  if (mode === 'pull' && format !== 'qcow2')
    refuse('driver.type', `pull mode backup for disk '${name}' requires qcow2 driver`);
  if (format !== 'qcow2' && format !== 'raw')
    return refuse('driver.type', `a backup of format ${format} is not made here: choose qcow2 or raw`);
  if (place?.encryption !== undefined)
    refuse(mode === 'pull' ? 'scratch.encryption' : 'target.encryption', 'backups are not encrypted here');
  const file = type === 'file' ? place?.file : place?.dev;
  if (file === undefined) return refuse(mode === 'pull' ? 'scratch' : 'target', 'the place is missing');
  return {
    ...{ disk: name, file, format, isBlockDevice: type === 'block' },
    ...(incremental !== undefined && { since: incremental }),
    ...(exportName !== undefined && { exportName }),
    ...(exportBitmap !== undefined && { exportBitmap }),
  };
}

/**
 * Makes the images of a backup; on failure those that were made are removed. The answer: the files that were made.
 * @throws VirtError request.invalid, file.*, definition.unsupported
 */
export async function makeImages(
  world: DomainWorld,
  { guest }: LiveDomain,
  requests: readonly BackupDiskRequest[],
  options: {
    readonly reuse: boolean;
    readonly isPull: boolean;
    readonly backing: BackingNames;
    readonly wanted: string;
  },
): Promise<string[]> {
  const { reuse, isPull, backing, wanted } = options;
  const made: string[] = [];
  refuseUsed(world, requests, wanted);
  try {
    for (const one of requests) {
      if (reuse || one.isBlockDevice) {
        if (!reuse && one.format !== 'raw') throw notOnDevice(one, wanted);
        if (one.format === 'raw')
          await requireSize(one.file, await sizeOf(guest, diskOf(guest, one), wanted), wanted);
        continue;
      }
      await refuseThere(one, wanted);
      const disk = diskOf(guest, one);
      const capacityBytes = await sizeOf(guest, disk, wanted);
      // Recorded before it is made: one that could not be made whole has gone already.
      if (one.format === 'raw') await createRaw(one.file, { capacityBytes });
      else await createQcow2(one.file, { capacityBytes, ...backingFor(one, disk, isPull, backing) });
      made.push(one.file);
      await syncDirectory(dirname(one.file));
    }
  } catch (error) {
    await removeFiles(made);
    throw error;
  }
  return made;
}

const diskOf = ({ definition }: LiveDomain['guest'], one: BackupDiskRequest): Disk | undefined =>
  definition.devices.disks.find(({ target }) => target.dev === one.disk);

/** As libvirt: an incremental image names the disk that it is a part of, a scratch image too. */
function backingFor(one: BackupDiskRequest, disk: Disk | undefined, isPull: boolean, backing: BackingNames) {
  const given = backing.get(one.disk);
  if (given !== undefined) return { backing: given };
  if (!isPull && one.since === undefined) return {};
  const name = disk && pathOfSource(disk.source);
  return name === undefined ? {} : { backing: { name, format: disk?.driver?.type ?? 'raw' } };
}

function refuseUsed(world: DomainWorld, requests: readonly BackupDiskRequest[], wanted: string): void {
  const used = usersOfPaths(
    world,
    requests.map(({ file }) => file),
  );
  for (const { file } of requests) {
    const user = used.get(file);
    if (user !== undefined)
      throw new VirtError('request.invalid', { wanted, reason: `${file} is a disk of domain '${user}'` });
  }
}

async function refuseThere({ file, disk }: BackupDiskRequest, wanted: string): Promise<void> {
  try {
    await stat(file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, wanted, file);
  }
  throw new VirtError('request.invalid', {
    wanted,
    reason: `store '${file}' for backup of '${disk}' exists`,
    hint: 'choose another name, or reuse the image that is there',
  });
}

function notOnDevice({ file, format }: BackupDiskRequest, wanted: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: `${file}: an image of format ${format} is not made on a block device here`,
    hint: `make it with 'qemu-img create -f ${format} ${file} SIZE', and reuse it`,
  });
}

async function sizeOf(guest: LiveDomain['guest'], disk: Disk | undefined, wanted: string): Promise<number> {
  const { disks = [] } = await guest.tuning.sample(['disks'], SAMPLE_MS);
  const bytes = disks.find(({ alias }) => alias === disk?.alias)?.capacityBytes;
  if (bytes !== undefined) return bytes;
  throw new VirtError('operation.failed', { wanted, reason: 'QEMU does not tell the size of the disk' });
}

/** Removes what is there of these. @throws VirtError file.* */
export async function removeFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths)
    await unlink(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove an image of a backup', path);
    });
}
