/** Making an image file: nothing is there before, and nothing is left when it fails; how a full disk is told. */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, realpath, stat, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, fileError, isVirtError, VirtError } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import type { Work } from '../backend.ts';

/** What is being made, for errors. */
export interface Making {
  /** `create an image`, `copy an image`. */
  readonly wanted: string;
  /** How much space the whole takes, at most. */
  readonly neededBytes: number;
}

/**
 * Makes a file of mode 0600 at an absolute path and lets `write` fill it. A link in the file's place is not followed, and
 * an existing file is never touched.
 * @throws VirtError file.exists, file.no-space (with what was needed and what is free), file.*, operation.aborted
 */
export async function makeFile<T>(
  path: string,
  making: Making,
  write: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(path, flags, 0o600).catch((error: unknown) => {
    throw fileError(error, making.wanted, path);
  });
  try {
    return await write(handle);
  } catch (error) {
    const told = await writeFailure(error, making, path);
    await unlink(path).catch(() => undefined); // Somebody else may have removed it; the first error is the one to tell.
    throw told;
  } finally {
    await handle.close();
  }
}

/** errnos of a write that say: no room (write(2)). */
const full: readonly (string | undefined)[] = ['ENOSPC', 'EDQUOT'];

/** A failed write as a VirtError; one for lack of space says how much was needed and how much there is. */
export async function writeFailure(
  error: unknown,
  { wanted, neededBytes }: Making,
  path: string,
): Promise<VirtError> {
  const isFull = full.includes(errnoOf(error)) || isVirtError(error, 'file.no-space');
  if (!isFull) return fileError(error, wanted, path);
  if (isVirtError(error) && error.details?.['freeBytes'] !== undefined) return error;
  const freeBytes = await freeSpace(path);
  const free = freeBytes === undefined ? '' : `, ${formatBytes(freeBytes)} are free`;
  const limit = errnoOf(error) === 'EDQUOT' ? 'the disk quota is reached' : 'no space left on the device';
  return new VirtError('file.no-space', {
    wanted,
    reason: `${path}: ${limit}: it takes up to ${formatBytes(neededBytes)}${free}`,
    hint: 'free some space, or use another pool',
    details: { path, neededBytes, ...(freeBytes !== undefined && { freeBytes }) },
    cause: error,
  });
}

/** What an ordinary user could still write to the file system of a file; undefined when it cannot be told. */
async function freeSpace(path: string): Promise<number | undefined> {
  for (const place of [path, dirname(path)])
    try {
      const { bavail, bsize } = await statfs(place);
      return bavail * bsize;
    } catch (error) {
      // The error in hand matters more than a number that is missing.
      if (errnoOf(error) === undefined) throw error;
    }
  return undefined;
}

/** @throws VirtError operation.aborted once the work was called off */
export function throwIfAborted(work: Work, wanted: string): void {
  if (work.signal?.aborted === true)
    throw new VirtError('operation.aborted', { wanted, reason: 'cancelled', cause: work.signal.reason });
}

/**
 * Opens an image that is there: a regular file or a block device; anything else is refused, and nothing waits. A link is
 * followed only where nobody but root and this user could have put it.
 * @throws VirtError file.*
 */
export async function openImage(path: string, access: 'read' | 'write', wanted: string): Promise<FileHandle> {
  const mode = access === 'read' ? constants.O_RDONLY : constants.O_RDWR;
  const flags = mode | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;
  const handle = await open(await trustedPath(path), flags).catch((error: unknown) => {
    throw openFailure(error, wanted, path);
  });
  const stats = await handle.stat();
  if (stats.isFile() || stats.isBlockDevice()) return handle;
  await handle.close();
  throw notAnImage(wanted, path);
}

/** The path behind a link that can be trusted (logical volumes are such links); any other path as it is. */
async function trustedPath(path: string): Promise<string> {
  try {
    if (!(await lstat(path)).isSymbolicLink()) return path;
    const { uid, mode } = await stat(dirname(path));
    const isOurs = (uid === 0 || uid === process.getuid?.()) && (mode & 0o022) === 0;
    return isOurs ? await realpath(path) : path;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return path; // Opening it tells the same, with the right words.
  }
}

function openFailure(error: unknown, wanted: string, path: string): VirtError {
  const errno = errnoOf(error);
  if (errno === 'ELOOP')
    return new VirtError('file.denied', {
      wanted,
      reason: `${path}: it is a symbolic link, which is not followed here`,
      hint: 'name the file that it leads to',
      cause: error,
    });
  // A FIFO without a reader, a socket, a directory.
  if (errno === 'ENXIO' || errno === 'EISDIR' || errno === 'ENODEV') return notAnImage(wanted, path);
  return fileError(error, wanted, path);
}

function notAnImage(wanted: string, path: string): VirtError {
  return new VirtError('file.failed', {
    wanted,
    reason: `${path}: it is neither a regular file nor a block device`,
    details: { path },
  });
}
