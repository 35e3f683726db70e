/** What the beginning of an image tells of the image itself: its size for a guest, and the options it was made with. */
import { isVirtError } from '../../base/errors.ts';
import { formatOfDriver } from '../../model/storage/image-formats.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { CachedHeader } from '../backend.ts';
import { uint64 } from '../image-header/header.ts';
import { parseImageHeader, signatureOf } from '../image-header/read.ts';

/** Formats whose header says something; files of all others are what they are. */
const withHeader: readonly VolumeFormat[] = ['qcow2', 'qcow', 'qed', 'vmdk', 'vdi', 'vpc', 'vhd', 'luks'];

export function hasHeader(format: VolumeFormat): boolean {
  return withHeader.includes(format);
}

const SECTOR_BYTES = 512;

/** Offsets of the size, by format: in bytes of the header, and what one unit of the number is. */
const sizes: Partial<Record<VolumeFormat, readonly [offset: number, order: 'be' | 'le', unit: number]>> = {
  qcow2: [24, 'be', 1], // QEMU docs/interop/qcow2.rst
  qcow: [24, 'be', 1], // QEMU block/qcow.c, QCowHeader
  qed: [48, 'le', 1], // QEMU docs/interop/qed_spec.rst
  vmdk: [12, 'le', SECTOR_BYTES], // VMware Virtual Disk Format 1.1, SparseExtentHeader
  vdi: [0x170, 'le', 1], // QEMU block/vdi.c, VdiHeader
  vpc: [48, 'be', 1], // VHD specification 1.0, current size
};

/**
 * Reads what the beginning of a file of that format tells; `fileBytes` is its length. A header that is broken is told in
 * `problem`, and the length of the file is its size then.
 */
export function imageFacts(start: Buffer, format: VolumeFormat, fileBytes: number): CachedHeader {
  if (!hasHeader(format)) return { format, capacityBytes: fileBytes };
  try {
    return {
      format,
      capacityBytes: capacityOf(start, format, fileBytes),
      ...namesOf(start, format),
      ...optionsOf(start, format),
    };
  } catch (error) {
    if (!isVirtError(error)) throw error;
    return { format, capacityBytes: fileBytes, problem: error.reason };
  }
}

function capacityOf(start: Buffer, format: VolumeFormat, fileBytes: number): number {
  if (format === 'luks') return fileBytes - Math.min(fileBytes, luksPayload(start));
  const place = sizes[format];
  // A fixed VHD has nothing at its beginning, and a footer of one sector at its end.
  if (format === 'vpc' && signatureOf(start) !== 'vpc') return Math.max(0, fileBytes - SECTOR_BYTES);
  if (place === undefined || start.length < place[0] + 8) return fileBytes;
  const bytes = uint64(start, place[0], place[1]) * place[2];
  return Number.isSafeInteger(bytes) ? bytes : fileBytes;
}

/** Where the data begins: LUKS 1 says it in sectors (on-disk format 1.2.3, 2.1); LUKS 2 has 16 MiB by custom. */
function luksPayload(start: Buffer): number {
  if (start.length < 108) return 0;
  return start.readUInt16BE(6) === 1 ? start.readUInt32BE(104) * SECTOR_BYTES : 16 * 1024 * 1024;
}

function namesOf(
  start: Buffer,
  format: VolumeFormat,
): Pick<CachedHeader, 'backing' | 'encryption' | 'problem'> {
  if (format === 'luks') return { encryption: 'luks' };
  const header = parseImageHeader(start, format);
  const { backing, encryption, dataFile } = header;
  return {
    ...(backing && { backing: { path: backing.name, ...formatWord(backing.format) } }),
    ...(encryption !== undefined && { encryption }),
    ...(dataFile !== undefined && { problem: 'its data is in another file' }),
  };
}

function formatWord(word: string | undefined): { readonly format?: VolumeFormat } {
  const format = word === undefined ? undefined : formatOfDriver(word);
  return format === undefined ? {} : { format };
}

type Qcow2Options = Pick<CachedHeader, 'compat' | 'clusterSizeBytes' | 'lazyRefcounts' | 'extendedL2'>;

/** QEMU docs/interop/qcow2.rst: cluster_bits at 20, incompatible features at 72, compatible ones at 80. */
function optionsOf(start: Buffer, format: VolumeFormat): Qcow2Options {
  if (format !== 'qcow2') return {};
  const isNew = start.readUInt32BE(4) >= 3;
  const bits = start.readUInt32BE(20);
  const extended = isNew && (start.readUInt32BE(76) & 0x10) !== 0;
  const lazy = isNew && (start.readUInt32BE(84) & 1) !== 0;
  return {
    compat: isNew ? '1.1' : '0.10',
    ...(bits >= 9 && bits <= 21 && { clusterSizeBytes: 2 ** bits }),
    ...(lazy && { lazyRefcounts: true }),
    ...(extended && { extendedL2: true }),
  };
}
