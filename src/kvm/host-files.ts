/** How this folder reads /proc, /sys, /dev and /etc: through one small interface, so that tests bring recorded trees. */
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';

/** What stat tells of a device node. */
export interface NodeStat {
  readonly isCharacterDevice: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Files of one host. Paths are absolute; what cannot be read for lack of it or of rights is undefined. */
export interface HostFiles {
  /** The text of a file. */
  read(path: string): string | undefined;
  /** The bytes of a file that is no text (SMBIOS tables). */
  readBytes(path: string): Buffer | undefined;
  /** Names in a directory, sorted; empty when there is none. */
  list(path: string): readonly string[];
  exists(path: string): boolean;
  /** The target of a symbolic link. */
  link(path: string): string | undefined;
  stat(path: string): NodeStat | undefined;
  /** `length` bytes at `position` (device files such as /dev/cpu/0/msr). */
  readAt(path: string, position: number, length: number): Buffer | undefined;
  /** The kernel's log, as /dev/kmsg gives it. */
  kernelLog(): string | undefined;
}

/** Reasons for which a file of /proc or /sys may be unreadable on a healthy host; anything else is thrown. */
const unreadable = new Set([
  'ENOENT',
  'ENOTDIR',
  'EACCES',
  'EPERM',
  'ENODEV',
  'ENXIO',
  'EIO',
  'EINVAL',
  'EISDIR',
  'EOPNOTSUPP',
]);

/** The files below `root`, by synchronous calls: procfs and sysfs answer from memory. */
export function hostFiles(root = '/'): HostFiles {
  const at = (path: string): string => join(root, path);
  return {
    read: (path) => attempt(() => readFileSync(at(path), 'utf8')),
    readBytes: (path) => attempt(() => readFileSync(at(path))),
    list: (path) => attempt(() => readdirSync(at(path)).sort()) ?? [],
    exists: (path) => attempt(() => statSync(at(path))) !== undefined,
    link: (path) => attempt(() => readlinkSync(at(path))),
    stat: (path) => attempt(() => nodeStat(at(path))),
    readAt: (path, position, length) => attempt(() => readAt(at(path), position, length)),
    kernelLog: () => attempt(() => readKmsg(at('/dev/kmsg'))),
  };
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (unreadable.has(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function nodeStat(path: string): NodeStat {
  const stat = statSync(path);
  return {
    isCharacterDevice: stat.isCharacterDevice(),
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
  };
}

function readAt(path: string, position: number, length: number): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const buffer = Buffer.alloc(length);
    return readSync(fd, buffer, 0, length, position) === length ? buffer : undefined;
  } finally {
    closeSync(fd);
  }
}

/** More records than a kernel ring buffer of ordinary size holds. */
const MAX_KMSG_RECORDS = 50_000;

/** Reads /dev/kmsg to its present end. One read gives one record (kernel Documentation/ABI/testing/dev-kmsg). */
function readKmsg(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(8192);
  let text = '';
  try {
    for (let records = 0; records < MAX_KMSG_RECORDS; records += 1) {
      const length = readRecord(fd, buffer);
      if (length === 0) break;
      if (length !== undefined) text += buffer.toString('utf8', 0, length);
    }
  } finally {
    closeSync(fd);
  }
  return text;
}

/** The record's length, 0 at the end, undefined when a record was overwritten while we read (EPIPE: go on). */
function readRecord(fd: number, buffer: Buffer): number | undefined {
  try {
    return readSync(fd, buffer, 0, buffer.length, null);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return 0;
    if (errnoOf(error) === 'EPIPE') return undefined;
    throw error;
  }
}
