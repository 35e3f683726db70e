/** New images on top of others, and merging them down again, while nobody has them open. */
import { unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { statIfPresent, syncDirectory } from '../../base/files.ts';
import { describeOpenImage } from '../image-header/details.ts';
import type { ImageHeader } from '../image-header/header.ts';
import { readImageHeader } from '../image-header/read.ts';
import { descriptorName, imageNode, qemuFormat, runQemuImg } from '../qemu-img.ts';
import { openLayers, type SourceImage } from './convert.ts';
import { createQcow2 } from './create-qcow2.ts';
import { lend } from './lend.ts';
import { openImage } from './new-file.ts';
import { layoutQcow2 } from './qcow2-layout.ts';

/** An image by its absolute path, in the format that it is known to have (our word). */
interface ImageAt {
  readonly path: string;
  readonly format: string;
}

/**
 * Makes an empty qcow2 image on top of another, whose format is written into it; durable when this returns.
 * @throws VirtError file.exists, file.no-space, file.*, definition.unsupported
 */
export async function createOverlay(path: string, below: ImageAt): Promise<void> {
  const handle = await openImage(below.path, 'read', 'make an image on top of another');
  try {
    const { virtualBytes } = await describeOpenImage(handle, below.format);
    await createQcow2(path, {
      capacityBytes: virtualBytes,
      backing: { name: below.path, format: qemuFormat(below.format) },
    });
  } finally {
    await handle.close();
  }
  const made = await openImage(path, 'write', 'make an image on top of another');
  try {
    await made.sync();
  } finally {
    await made.close();
  }
  await syncDirectory(dirname(path));
}

/** What an image's header says lies below it; undefined for nothing. @throws VirtError definition.unsupported, file.* */
export async function backingOf({ path, format }: ImageAt): Promise<ImageHeader['backing']> {
  const handle = await openImage(path, 'read', 'look at an image');
  try {
    return (await readImageHeader(handle, { format, offsetBytes: 0 })).backing;
  } finally {
    await handle.close();
  }
}

/** Whether anything has that name. @throws VirtError file.* */
export async function isThere(path: string): Promise<boolean> {
  return (await statIfPresent(path)) !== undefined;
}

/** Whether anything was written to an image that `createOverlay` made: it has grown then. @throws VirtError file.* */
export async function hasData(path: string): Promise<boolean> {
  if (!(await isThere(path))) return false;
  const handle = await openImage(path, 'read', 'look at an image');
  try {
    const { virtualBytes, fileBytes } = await describeOpenImage(handle, 'qcow2');
    return fileBytes > layoutQcow2({ capacityBytes: virtualBytes }).fileBytes;
  } finally {
    await handle.close();
  }
}

/**
 * Writes what the topmost of these images holds into the one below it. Both stay: done twice, it is the same, and broken
 * off it can be done again.
 * @throws VirtError file.no-space, program.*, definition.unsupported
 */
export async function mergeDown(chain: readonly ImageAt[]): Promise<void> {
  const wanted = 'merge an image into the one below it';
  const source = chain.reduceRight<SourceImage | undefined>(
    (backing, image) => ({ ...image, ...(backing && { backing }) }),
    undefined,
  );
  const below = chain[1];
  if (source === undefined || below === undefined)
    throw new VirtError('definition.unsupported', { wanted, reason: 'nothing lies below it' });
  await using layers = await openLayers(source, 'write');
  const target = await openImage(below.path, 'write', wanted);
  try {
    const files = layers.images.map(({ handle }, index) =>
      index === 1 ? { handle: target, writes: true } : { handle, writes: index === 0 },
    );
    await using lent = await lend(files);
    const node = imageNode(layers.images.map(({ format }, index) => ({ index, format })));
    await runQemuImg({
      wanted,
      args: ['commit', '-d', '--', node],
      files: lent.files,
      identity: lent.identity,
      memoryBytes: 2 * 1024 ** 3,
    });
    await target.sync();
  } finally {
    await target.close();
  }
}

/**
 * Writes into an image's header that another one lies below it; what it reads stays the same only where both hold the
 * same.
 * @throws VirtError program.*, file.*
 */
export async function renameBacking(image: ImageAt, below: ImageAt): Promise<void> {
  const wanted = 'name the image below another anew';
  const handle = await openImage(image.path, 'write', wanted);
  try {
    await using lent = await lend([{ handle, writes: true }]);
    await runQemuImg({
      wanted,
      args: [
        ...['rebase', '-u', '-f', qemuFormat(image.format)],
        ...['-b', below.path, '-F', qemuFormat(below.format), '--', descriptorName(0)],
      ],
      files: lent.files,
      identity: lent.identity,
    });
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes an image for good; one that is not there is no error. */
export async function removeImage(path: string): Promise<void> {
  try {
    await unlink(path);
    await syncDirectory(dirname(path));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove an image', path);
  }
}
