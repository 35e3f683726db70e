/** Files that must survive: whole or not at all, in place before we say so. */
import { chmodSync, constants, renameSync, type Stats, writeFileSync } from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from './errors.ts';

export interface WriteOptions {
  /** Permissions of the file, whatever the umask (default 0600). */
  readonly mode?: number;
}

/** Our temporary files: a name no definition can have, recognisable for the clean-up at start. */
export const temporarySuffix = '.vireo-tmp';

/** A name for the file while it is written, in the same directory. */
function temporaryFor(path: string): string {
  return join(dirname(path), `.${nanoid(10)}${temporarySuffix}`);
}

const newFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;

/**
 * Replaces a file by temp file, fsync, rename, fsync of the directory: when it returns, a power cut keeps it. Each step
 * is a trip to another thread and back, so there are no more of them than needed.
 */
export async function writeDurable(
  path: string,
  data: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  const temporary = temporaryFor(path);
  const mode = options.mode ?? 0o600;
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, newFile, mode);
    await handle.writeFile(data);
    if (isMasked(mode)) await handle.chmod(mode);
    await handle.datasync();
    // What could go wrong has been told by datasync.
    const closed = handle.close();
    handle = undefined;
    await Promise.all([closed, rename(temporary, path)]);
    await syncDirectory(dirname(path));
  } catch (error) {
    await handle?.close().catch(() => undefined); // The first error is the one to tell.
    await unlink(temporary).catch(() => undefined); // It may not have been made.
    throw fileError(error, 'write a file', path);
  }
}

/** True when our umask takes bits of a new file's mode away. */
function isMasked(mode: number): boolean {
  return (mode & process.umask()) !== 0;
}

/**
 * As writeDurable, without fsync: for files on /run, which a power cut ends anyway. It waits for no disk, so it is done
 * at once, and takes a tenth of a millisecond.
 */
export async function writeAtomic(
  path: string,
  data: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  const temporary = temporaryFor(path);
  const mode = options.mode ?? 0o600;
  try {
    writeFileSync(temporary, data, { flag: 'wx', mode });
    if (isMasked(mode)) chmodSync(temporary, mode);
    renameSync(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined); // It may not have been made.
    throw fileError(error, 'write a file', path);
  }
}

/** Removes a file for good; one that isn't there is no error. */
export async function removeDurable(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, 'remove a file', path);
  }
  await syncDirectory(dirname(path));
}

/** fsync of a directory: makes renames and removals in it durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Reads a regular file of at most `maxBytes` as UTF-8. FIFOs, devices and directories are refused without waiting.
 * @throws VirtError file.*
 */
export async function readText(path: string, maxBytes: number): Promise<string> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile())
      throw new VirtError('file.failed', { wanted: `read ${path}`, reason: 'it is not a regular file' });
    if (stat.size > maxBytes)
      throw new VirtError('request.too-large', {
        wanted: `read ${path}`,
        reason: `it is larger than ${maxBytes} bytes`,
      });
    return await handle.readFile('utf8');
  } catch (error) {
    throw fileError(error, 'read a file', path);
  } finally {
    await handle?.close();
  }
}

/** Makes a directory (and its parents) with exactly that mode; one that exists keeps its owner. */
export async function ensureDirectory(path: string, mode: number): Promise<void> {
  try {
    const made = await mkdir(path, { recursive: true, mode });
    if (made !== undefined) await chmod(path, mode);
    const stat = await lstat(path);
    if (!stat.isDirectory() && !stat.isSymbolicLink())
      throw new VirtError('file.failed', { wanted: `use ${path}`, reason: 'it is not a directory' });
  } catch (error) {
    throw fileError(error, 'make a directory', path);
  }
}

/** lstat, or undefined when nothing is there. */
export async function statIfPresent(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw fileError(error, 'look at a file', path);
  }
}
