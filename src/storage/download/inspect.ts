/** What a foreign image is: told by its first bytes, refused when it names other files, never opened by QEMU for that. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { fileError, isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import { describeImage } from '../image-header/details.ts';
import { HEADER_BYTES } from '../image-header/header.ts';
import { parseImageHeader, signatureOf } from '../image-header/read.ts';
import { bytesOf } from '../image-header/window.ts';

export interface ForeignImage {
  readonly format: VolumeFormat;
  /** What a guest sees; for formats that tell it in no simple way, the length of the file. */
  readonly capacityBytes: number;
  readonly fileBytes: number;
}

/** ECMA-119, 8.1.2: the standard identifier of the first volume descriptor, in sector 16. */
const ISO_AT = 16 * 2048 + 1;
const ISO_MAGIC = 'CD001';

/** Formats that QEMU reads and that may be brought in. */
const accepted: readonly string[] = ['raw', 'iso', 'qcow2', 'qcow', 'qed', 'vmdk', 'vdi', 'vpc', 'vhd'];

/**
 * Looks at a file that was just brought in. `said` is its format where the caller knows it; else its signature decides,
 * and what has none is raw. An image with a backing file, an external data file, extents or encryption is refused: its
 * names would be followed on this host.
 * @throws VirtError image.unsafe, request.invalid, file.*
 */
export async function inspectForeign(
  path: string,
  said: VolumeFormat | undefined,
  wanted: string,
): Promise<ForeignImage> {
  const handle = await openForeign(path, wanted);
  try {
    return await inspectOpen(handle, said, wanted);
  } catch (error) {
    throw fileError(error, wanted, path);
  } finally {
    await handle.close();
  }
}

async function inspectOpen(
  handle: FileHandle,
  said: VolumeFormat | undefined,
  wanted: string,
): Promise<ForeignImage> {
  const { size: fileBytes } = await handle.stat();
  const bytes = bytesOf(handle, fileBytes);
  const start = await bytes.read(0, HEADER_BYTES);
  const format = said ?? formatOf(start);
  if (!accepted.includes(format))
    throw new VirtError('request.invalid', {
      wanted,
      reason: `images of format ${format} cannot be imported`,
    });
  if (fileBytes === 0) throw new VirtError('request.invalid', { wanted, reason: 'the file is empty' });
  refuseUnsafe(start, format, wanted);
  // A disc is all its bytes, whatever its descriptors say.
  if (format === 'iso') return { format, capacityBytes: fileBytes, fileBytes };
  const { virtualBytes } = await describeImage(bytes, format).catch((error: unknown) => {
    throw isVirtError(error) ? unsafe(wanted, reasonOf(error), error.hint, error) : error;
  });
  return { format, capacityBytes: virtualBytes, fileBytes };
}

function formatOf(start: Buffer): VolumeFormat {
  const signature = signatureOf(start);
  if (signature !== undefined) return signature as VolumeFormat;
  const iso = start.subarray(ISO_AT, ISO_AT + ISO_MAGIC.length).toString('latin1');
  return iso === ISO_MAGIC ? 'iso' : 'raw';
}

function refuseUnsafe(start: Buffer, format: VolumeFormat, wanted: string): void {
  const refuse = (reason: string, hint?: string, cause?: unknown) => unsafe(wanted, reason, hint, cause);
  try {
    const { backing, dataFile, encryption } = parseImageHeader(start, format);
    if (backing !== undefined)
      throw refuse(`it names another image, '${backing.name}', as its backing file`, FLATTEN);
    if (dataFile !== undefined) throw refuse('its data is in another file', FLATTEN);
    if (encryption !== undefined) throw refuse(`it is encrypted (${encryption})`);
  } catch (error) {
    if (!isVirtError(error) || error.code === 'image.unsafe') throw error;
    throw refuse(reasonOf(error), error.hint, error);
  }
}

const FLATTEN = "flatten it where it was made: 'qemu-img convert -O qcow2 IMAGE FLAT.qcow2'";

function unsafe(wanted: string, reason: string, hint?: string, cause?: unknown): VirtError {
  return new VirtError('image.unsafe', { wanted, reason, ...(hint !== undefined && { hint }), cause });
}

async function openForeign(path: string, wanted: string): Promise<FileHandle> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
  } catch (error) {
    throw fileError(error, wanted, path);
  }
  throw new VirtError('file.failed', { wanted, reason: `${path}: it is no regular file` });
}
