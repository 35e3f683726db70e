/** The header of qcow2, versions 2 and 3 (QEMU docs/interop/qcow2.rst). All numbers are big-endian. */
import { badImage, bytesAt, type ImageHeader, nameAt, nameOf, uint64 } from './header.ts';

/** Incompatible feature bit 2: guest data is in an external file. */
const DATA_FILE_BIT = 1n << 2n;

const extensions = {
  end: 0,
  backingFormat: 0xe279_2aca,
  dataFile: 0x4441_5441,
  bitmaps: 0x2385_2875,
} as const;

const cryptMethods: Readonly<Record<number, string>> = { 1: 'aes', 2: 'luks' };

/** Version 2's header; version 3's tells its own length. */
const V2_LENGTH = 72;
const V3_LENGTH = 104;

/** @throws VirtError definition.unsupported for a broken header */
export function parseQcow2(start: Buffer): ImageHeader {
  const version = bytesAt(start, 0, V2_LENGTH, 'header').readUInt32BE(4);
  if (version !== 2 && version !== 3) throw badImage(`it is of version ${version} of qcow2`);
  const features = version === 3 ? bytesAt(start, 0, V3_LENGTH, 'header').readBigUInt64BE(72) : 0n;
  const headerLength = version === 3 ? start.readUInt32BE(100) : V2_LENGTH;
  const found = readExtensions(start, headerLength);
  const backing = backingOf(start, found.backingFormat);
  const method = start.readUInt32BE(32);
  return {
    ...(backing && { backing }),
    ...((features & DATA_FILE_BIT) !== 0n && { dataFile: found.dataFile ?? '' }),
    ...(method !== 0 && { encryption: cryptMethods[method] ?? `method ${method}` }),
  };
}

function backingOf(start: Buffer, format: string | undefined): ImageHeader['backing'] {
  const offset = uint64(start, 8, 'be');
  if (offset === 0) return undefined;
  return { name: nameAt(start, offset, start.readUInt32BE(16), 'backing file name'), format };
}

/** How many bitmaps an image has; undefined when it says nothing of bitmaps. @throws as parseQcow2 */
export function bitmapsOf(start: Buffer): number | undefined {
  return bitmapDirectoryOf(start)?.count;
}

/** Where the directory of an image's bitmaps is. */
export interface BitmapDirectory {
  readonly count: number;
  readonly offset: number;
  readonly bytes: number;
}

/** Undefined when the image says nothing of bitmaps. @throws as parseQcow2 */
export function bitmapDirectoryOf(start: Buffer): BitmapDirectory | undefined {
  const isNew = bytesAt(start, 0, V2_LENGTH, 'header').readUInt32BE(4) === 3;
  return readExtensions(start, isNew ? start.readUInt32BE(100) : V2_LENGTH).bitmaps;
}

interface Extensions {
  backingFormat?: string;
  dataFile?: string;
  bitmaps?: BitmapDirectory;
}

/** Type and length of four bytes each, the data, and zeros up to a multiple of 8; type 0 ends the list. */
function readExtensions(start: Buffer, headerLength: number): Extensions {
  const found: Extensions = {};
  let at = headerLength;
  if (at < V2_LENGTH) throw badImage(`its header says it is ${at} bytes long`);
  for (;;) {
    const head = bytesAt(start, at, 8, 'list of header extensions');
    const type = head.readUInt32BE(0);
    const length = head.readUInt32BE(4);
    if (type === extensions.end) return found;
    const data = bytesAt(start, at + 8, length, 'list of header extensions');
    if (type === extensions.backingFormat) found.backingFormat = nameOf(data, 'backing format');
    if (type === extensions.dataFile) found.dataFile = nameOf(data, 'data file name');
    // "Bitmaps extension": number, four reserved bytes, length and place of the directory.
    if (type === extensions.bitmaps && length >= 24)
      found.bitmaps = {
        count: data.readUInt32BE(0),
        bytes: uint64(data, 8, 'be'),
        offset: uint64(data, 16, 'be'),
      };
    at += 8 + Math.ceil(length / 8) * 8;
  }
}
