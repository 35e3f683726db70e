/** Changes what a guest sees of an image that no guest uses: raw by the file's length, other formats by qemu-img. */
import type { FileHandle } from 'node:fs/promises';
import { VirtError } from '../../base/errors.ts';
import type { Work } from '../backend.ts';
import { describeImage } from '../image-header/details.ts';
import { bytesOf } from '../image-header/window.ts';
import { SecretObjects } from '../passphrase.ts';
import { imageNode, qemuFormat, runQemuImg } from '../qemu-img.ts';
import { allocate } from './allocate.ts';
import { nodeLayers, openLayers, type SourceImage } from './convert.ts';
import { lend } from './lend.ts';
import { openImage, writeFailure } from './new-file.ts';

export interface ResizeSpec {
  readonly capacityBytes: number;
  /** Take the new space at once. */
  readonly allocate?: boolean;
  /** Allow it to become smaller: what lies beyond is lost. */
  readonly shrink?: boolean;
}

const wanted = 'resize an image';

/**
 * Resizes an image; a guest finds the new part filled with zeros. A raw image that could not grow has its old length again.
 * @throws VirtError request.invalid when it would shrink without leave, file.no-space, file.*, definition.unsupported,
 *   program.*, operation.aborted
 */
export async function resizeImage(image: SourceImage, spec: ResizeSpec, work: Work = {}): Promise<void> {
  if (qemuFormat(image.format) === 'raw' || image.format === 'luks') return resizeRaw(image, spec, work);
  await using layers = await openLayers(image, 'write');
  const { images } = layers;
  using secrets = new SecretObjects(images.length);
  const node = imageNode(await nodeLayers(layers, secrets));
  const flags = [
    ...(spec.shrink === true ? ['--shrink'] : []),
    ...(spec.allocate === true ? ['--preallocation=falloc'] : []),
  ];
  const [top, ...below] = images;
  if (top === undefined) throw new Error('an image has at least one layer');
  try {
    await using lent = await lend([
      { handle: top.handle, writes: true },
      ...below.map(({ handle }) => ({ handle })),
    ]);
    await runQemuImg({
      wanted,
      args: ['resize', '-q', ...secrets.args, ...flags, '--', node, String(spec.capacityBytes)],
      files: [...lent.files, ...secrets.files],
      identity: lent.identity,
      signal: work.signal,
    });
    await top.handle.datasync();
  } catch (error) {
    throw await writeFailure(shrinkRefusal(error), { wanted, neededBytes: spec.capacityBytes }, image.path);
  }
  return undefined;
}

/** qemu-img's refusal to shrink is a fault of the request. */
function shrinkRefusal(error: unknown): unknown {
  if (!(error instanceof VirtError) || error.code !== 'program.failed') return error;
  return /--shrink option/.test(String(error.details?.['stderr'])) ? wouldShrink(error) : error;
}

function wouldShrink(cause?: unknown): VirtError {
  return new VirtError('request.invalid', {
    wanted,
    reason: 'it would become smaller, and what lies beyond the new end would be lost',
    hint: 'allow it to shrink, if that is what you want',
    cause,
  });
}

/** Raw data by the length of its file. A LUKS header in front stays: what it locks is all that comes after it. */
async function resizeRaw(image: SourceImage, spec: ResizeSpec, work: Work): Promise<void> {
  const handle = await openImage(image.path, 'write', wanted);
  try {
    const stats = await handle.stat();
    if (!stats.isFile())
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `${image.path}: a device has the size that it has`,
      });
    const length = spec.capacityBytes + (await headerBytes(handle, image.format, stats.size));
    if (length < stats.size && spec.shrink !== true) throw wouldShrink();
    if (spec.allocate === true && length > stats.size) await grow(handle, stats.size, length, work);
    await handle.truncate(length);
    await handle.datasync();
  } catch (error) {
    throw await writeFailure(error, { wanted, neededBytes: spec.capacityBytes }, image.path);
  } finally {
    await handle.close();
  }
}

/** How much of the file comes before the data. */
async function headerBytes(handle: FileHandle, format: string, fileBytes: number): Promise<number> {
  if (format !== 'luks') return 0;
  const { virtualBytes } = await describeImage(bytesOf(handle, fileBytes), format);
  return fileBytes - virtualBytes;
}

async function grow(handle: FileHandle, from: number, to: number, work: Work): Promise<void> {
  try {
    await allocate(handle, { offset: from, length: to - from }, work, wanted);
  } catch (error) {
    await handle.truncate(from);
    throw error;
  }
}
