/** Files that must survive: whole or not at all, in place before we say so. */
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fsync as fsyncCallback,
  open as openCallback,
  openSync,
  renameSync,
  type Stats,
  unlink as unlinkCallback,
  writeFile as writeFileCallback,
  writeFileSync,
} from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { nanoid } from 'nanoid';
import { utf8Bytes } from './buffers.ts';
import { errnoOf, fileError, VirtError } from './errors.ts';
import { allSettledOrThrow } from './settled.ts';

export interface WriteOptions {
  /** Permissions of the file, whatever the umask (default 0600). */
  readonly mode?: number;
}

/** Text is written as UTF-8. */
export type FileContent = string | Uint8Array;

export interface DurableOptions extends WriteOptions {
  /**
   * Done while the disk writes, before the file takes its place: when it throws, everything stays as it was, and that
   * error is the one that is told.
   */
  readonly meanwhile?: () => Promise<void>;
  /**
   * Done when all of the file is on the disk, before it takes its place: what a full disk must come before. When it throws,
   * the file stays as it was, and that error is the one that is told.
   */
  readonly before?: () => Promise<void>;
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
 * is a trip to another thread and back, so there are no more of them than needed: O_DSYNC is write and fdatasync in one
 * (open(2)). Where `data` is a function, what it gives is made during the first of them.
 */
export async function writeDurable(
  path: string,
  data: FileContent | (() => FileContent),
  options: DurableOptions = {},
): Promise<void> {
  const temporary = temporaryFor(path);
  const mode = options.mode ?? 0o600;
  const opened: number[] = [];
  const own = new OwnWork();
  try {
    // At once: it is there, and in memory since its files were read.
    const directory = openSync(dirname(path), directoryFlags);
    opened.push(directory);
    const opening = openFd(temporary, newFile | constants.O_DSYNC, mode);
    let content: Uint8Array;
    try {
      const made = typeof data === 'function' ? own.make(data) : data;
      content = typeof made === 'string' ? utf8Bytes(made) : made;
    } finally {
      opened.push(await opening);
    }
    const file = await opening;
    if (isMasked(mode)) fchmodSync(file, mode);
    const written = writeFd(file, content);
    // Of two failures the first in this order is told.
    await allSettledOrThrow([own.run(options.meanwhile), written]);
    await own.run(options.before);
    await rename(temporary, path);
    await syncFd(directory);
  } catch (error) {
    await unlink(temporary).catch(() => undefined); // It may not have been made.
    throw own.hasThrown(error) ? error : fileError(error, 'write a file', path);
  } finally {
    // At once: the data is on the disk, or its loss was told.
    for (const fd of opened) closeSync(fd);
  }
}

/** Work of the caller's within ours, whose errors are the caller's too. */
class OwnWork {
  private failure: unknown;

  make<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  async run(work: (() => Promise<void>) | undefined): Promise<void> {
    try {
      await work?.();
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  hasThrown(error: unknown): boolean {
    return this.failure !== undefined && error === this.failure;
  }
}

// Bare descriptors: closing one costs no trip to another thread.
const openFd = promisify(openCallback);
const writeFd = promisify(writeFileCallback);
const syncFd = promisify(fsyncCallback);
const unlinkPath = promisify(unlinkCallback);

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY;

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
    await unlinkPath(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, 'remove a file', path);
  }
  await syncDirectory(dirname(path));
}

/** fsync of a directory: makes renames and removals in it durable. */
export async function syncDirectory(path: string): Promise<void> {
  // At once, as in writeDurable: whoever syncs a directory has just worked in it.
  const fd = openSync(path, directoryFlags);
  try {
    await syncFd(fd);
  } finally {
    closeSync(fd);
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
    if (await makeDirectory(path, mode)) await chmod(path, mode);
    const stat = await lstat(path);
    if (!stat.isDirectory() && !stat.isSymbolicLink())
      throw new VirtError('file.failed', { wanted: `use ${path}`, reason: 'it is not a directory' });
  } catch (error) {
    throw fileError(error, 'make a directory', path);
  }
}

/** `/var`, `/var/lib`, `/var/lib/libvirt`: all levels of a directory, for who has to make it open at each. */
export function levelsOf(directory: string): string[] {
  const names = directory.split('/').filter((name) => name !== '');
  return names.map((_name, index) => `/${names.slice(0, index + 1).join('/')}`);
}

/**
 * True when it was made; false when something is there. Its parents are made where they are missing. Node's own `recursive`
 * says "no such file" of a file system that is read-only, and of /proc it never comes to an end.
 */
async function makeDirectory(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, mode);
    return true;
  } catch (error) {
    // Also of a file system that is read-only, where something is there.
    if (existsSync(path)) return false;
    const parent = dirname(path);
    if (errnoOf(error) !== 'ENOENT' || parent === path || existsSync(parent)) throw error;
    await makeDirectory(parent, mode);
  }
  return makeDirectory(path, mode);
}

/** True when this process may read and write that path now. At once: for device nodes, which no disk is asked for. */
export function mayUse(path: string): boolean {
  // What is not there costs an error otherwise, ten times as much as looking.
  if (!existsSync(path)) return false;
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false; // Why not is told by whoever opens it.
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
