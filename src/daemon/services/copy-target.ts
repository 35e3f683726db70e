/** The image that a disk is copied to: made where it is not there, refused where it would be written over. */
import { stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { syncDirectory } from '../../base/files.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { DiskSource } from '../../model/domain/devices/source.ts';
import { type Layer, layersOf, pathOfSource } from '../../model/domain/disk-chain.ts';
import { createQcow2 } from '../../storage/images/create-qcow2.ts';
import { createRaw } from '../../storage/images/create-raw.ts';
import { requireSize } from './device-size.ts';
import type { Domain, LiveDomain } from './domain.ts';
import type { CopyWish } from './domain-block-jobs.ts';

const SAMPLE_MS = 5000;

export interface CopyTarget {
  readonly source: DiskSource;
  readonly format: Layer['format'];
  /** Removes what was made. */
  readonly undo?: () => Promise<void>;
}

/** @throws VirtError file.exists, file.not-found, file.no-space, definition.unsupported, request.invalid */
export async function makeCopyTarget(
  domain: Domain,
  { guest }: LiveDomain,
  disk: Disk,
  wish: CopyWish,
): Promise<CopyTarget> {
  const wanted = `copy disk '${disk.target.dev}' of domain '${domain.name}'`;
  const { destination: source, isReusing = false, isShallow = false } = wish;
  const format = wish.format ?? layersOf(disk)[0]?.format ?? 'raw';
  if (isShallow && !isReusing && format === 'raw')
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `shallow copy of disk '${disk.target.dev}' into a raw file is not possible`,
    });
  if (source.type === 'network') return networkTarget(source, format, isReusing, wanted);
  const path = pathOfSource(source);
  if (path === undefined || !path.startsWith('/'))
    throw new VirtError('request.invalid', {
      wanted,
      reason: 'absolute path must be used as block copy target',
    });
  const isThere = await look(path, source.type === 'block', isReusing, wanted);
  if (isReusing || source.type === 'block') {
    if (!isReusing && format !== 'raw')
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `${path}: an image of format ${format} is not made on a block device here`,
        hint: `make it with 'qemu-img create -f ${format} ${path} SIZE', and reuse it`,
      });
    if (source.type === 'block' && format === 'raw')
      await requireSize(path, await sizeOf(guest, disk, wanted), wanted);
    return { source, format };
  }
  if (isThere) await unlink(path); // It is empty.
  await make(path, format, { disk, isShallow, wanted, sizeBytes: await sizeOf(guest, disk, wanted) });
  // The empty file of a copy that did not begin: why it did not is what counts.
  return { source, format, undo: () => unlink(path).catch(() => undefined) };
}

/** Nothing is made on servers. */
function networkTarget(
  source: DiskSource,
  format: Layer['format'],
  isReusing: boolean,
  wanted: string,
): CopyTarget {
  if (isReusing || format === 'raw') return { source, format };
  throw new VirtError('definition.unsupported', {
    wanted,
    reason: `an image of format ${format} is not made on a server here`,
    hint: 'copy to raw, or to an image that is there, and reuse it',
  });
}

/** Whether something is at the path; what must not be there, or is missing, is refused. */
async function look(path: string, isBlock: boolean, isReusing: boolean, wanted: string): Promise<boolean> {
  try {
    const stats = await stat(path);
    if (isBlock !== stats.isBlockDevice())
      throw new VirtError('request.invalid', {
        wanted,
        reason: `${path} is ${isBlock ? 'no' : 'a'} block device`,
        hint: isBlock ? 'copy to a file' : 'say that the destination is a block device',
      });
    // Only an empty file makes room for the copy: a device or a pipe of no size is somebody else's.
    if (!isBlock && !stats.isFile()) throw thereAlready(path, wanted, 'choose another name');
    if (!isBlock && !isReusing && stats.size > 0)
      throw thereAlready(path, wanted, 'choose another name, or reuse the image that is there');
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || isBlock || isReusing) throw fileError(error, wanted, path);
    return false;
  }
}

function thereAlready(path: string, wanted: string, hint: string): VirtError {
  return new VirtError('file.exists', {
    wanted,
    reason: `external destination file ${path} already exists and is not a block device`,
    hint,
  });
}

async function sizeOf(guest: LiveDomain['guest'], disk: Disk, wanted: string): Promise<number> {
  const { disks = [] } = await guest.tuning.sample(['disks'], SAMPLE_MS);
  const bytes = disks.find(({ alias }) => alias === disk.alias)?.capacityBytes;
  if (bytes !== undefined) return bytes;
  throw new VirtError('operation.failed', { wanted, reason: 'QEMU does not tell the size of the disk' });
}

interface Making {
  readonly disk: Disk;
  readonly isShallow: boolean;
  readonly sizeBytes: number;
  readonly wanted: string;
}

/** QEMU's words for formats that libvirt calls otherwise. */
const qemuFormats: Readonly<Record<string, string>> = { vhd: 'vhdx', iso: 'raw' };

async function make(path: string, format: Layer['format'], making: Making): Promise<void> {
  const { disk, isShallow, sizeBytes, wanted } = making;
  const below = isShallow ? layersOf(disk)[1] : undefined;
  const name = below && pathOfSource(below.source);
  if (isShallow && name === undefined)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'what is below the disk is no file of this host: its name cannot be written into a new image',
      hint: 'make the image, and reuse it',
    });
  if (format === 'qcow2')
    await createQcow2(path, {
      capacityBytes: sizeBytes,
      ...(below &&
        name !== undefined && {
          backing: { name, format: qemuFormats[below.format] ?? below.format },
        }),
    });
  else if (format === 'raw') await createRaw(path, { capacityBytes: sizeBytes });
  else
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `an image of format ${format} is not made here`,
      hint: `make it with qemu-img, and reuse it`,
    });
  await syncDirectory(dirname(path));
}
