/** Converts images from one format to another, or into one without layers below, by qemu-img. */
import type { FileHandle } from 'node:fs/promises';
import { VirtError } from '../../base/errors.ts';
import type { Work } from '../backend.ts';
import { readImageHeader } from '../image-header/read.ts';
import { encryptionOptions, type ImageEncryption, type Passphrase, SecretObjects } from '../passphrase.ts';
import { descriptorName, imageNode, type Layer, qemuFormat, runQemuImg } from '../qemu-img.ts';
import { lend } from './lend.ts';
import { makeFile, openImage, writeFailure } from './new-file.ts';

/** An image that is there, by an absolute path, in the format that it is known to have. */
export interface SourceImage {
  readonly path: string;
  readonly format: string;
  /** The image below. Nothing is followed that is not named here. */
  readonly backing?: SourceImage;
  /** Nobody else knows the file, and it is thrown away afterwards: it may be lent to the user that qemu-img runs as. */
  readonly isPrivate?: boolean;
  /** What unlocks it, when it turns out to be encrypted with LUKS. */
  readonly passphrase?: Passphrase;
}

export interface ConvertSpec {
  /** The new image's format, in our word. */
  readonly format: string;
  /** What the new image needs at most, for the error when there is no room. */
  readonly capacityBytes: number;
  /** Options of the format (`cluster_size=65536`); numbers and words only. */
  readonly options?: readonly string[];
  /** Compress the clusters (qcow2, streamOptimized VMDK); they are unpacked again as the guest writes. */
  readonly compressed?: boolean;
  /** Write zeros, too, rather than leave holes (raw). */
  readonly isFull?: boolean;
  /** How the new image is encrypted (luks, qcow2); without it, it is not. */
  readonly encryption?: ImageEncryption | undefined;
}

const wanted = 'convert an image';
const GIB = 1024 ** 3;
const MAX_DEPTH = 200;

/**
 * Writes what a guest sees of `source` into a new image of mode 0600 at an absolute path; on failure nothing is left.
 * Progress is in bytes of the capacity.
 * @throws VirtError definition.unsupported for a source that is not of its format, is encrypted, or names files that were
 *   not given; file.*, file.no-space, program.*, operation.aborted
 */
export async function convertToFile(
  source: SourceImage,
  path: string,
  spec: ConvertSpec,
  work: Work = {},
): Promise<void> {
  await using layers = await openLayers(source);
  const making = { wanted, neededBytes: spec.capacityBytes };
  await makeFile(path, making, async (target) => {
    await convert(layers, target, spec, work);
    await target.datasync();
  });
}

/**
 * As convertToFile, into a device (or file) that is there and is long enough.
 * @throws VirtError as convertToFile
 */
export async function convertOver(
  source: SourceImage,
  path: string,
  spec: ConvertSpec,
  work: Work = {},
): Promise<void> {
  await using layers = await openLayers(source);
  const target = await openImage(path, 'write', wanted);
  try {
    await convert(layers, target, spec, work, ['-n']);
    await target.datasync();
  } catch (error) {
    throw await writeFailure(error, { wanted, neededBytes: spec.capacityBytes }, path);
  } finally {
    await target.close();
  }
}

async function convert(
  layers: Layers,
  target: FileHandle,
  spec: ConvertSpec,
  work: Work,
  extra: readonly string[] = [],
): Promise<void> {
  const { images } = layers;
  const format = qemuFormat(spec.format);
  using secrets = new SecretObjects(images.length + 1);
  const options = [...(await encrypted(spec, secrets)), ...(spec.options ?? [])];
  const source = imageNode(await nodeLayers(layers, secrets));
  const args = [
    ...['convert', '-p', ...secrets.args, '-O', format, ...extra],
    ...(options.length > 0 ? ['-o', options.join(',')] : []),
    ...(spec.compressed === true ? ['-c'] : []),
    ...(spec.isFull === true ? ['-S', '0'] : []),
    ...['--', source, descriptorName(images.length)],
  ];
  const files = [...images, { handle: target, writes: true, isPrivate: (await target.stat()).isFile() }];
  await using lent = await lend(files);
  await runQemuImg({
    wanted,
    args,
    files: [...lent.files, ...secrets.files],
    identity: lent.identity,
    memoryBytes: 2 * GIB,
    signal: work.signal,
    onFraction: (part) => work.onProgress?.(Math.floor(part * spec.capacityBytes), spec.capacityBytes),
  });
}

async function encrypted({ format, encryption }: ConvertSpec, secrets: SecretObjects): Promise<string[]> {
  if (encryption === undefined) return [];
  return encryptionOptions(format, encryption, await secrets.add(encryption.passphrase));
}

/** The layers as nodes, those that are encrypted with their passphrases. @throws VirtError secret.* */
export async function nodeLayers({ images }: Layers, secrets: SecretObjects): Promise<Layer[]> {
  const nodes: Layer[] = [];
  for (const [index, { handle, format, lock }] of images.entries()) {
    const isDevice = (await handle.stat()).isBlockDevice();
    nodes.push({ index, format, isDevice, keySecret: lock && (await secrets.add(lock)) });
  }
  return nodes;
}

/** Images on top of each other, open, topmost first. */
export interface Layers extends AsyncDisposable {
  readonly images: readonly OpenLayer[];
}

interface OpenLayer {
  readonly handle: FileHandle;
  readonly format: string;
  readonly path: string;
  readonly isPrivate: boolean;
  /** What unlocks it, where it is encrypted. */
  readonly lock: Passphrase | undefined;
}

/**
 * Opens an image with what is said to lie below, and looks at what each header says: one that names another file, or a
 * layer below that was not given, is refused, since its content would be something else without.
 * With `isLocked` encrypted ones need no passphrase: nobody will look inside.
 * @throws VirtError definition.unsupported, file.*
 */
export async function openLayers(
  source: SourceImage,
  access: 'read' | 'write' = 'read',
  { isLocked = false }: { readonly isLocked?: boolean } = {},
): Promise<Layers> {
  const images: OpenLayer[] = [];
  const close = async () => {
    await Promise.all(images.map(({ handle }) => handle.close()));
  };
  try {
    for (let image: SourceImage | undefined = source; image !== undefined; image = image.backing) {
      if (images.length >= MAX_DEPTH) throw refused(source.path, 'too many images lie on top of each other');
      const { path, format } = image;
      const handle = await openImage(path, images.length === 0 ? access : 'read', wanted);
      const layer = { handle, format, path, isPrivate: image.isPrivate === true, lock: undefined };
      images.push(layer);
      images[images.length - 1] = { ...layer, lock: await inspect(handle, image, isLocked) };
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { images, [Symbol.asyncDispose]: close };
}

/** What unlocks it, if it is encrypted. */
async function inspect(
  handle: FileHandle,
  image: SourceImage,
  isLocked: boolean,
): Promise<Passphrase | undefined> {
  const header = await readImageHeader(handle, { format: image.format, offsetBytes: 0 });
  if (header.dataFile !== undefined) throw refused(image.path, 'its data is in another file');
  const encryption = image.format === 'luks' ? 'luks' : header.encryption;
  if (encryption !== undefined && !isLocked && (encryption !== 'luks' || image.passphrase === undefined))
    throw refused(image.path, `it is encrypted (${encryption}), which needs a secret`);
  if (header.backing !== undefined && image.backing === undefined)
    throw refused(
      image.path,
      `it names '${header.backing.name}' as the image below it, which was not allowed`,
    );
  return encryption === undefined ? undefined : image.passphrase;
}

function refused(path: string, reason: string): VirtError {
  return new VirtError('definition.unsupported', { wanted, reason: `${path}: ${reason}`, details: { path } });
}
