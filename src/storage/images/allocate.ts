/** Taking space ahead of its use: by the file system where it can, else by writing zeros. */
import type { FileHandle } from 'node:fs/promises';
import { errnoOf } from '../../base/errors.ts';
import { fallocate } from '../../base/ffi/ranges.ts';
import type { Work } from '../backend.ts';
import { throwIfAborted } from './new-file.ts';

const MIB = 1024 * 1024;
/** So much is asked for at once; the work can be called off between two. */
const SLICE_BYTES = 1024 * MIB;

export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** The file system has no such operation (fallocate(2)). */
const cannot: readonly (string | undefined)[] = ['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EINVAL', 'ENODEV'];

/**
 * Takes the space of a range; holes become space that reads as zeros, and the file grows when it is shorter. Bytes that
 * are there stay, except where zeros have to be written: so the range must be one that holds nothing yet.
 * @throws system errors (ENOSPC, EDQUOT), VirtError operation.aborted
 */
export async function allocate(handle: FileHandle, range: Range, work: Work, wanted: string): Promise<void> {
  const end = range.offset + range.length;
  for (let at = range.offset; at < end; ) {
    throwIfAborted(work, wanted);
    const length = Math.min(SLICE_BYTES, end - at);
    try {
      await fallocate(handle.fd, 'allocate', at, length);
    } catch (error) {
      if (!cannot.includes(errnoOf(error))) throw error;
      return writeZeros(
        handle,
        { offset: at, length: end - at },
        { ...work, ...shifted(work, at - range.offset) },
        wanted,
      );
    }
    at += length;
    work.onProgress?.(at - range.offset, range.length);
  }
}

/** Progress of a part, as progress of the whole. */
function shifted({ onProgress }: Work, doneBytes: number): Work {
  if (onProgress === undefined) return {};
  return { onProgress: (done, total) => onProgress(doneBytes + done, doneBytes + total) };
}

const zeros = Buffer.alloc(MIB);

/** Writes zeros over a range. @throws system errors, VirtError operation.aborted */
export async function writeZeros(
  handle: FileHandle,
  range: Range,
  work: Work,
  wanted: string,
): Promise<void> {
  const end = range.offset + range.length;
  for (let at = range.offset; at < end; ) {
    throwIfAborted(work, wanted);
    const { bytesWritten } = await handle.write(zeros, 0, Math.min(zeros.length, end - at), at);
    at += bytesWritten;
    work.onProgress?.(at - range.offset, range.length);
  }
}
