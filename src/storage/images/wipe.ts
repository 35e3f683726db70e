/**
 * Overwrites a volume in place. What that means: whoever reads the volume again, through whatever host that has it, finds
 * nothing of it. It does not mean that the medium has forgotten: flash, file systems that copy on write (btrfs, XFS with
 * shared blocks), thin or logged storage and snapshots below keep old blocks elsewhere, and more passes change nothing
 * about that. The patterns of several passes were made for magnetic disks of the 1990s; on anything newer one pass is worth
 * as much. Against somebody who holds the medium only encryption from the first day helps.
 */
import { randomFill } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { discardBlocks, fallocate } from '../../base/ffi/ranges.ts';
import { type Segment, segmentsOf } from '../../base/file-segments.ts';
import type { WipeAlgorithm } from '../../model/storage/volume/volume.ts';
import type { Work } from '../backend.ts';
import { lengthOf } from './copy.ts';
import { openImage, throwIfAborted } from './new-file.ts';

/** One time over the whole: bytes that repeat, or random ones. */
type Pass = readonly number[] | 'random';

const times = (count: number): Pass[] => Array.from({ length: count }, () => 'random' as const);

/** P. Gutmann, "Secure Deletion of Data from Magnetic and Solid-State Memory", 1996, table 1: passes 5 to 31. */
const gutmannPatterns: readonly Pass[] = [
  [0x55],
  [0xaa],
  [0x92, 0x49, 0x24],
  [0x49, 0x24, 0x92],
  [0x24, 0x92, 0x49],
  ...Array.from({ length: 16 }, (_, i) => [i * 0x11]),
  [0x92, 0x49, 0x24],
  [0x49, 0x24, 0x92],
  [0x24, 0x92, 0x49],
  [0x6d, 0xb6, 0xdb],
  [0xb6, 0xdb, 0x6d],
  [0xdb, 0x6d, 0xb6],
];

/** Passes by libvirt's names, as scrub(1) lists them. */
const passes: Readonly<Record<Exclude<WipeAlgorithm, 'trim'>, readonly Pass[]>> = {
  zero: [[0]],
  nnsa: ['random', 'random', [0]],
  dod: ['random', [0], [0xff]],
  bsi: [[0xff], [0xfe], [0xfd], [0xfb], [0xf7], [0xef], [0xdf], [0xbf], [0x7f]],
  gutmann: [...times(4), ...gutmannPatterns, ...times(4)],
  schneier: [[0], [0xff], ...times(5)],
  pfitzner7: times(7),
  pfitzner33: times(33),
  random: ['random'],
};

/** A multiple of three: patterns of three bytes go on across two writes. */
const CHUNK_BYTES = 3 * 1024 * 1024;

/** So much is given back in one call; the work can be called off between two. */
const DISCARD_BYTES = 1024 ** 3;

const wanted = 'wipe a volume';
const fillRandom: (buffer: Buffer) => Promise<void> = promisify(randomFill);

/**
 * Overwrites all of a file or block device; its length and its name stay. Holes of a sparse file hold nothing and stay
 * holes; everything else is written in each pass, which is what progress counts. `trim` gives all blocks back instead.
 * Called off half-way, part of the old bytes is left.
 * @throws VirtError file.*, operation.aborted, definition.unsupported for a device that cannot trim
 */
export async function wipeFile(
  image: { readonly path: string },
  algorithm: WipeAlgorithm,
  work: Work = {},
): Promise<void> {
  const handle = await openImage(image.path, 'write', wanted);
  try {
    if (algorithm === 'trim') await trim(handle, work);
    else await overwriteAll(handle, passes[algorithm], work);
    await handle.datasync();
  } catch (error) {
    throw fileError(error, wanted, image.path);
  } finally {
    await handle.close();
  }
}

async function overwriteAll(handle: FileHandle, list: readonly Pass[], work: Work): Promise<void> {
  const parts = await partsOf(handle);
  const bytes = parts.reduce((sum, { start, end }) => sum + end - start, 0);
  let done = 0;
  for (const pass of list) {
    for (const part of parts) {
      const before = done;
      const onProgress = (at: number) => work.onProgress?.(before + at, list.length * bytes);
      await overwrite(handle, part, pass, { signal: work.signal, onProgress });
      done += part.end - part.start;
    }
    // Each pass must reach the medium, or only the last one would.
    await handle.datasync();
  }
}

type Part = Pick<Segment, 'start' | 'end'>;

/**
 * What has to be overwritten. A file that takes all its space is overwritten whole: what was taken ahead and never written
 * looks like a hole, but may lie where something else was before.
 */
async function partsOf(handle: FileHandle): Promise<Part[]> {
  const end = await lengthOf(handle);
  const stats = await handle.stat();
  const isSparse = stats.isFile() && stats.blocks * 512 < end;
  if (!isSparse) return [{ start: 0, end }];
  return [...segmentsOf(handle, 0, end)].filter(({ kind }) => kind === 'data');
}

async function overwrite(handle: FileHandle, { start, end }: Part, pass: Pass, work: Work): Promise<void> {
  const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(3, end - start)));
  if (pass !== 'random') chunk.fill(Buffer.from(pass));
  for (let at = start; at < end; ) {
    throwIfAborted(work, wanted);
    if (pass === 'random') await fillRandom(chunk);
    // A short write would put a pattern of three bytes out of step: the next begins where this one ended.
    const from = pass === 'random' ? 0 : at % pass.length;
    const { bytesWritten } = await handle.write(chunk, from, Math.min(chunk.length - from, end - at), at);
    at += bytesWritten;
    work.onProgress?.(at - start, end - start);
  }
}

/** The file system or the device has no such operation. */
const cannot: readonly (string | undefined)[] = ['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'ENOTTY', 'EINVAL'];

/** Gives all blocks back: the volume reads as zeros (files), or as whatever the device likes (discard promises nothing). */
async function trim(handle: FileHandle, work: Work): Promise<void> {
  const length = await lengthOf(handle);
  const isFile = (await handle.stat()).isFile();
  for (let at = 0; at < length; ) {
    throwIfAborted(work, wanted);
    const bytes = Math.min(DISCARD_BYTES, length - at);
    try {
      await (isFile ? fallocate(handle.fd, 'punch', at, bytes) : discardBlocks(handle.fd, at, bytes));
    } catch (error) {
      if (!cannot.includes(errnoOf(error))) throw error;
      return trimOtherwise(handle, isFile, length);
    }
    at += bytes;
    work.onProgress?.(at, length);
  }
}

/** A file without punched holes is cut off and made long again. */
async function trimOtherwise(handle: FileHandle, isFile: boolean, length: number): Promise<void> {
  if (!isFile)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'the device cannot discard blocks',
      hint: "use the algorithm 'zero'",
    });
  await handle.truncate(0);
  await handle.truncate(length);
}
