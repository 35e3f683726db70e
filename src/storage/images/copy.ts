/**
 * Copies the bytes of an image: at once where the file system can share blocks, within the kernel where it can copy, else
 * by reading and writing. Holes stay holes.
 */
import type { FileHandle } from 'node:fs/promises';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { blockDeviceBytes, copyFileRange, fallocate, shareBlocks } from '../../base/ffi/ranges.ts';
import { type Segment, segmentsOf } from '../../base/file-segments.ts';
import type { Work } from '../backend.ts';
import { type Range, writeZeros } from './allocate.ts';
import { makeFile, throwIfAborted, writeFailure } from './new-file.ts';

const MIB = 1024 * 1024;
/** So much is copied in one call; the work can be called off between two. */
const SLICE_BYTES = 16 * MIB;
/** Two of these are in use: one is read while the other is written. */
const BUFFER_BYTES = MIB;

const wanted = 'copy an image';

/** How the bytes went: `shared` is done in no time and takes no space until one side changes. */
export type CopyWay = 'shared' | 'copied';

/**
 * Copies all of an open file or device into a new file of mode 0600 at an absolute path; safe on disk when it is done. On
 * failure nothing is left. Give it a temporary name: it is not whole before this returns. With `mustShare` it is made
 * only where the file system shares blocks.
 * @throws VirtError file.exists, file.no-space, file.*, operation.aborted
 */
export async function copyToFile(
  source: FileHandle,
  path: string,
  work: Work = {},
  { mustShare = false }: { readonly mustShare?: boolean } = {},
): Promise<CopyWay> {
  const length = await lengthOf(source);
  // What is needed at most: holes take nothing.
  const neededBytes = Math.min(length, (await source.stat()).blocks * 512 || length);
  return makeFile(path, { wanted, neededBytes }, async (target) => {
    if (await shares(source, target, mustShare)) {
      work.onProgress?.(length, length);
      await target.datasync();
      return 'shared';
    }
    await target.truncate(length);
    await copyBytes(source, target, { length, isNew: true }, work);
    await target.datasync();
    return 'copied';
  });
}

/**
 * Copies all of an open file or device over the beginning of another that is there, which must be long enough: for volumes
 * that are devices. What was there is gone, also where the source has holes.
 * @throws VirtError request.invalid, file.*, operation.aborted
 */
export async function copyOver(source: FileHandle, target: FileHandle, work: Work = {}): Promise<void> {
  const length = await lengthOf(source);
  const room = await lengthOf(target);
  if (room < length)
    throw new VirtError('request.invalid', {
      wanted,
      reason: `the target has ${room} bytes, and the source ${length}`,
    });
  try {
    await copyBytes(source, target, { length, isNew: false }, work);
    await target.datasync();
  } catch (error) {
    throw await writeFailure(error, { wanted, neededBytes: length }, `/proc/self/fd/${target.fd}`);
  }
}

/** Length of an open file or block device in bytes. @throws VirtError file.failed for anything else */
export async function lengthOf(handle: FileHandle): Promise<number> {
  const stats = await handle.stat();
  if (stats.isFile()) return stats.size;
  if (stats.isBlockDevice()) return blockDeviceBytes(handle.fd);
  throw new VirtError('file.failed', { wanted, reason: 'it is neither a regular file nor a block device' });
}

/** Other file systems, other mounts, devices, alignments: then the bytes are copied (ioctl_ficlone(2)). */
const cannotShare: readonly (string | undefined)[] = [
  'EOPNOTSUPP',
  'ENOTSUP',
  'EXDEV',
  'EINVAL',
  'ENOSYS',
  'ENOTTY',
  'EPERM',
  'EBADF',
  'EISDIR',
  'ETXTBSY',
];

async function shares(source: FileHandle, target: FileHandle, mustShare: boolean): Promise<boolean> {
  try {
    await shareBlocks(source.fd, target.fd);
    return true;
  } catch (error) {
    if (!cannotShare.includes(errnoOf(error))) throw error;
    if (!mustShare) return false;
    throw new VirtError('file.failed', {
      wanted,
      reason: `failed to clone files: the file system shares no blocks between the two (${errnoOf(error)})`,
      hint: 'copy without that demand; XFS and Btrfs can share blocks within one file system',
      cause: error,
    });
  }
}

interface Extent {
  readonly length: number;
  /** The target is new, so that a hole need not be made. */
  readonly isNew: boolean;
}

async function copyBytes(source: FileHandle, target: FileHandle, extent: Extent, work: Work): Promise<void> {
  const copier = new SegmentCopier(source, target, work, extent.length);
  for (const segment of segmentsOf(source, 0, extent.length)) {
    throwIfAborted(work, wanted);
    if (segment.kind === 'data') await copier.copy(segment);
    else if (!extent.isNew)
      await zero(target, { offset: segment.start, length: segment.end - segment.start }, work);
    work.onProgress?.(segment.end, extent.length);
  }
}

/** Makes a range of what is there read as zeros, without writing them where that can be helped. */
async function zero(target: FileHandle, range: Range, { signal }: Work): Promise<void> {
  try {
    await fallocate(target.fd, 'zeroKeepSize', range.offset, range.length);
  } catch (error) {
    if (!cannotCopy.includes(errnoOf(error))) throw error;
    await writeZeros(target, range, { signal }, wanted);
  }
}

/** The kernel has no way between these two (copy_file_range(2)). */
const cannotCopy: readonly (string | undefined)[] = [
  'EXDEV',
  'EOPNOTSUPP',
  'ENOTSUP',
  'EINVAL',
  'ENOSYS',
  'EBADF',
  'EPERM',
  'ETXTBSY',
  'EIO',
];

class SegmentCopier {
  private readonly source: FileHandle;
  private readonly target: FileHandle;
  private readonly work: Work;
  private readonly total: number;
  private isInKernel = true;
  private buffers: [Buffer, Buffer] | undefined;

  constructor(source: FileHandle, target: FileHandle, work: Work, total: number) {
    this.source = source;
    this.target = target;
    this.work = work;
    this.total = total;
  }

  async copy({ start, end }: Segment): Promise<void> {
    let at = start;
    while (at < end && this.isInKernel) {
      throwIfAborted(this.work, wanted);
      const copied = await this.inKernel(at, Math.min(SLICE_BYTES, end - at));
      at += copied;
      if (copied > 0) this.work.onProgress?.(at, this.total);
    }
    if (at < end) await this.throughMemory(at, end);
  }

  /** 0 when the kernel does not do it, or says that the source ends here: reading will tell. */
  private async inKernel(at: number, length: number): Promise<number> {
    try {
      const copied = await copyFileRange(this.source.fd, this.target.fd, at, length);
      if (copied === 0) this.isInKernel = false;
      return copied;
    } catch (error) {
      if (!cannotCopy.includes(errnoOf(error))) throw error;
      this.isInKernel = false;
      return 0;
    }
  }

  private async throughMemory(start: number, end: number): Promise<void> {
    this.buffers ??= [Buffer.allocUnsafe(BUFFER_BYTES), Buffer.allocUnsafe(BUFFER_BYTES)];
    let turn = 0;
    let writing: Promise<unknown> = Promise.resolve();
    try {
      for (let at = start; at < end; ) {
        throwIfAborted(this.work, wanted);
        const buffer = this.buffers[turn] as Buffer;
        turn = 1 - turn;
        const { bytesRead } = await this.source.read(buffer, 0, Math.min(buffer.length, end - at), at);
        await writing;
        if (bytesRead === 0)
          throw new VirtError('file.failed', {
            wanted,
            reason: 'the source became shorter while it was copied',
          });
        writing = writeAll(this.target, buffer.subarray(0, bytesRead), at);
        writing.catch(() => undefined); // Awaited in the next round, or below; until then it must not count as lost.
        at += bytesRead;
        this.work.onProgress?.(at, this.total);
      }
    } finally {
      await writing;
    }
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}
