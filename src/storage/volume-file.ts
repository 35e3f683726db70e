/** Opens the file or device of a volume as what it was found to be, never through a link that somebody put in its place. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, fileError, VirtError } from '../base/errors.ts';
import { blockDeviceBytes } from '../base/ffi/ranges.ts';
import type { VolumeFacts } from './backend.ts';

/**
 * A file is opened itself and must be one; one that is written must have no second name, which could be another's file
 * (docs/security.md, classes H and I). Devices are reached through links that LVM and udev make.
 * @throws VirtError file.*, definition.unsupported
 */
export async function openVolumeFile(
  volume: Pick<VolumeFacts, 'path' | 'type'>,
  access: 'read' | 'write',
  wanted: string,
): Promise<FileHandle> {
  const isFile = volume.type === 'file';
  const flags = (access === 'read' ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK;
  let handle: FileHandle;
  try {
    handle = await open(volume.path, flags | constants.O_NOCTTY | (isFile ? constants.O_NOFOLLOW : 0));
  } catch (error) {
    if (errnoOf(error) === 'ELOOP') throw refused(volume.path, wanted, 'it is a symbolic link');
    throw fileError(error, wanted, volume.path);
  }
  const stats = await handle.stat();
  const isRight = isFile ? stats.isFile() : stats.isBlockDevice();
  if (isRight && (access === 'read' || !isFile || stats.nlink === 1)) return handle;
  await handle.close();
  throw refused(
    volume.path,
    wanted,
    isRight
      ? 'the file has a second name, so it may belong to something else'
      : 'it is no file or device of that kind any more',
  );
}

function refused(path: string, wanted: string, reason: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: `${path}: ${reason}`,
    hint: 'use the file itself, in a pool of its own directory',
    details: { path },
  });
}

/** Length of an open file or block device. */
export async function volumeBytes(handle: FileHandle): Promise<number> {
  const stats = await handle.stat();
  return stats.isBlockDevice() ? blockDeviceBytes(handle.fd) : stats.size;
}
