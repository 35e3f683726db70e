/**
 * Log files that QEMU writes (its own stderr, serial ports with a log): opened by us for appending, capped by us. A
 * guest can write without end, so a log that grows past the limit is copied aside and emptied in place; QEMU's
 * descriptor stays valid, and O_APPEND puts its next line at the new end.
 */
import { constants, type FSWatcher, fstatSync, watch } from 'node:fs';
import { copyFile, type FileHandle, open, readdir, rename, truncate, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, fileError, oneLine, reasonOf, VirtError } from '../../base/errors.ts';
import { ensureDirectory, statIfPresent } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';

export interface LogLimits {
  readonly maxBytes: number;
  /** How many older files (`NAME.0` is the newest of them) are kept. */
  readonly backups: number;
}

/** libvirt's virtlogd keeps the same: 2 MiB and three backups. */
export const defaultLogLimits: LogLimits = { maxBytes: 2 * 1024 * 1024, backups: 3 };

/**
 * Opens a log for appending (0600, made when missing, its directory too). A symlink in the last place, a FIFO or
 * device is refused: other programs may write into log directories.
 * @throws VirtError file.*
 */
export async function openLog(path: string): Promise<FileHandle> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
  const openIt = (): Promise<FileHandle> => open(path, flags | constants.O_NONBLOCK, 0o600);
  let handle: FileHandle;
  try {
    handle = await openIt().catch(async (error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await ensureDirectory(dirname(path), 0o700);
      return openIt();
    });
  } catch (error) {
    throw fileError(error, 'open a log', path);
  }
  if (fstatSync(handle.fd).isFile()) return handle;
  await handle.close();
  throw new VirtError('file.failed', { wanted: 'open a log', reason: `${path}: it is not a regular file` });
}

/** Writes the line that begins a start: time, and the command line quoted for a person. */
export async function writeHeader(handle: FileHandle, argv: readonly string[], atMs: number): Promise<void> {
  const line = argv.map(quoteForShell).join(' ');
  await handle.write(`${new Date(atMs).toISOString()}: starting: ${oneLine(line, 64 * 1024)}\n`);
}

/** One word as a shell would have to be given it; only for people who read the log. */
export function quoteForShell(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Takes a log and its older files away; one that is not there is not missed. @throws VirtError file.* */
export async function removeLogs(path: string): Promise<void> {
  const directory = dirname(path);
  const names = await readdir(directory).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'remove logs', directory);
  });
  for (const name of names) {
    if (!name.startsWith(basename(path))) continue;
    const rest = name.slice(basename(path).length);
    if (!/^(\.\d{1,4})?$/.test(rest)) continue;
    await unlink(join(directory, name)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove logs', join(directory, name));
    });
  }
}

/** The last bytes of a log as text, from a line's start; '' when there is none. */
export async function readTail(path: string, maxBytes: number): Promise<string> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw fileError(error, 'read a log', path);
  }
  try {
    const { size } = await handle.stat();
    const start = Math.max(0, size - maxBytes);
    const buffer = Buffer.alloc(Math.min(size, maxBytes));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
    const text = buffer.toString('utf8', 0, bytesRead);
    return start > 0 && text.includes('\n') ? text.slice(text.indexOf('\n') + 1) : text;
  } finally {
    await handle.close();
  }
}

/** What QEMU has said since our last header line, without what it says of every terminal that it opens. */
export function sinceStart(tail: string): string {
  const lines = tail.trimEnd().split('\n');
  const header = lines.findLastIndex((line) => / starting: /.test(line));
  return lines
    .slice(header + 1)
    .filter((line) => !/\bchar device redirected to \/dev\/pts\/\d+ \(label [\w.-]+\)$/.test(line))
    .join('\n')
    .trim();
}

/** Logs that are being rotated: twice at once would move the older ones twice. */
const inRotation = new Set<string>();

/** Copies a log that is over its limit aside and empties it. True when it did. */
export async function rotateIfOver(path: string, limits: LogLimits): Promise<boolean> {
  if (inRotation.has(path)) return false;
  inRotation.add(path);
  try {
    const stat = await statIfPresent(path);
    if (stat === undefined || !stat.isFile() || stat.size <= limits.maxBytes) return false;
    await rotate(path, limits);
    return true;
  } finally {
    inRotation.delete(path);
  }
}

/**
 * Rotates each log of a directory that is over its limit: of guests that wrote while no daemon looked after them, and
 * have ended since. A log that cannot be rotated is told of, and the others are. No directory, no logs.
 */
export async function rotateAll(directory: string, limits: LogLimits, log: Logger): Promise<void> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT')
      log.warn({ directory, reason: reasonOf(error) }, 'logs cannot be rotated');
    return [];
  });
  for (const name of names.filter((one) => one.endsWith('.log'))) {
    const path = join(directory, name);
    await rotateIfOver(path, limits).catch((error: unknown) =>
      log.warn({ path, reason: reasonOf(error) }, 'a log could not be rotated'),
    );
  }
}

async function rotate(path: string, limits: LogLimits): Promise<void> {
  for (let index = limits.backups - 1; index > 0; index--)
    await renameIfPresent(`${path}.${index - 1}`, `${path}.${index}`);
  // Only the newest part is worth keeping, when the guest was faster than we.
  if (limits.backups > 0) await copyEnd(path, `${path}.0`, limits.maxBytes);
  await truncate(path, 0);
}

async function renameIfPresent(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

async function copyEnd(from: string, to: string, maxBytes: number): Promise<void> {
  const { size } = (await statIfPresent(from)) ?? { size: 0 };
  if (size <= 2 * maxBytes) {
    await copyFile(from, to);
    return;
  }
  const handle = await open(
    to,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    await handle.writeFile(await readTail(from, maxBytes));
  } finally {
    await handle.close();
  }
}

/** Keeps logs below their limits while their guest runs: inotify tells of growth; nothing ticks while all is quiet. */
export class LogKeeper {
  private readonly watchers: FSWatcher[] = [];
  private readonly pending = new Map<string, NodeJS.Timeout>();
  private readonly limits: LogLimits;
  private readonly log: Logger;
  private isClosed = false;

  constructor(limits: LogLimits, log: Logger) {
    this.limits = limits;
    this.log = log;
  }

  /** Starts to look after a log that exists. */
  add(path: string): void {
    try {
      const watcher = watch(path, { persistent: false }, () => this.schedule(path));
      watcher.on('error', (error) => this.log.warn({ err: error, path }, 'a log is no longer watched'));
      this.watchers.push(watcher);
    } catch (error) {
      // Out of inotify watches: the guest matters more than the cap. It is checked again at the next start.
      this.log.warn(
        { path, reason: reasonOf(error) },
        'a log cannot be watched; it is not capped while the guest runs',
      );
    }
    this.schedule(path);
  }

  /** Looks at a log soon, at most four times a second however much is written. */
  private schedule(path: string): void {
    if (this.isClosed || this.pending.has(path)) return;
    const timer = setTimeout(() => {
      this.pending.delete(path);
      rotateIfOver(path, this.limits).catch((error: unknown) =>
        this.log.warn({ path, reason: reasonOf(error) }, 'a log could not be rotated'),
      );
    }, 250);
    timer.unref();
    this.pending.set(path, timer);
  }

  close(): void {
    this.isClosed = true;
    for (const watcher of this.watchers) watcher.close();
    for (const timer of this.pending.values()) clearTimeout(timer);
    this.pending.clear();
  }
}
