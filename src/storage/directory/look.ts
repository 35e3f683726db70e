/** Looks at one entry of a directory: whether it is a volume, and what it tells. Opens nothing that could wait. */
import { type BigIntStats, constants, lstatSync } from 'node:fs';
import { type FileHandle, lstat, open, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, isVirtError } from '../../base/errors.ts';
import { volumeNameProblem } from '../../model/storage/names.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { CachedHeader, ScanContext, VolumeFacts } from '../backend.ts';
import type { PinnedDirectory } from '../directory-pin.ts';
import { describeImage } from '../image-header/details.ts';
import { HEADER_BYTES } from '../image-header/header.ts';
import { bytesOf } from '../image-header/window.ts';
import { absoluteName, formatAtFirstSight } from './first-sight.ts';
import { hasHeader, imageFacts } from './image-facts.ts';

/** A file younger than this may still be in the making: what it looks like is not remembered yet. */
export const SETTLE_MS = 2000;

export interface LookOptions {
  readonly directory: PinnedDirectory;
  /** Where it really is. */
  readonly real: string;
  readonly context: ScanContext;
  /** Links are followed: only those who may act for us can have put them there. */
  readonly followsLinks: boolean;
  /** The file system answers at once, so the caller may wait for it. */
  readonly isLocal: boolean;
}

export interface Look {
  readonly volume: VolumeFacts;
  /** It was too young to be judged for good. */
  readonly isUnsettled: boolean;
}

/** One entry; undefined when it is no volume (any more). */
export async function lookAt(name: string, options: LookOptions): Promise<Look | undefined> {
  if (volumeNameProblem(name) !== undefined) return undefined;
  const path = options.directory.at(name);
  const found = await statOf(path, options);
  if (found === undefined) return undefined;
  const { stats, isLink } = found;
  if (stats.isFile()) return lookAtFile(name, path, { ...options, stats, isLink });
  return stats.isBlockDevice() ? lookAtDevice(name, stats, options) : undefined;
}

/** Gone, or not ours to see, between reading the directory and now. */
const vanished: readonly (string | undefined)[] = [
  'ENOENT',
  'ENOTDIR',
  'ELOOP',
  'EACCES',
  'ENXIO',
  'ESTALE',
  'EIO',
];

async function statOf(
  path: string,
  { isLocal, followsLinks }: LookOptions,
): Promise<{ readonly stats: BigIntStats; readonly isLink: boolean } | undefined> {
  try {
    const stats = isLocal ? lstatSync(path, { bigint: true }) : await lstat(path, { bigint: true });
    if (!stats.isSymbolicLink()) return { stats, isLink: false };
    return followsLinks ? { stats: await stat(path, { bigint: true }), isLink: true } : undefined;
  } catch (error) {
    if (vanished.includes(errnoOf(error))) return undefined;
    throw error;
  }
}

type FileLook = LookOptions & { readonly stats: BigIntStats; readonly isLink: boolean };

/**
 * What says that a file is the same one under whatever name: its number and its birth, so that a number which is used
 * again is another file. The device is left out: it has another number after the next boot.
 */
export function identityOf(stats: BigIntStats): string {
  return `${stats.ino}:${stats.birthtimeNs}`;
}

async function lookAtFile(name: string, path: string, look: FileLook): Promise<Look | undefined> {
  const { stats, context, directory } = look;
  const identity = identityOf(stats);
  const stamp = `${identity}:${stats.size}:${stats.mtimeNs}`;
  const known = context.formats.known(name, identity);
  const cached = context.headers.get(name, stamp);
  const wasBlank = known !== undefined && context.formats.wasBlank(name);
  if (known !== undefined && (cached?.format === known || !(hasHeader(known) || wasBlank)))
    return {
      volume: volumeOf(name, look, cached ?? { format: known, capacityBytes: Number(stats.size) }),
      isUnsettled: false,
    };
  const read = await reading(path, look, async (handle) => {
    const start = await beginningOf(handle, Number(stats.size));
    const file = { start, fileBytes: Number(stats.size), directory: directory.path, real: look.real };
    const judged =
      known === undefined || wasBlank
        ? await judge(name, file, look, wasBlank)
        : { format: known, isUnsettled: false };
    return { judged, facts: await factsOf(handle, file, judged.format) };
  });
  if (read === undefined) return undefined;
  const { judged, facts } = read;
  const header: CachedHeader = {
    ...facts,
    ...('problem' in judged && judged.problem !== undefined && { problem: judged.problem }),
  };
  context.headers.set(name, stamp, header);
  return { volume: volumeOf(name, look, header), isUnsettled: judged.isUnsettled };
}

interface Judgement {
  readonly format: VolumeFormat;
  readonly problem?: string;
  readonly isUnsettled: boolean;
}

/**
 * What a domain says of it, or else what it looks like; remembered once the file is settled. One that was blank is raw,
 * unless it has become a LUKS volume: whoever makes one derives keys for seconds before the header is written, and that
 * header names no other file.
 */
async function judge(
  name: string,
  file: { start: Buffer; fileBytes: number; directory: string; real: string },
  look: FileLook,
  wasBlank: boolean,
): Promise<Judgement> {
  const { formats } = look.context;
  const identity = identityOf(look.stats);
  const declared = await formats.declared(`${file.directory}/${name}`);
  if (declared !== undefined) {
    formats.remember(name, identity, declared, 'declared');
    return { format: declared, isUnsettled: false };
  }
  const first = formatAtFirstSight(file, (path) => dirname(path) === look.real || formats.isInsidePool(path));
  const seen = wasBlank && first.format !== 'luks' ? { format: 'raw' as const } : first;
  const ageMs = Date.now() - Number(look.stats.mtimeMs);
  const isUnsettled = file.fileBytes === 0 || Math.abs(ageMs) < SETTLE_MS;
  if (!isUnsettled) formats.remember(name, identity, seen.format, isBlank(file.start) ? 'blank' : 'seen');
  // An empty file is looked at again when it has changed; nothing will happen to it by itself.
  return { ...seen, isUnsettled: isUnsettled && file.fileBytes > 0 };
}

const ZEROS = Buffer.alloc(HEADER_BYTES);

const isBlank = (start: Buffer): boolean => start.equals(ZEROS.subarray(0, start.length));

/** Hands the open file to `use`; undefined when it is gone, or is another file than it was. */
async function reading<T>(
  path: string,
  { stats, isLink }: FileLook,
  use: (handle: FileHandle) => Promise<T>,
): Promise<T | undefined> {
  let handle: FileHandle | undefined;
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
    handle = await open(path, isLink ? flags : flags | constants.O_NOFOLLOW);
    const opened = await handle.stat({ bigint: true });
    if (opened.ino !== stats.ino || opened.dev !== stats.dev || !opened.isFile()) return undefined;
    return await use(handle);
  } catch (error) {
    if (vanished.includes(errnoOf(error))) return undefined;
    throw error;
  } finally {
    await handle?.close();
  }
}

/** The first 64 KiB. */
async function beginningOf(handle: FileHandle, fileBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(Math.min(HEADER_BYTES, fileBytes));
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
  return buffer.subarray(0, bytesRead);
}

/** What the beginning tells; VHDX has its size further behind. */
async function factsOf(
  handle: FileHandle,
  { start, fileBytes }: { readonly start: Buffer; readonly fileBytes: number },
  format: VolumeFormat,
): Promise<CachedHeader> {
  if (format !== 'vhd') return imageFacts(start, format, fileBytes);
  try {
    const { virtualBytes } = await describeImage(bytesOf(handle, fileBytes), format);
    return { format, capacityBytes: virtualBytes };
  } catch (error) {
    if (!isVirtError(error, 'definition.unsupported')) throw error;
    return { format, capacityBytes: fileBytes, problem: error.reason };
  }
}

function volumeOf(name: string, { stats, directory, real }: FileLook, header: CachedHeader): VolumeFacts {
  const path = `${directory.path === '/' ? '' : directory.path}/${name}`;
  const { backing, ...rest } = header;
  const below = backing && absoluteName(backing.path, directory.path, real);
  return {
    ...rest,
    ...(below !== undefined && { backing: { ...backing, path: below } }),
    name,
    key: path,
    path,
    type: 'file',
    // st_blocks counts units of 512 bytes, whatever the file system's block (stat(2)).
    allocationBytes: Number(stats.blocks) * 512,
    physicalBytes: Number(stats.size),
    ...ownership(stats),
  };
}

async function lookAtDevice(name: string, stats: BigIntStats, look: LookOptions): Promise<Look> {
  const path = `${look.directory.path}/${name}`;
  const capacityBytes = await blockDeviceBytes(stats);
  const volume: VolumeFacts = {
    name,
    key: path,
    path,
    type: 'block',
    format: (await look.context.formats.declared(path)) ?? 'raw',
    capacityBytes,
    allocationBytes: capacityBytes,
    physicalBytes: capacityBytes,
    ...ownership(stats),
  };
  return { volume, isUnsettled: false };
}

/** Size of a block device, from sysfs: opening one can wait for a drive (sysfs counts sectors of 512 bytes). */
export async function blockDeviceBytes(stats: BigIntStats): Promise<number> {
  // Device numbers as the kernel packs them (linux/kdev_t.h, new_encode_dev).
  const number = Number(stats.rdev);
  const major = Math.floor(number / 256) & 0xfff;
  const minor = (number & 0xff) | (Math.floor(number / 4096) & 0xfff00);
  try {
    return Number((await readFile(`/sys/dev/block/${major}:${minor}/size`, 'latin1')).trim()) * 512;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0; // A node of a device that is not there.
    throw error;
  }
}

/** Owner, mode and times as libvirt tells them. */
export function ownership(stats: BigIntStats): Pick<VolumeFacts, 'permissions' | 'timestamps'> {
  const time = (ns: bigint) => `${ns / 1_000_000_000n}.${(ns % 1_000_000_000n).toString().padStart(9, '0')}`;
  return {
    permissions: { mode: Number(stats.mode) & 0o7777, owner: Number(stats.uid), group: Number(stats.gid) },
    timestamps: {
      atime: time(stats.atimeNs),
      mtime: time(stats.mtimeNs),
      ctime: time(stats.ctimeNs),
      ...(stats.birthtimeNs > 0n && { btime: time(stats.birthtimeNs) }),
    },
  };
}
