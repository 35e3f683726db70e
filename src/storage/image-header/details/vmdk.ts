/** VMDK: sparse images with their description inside, and descriptions of extents elsewhere (VMware Virtual Disk Format 1.1). */
import type { ImageDetails, ImageExtent } from '../details.ts';
import { badImage, HEADER_BYTES, uint64 } from '../header.ts';
import { needSignature } from '../read.ts';
import type { ImageWindow } from '../window.ts';

const SECTOR_BYTES = 512;
const MAX_DESCRIPTOR_BYTES = 64 * 1024;
const MAX_EXTENTS = 1024;

export async function describeVmdk(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.upTo(0, HEADER_BYTES);
  needSignature(start, 'vmdk');
  const magic = start.toString('latin1', 0, 4);
  if (magic === 'KDMV') return describeSparse(window, start);
  if (magic === 'COWD') return { virtualBytes: u32(start, 12) * SECTOR_BYTES, kind: 'vmfsSparse' };
  const { backing, createType, extents } = readDescriptor(start);
  return {
    virtualBytes: extents.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    kind: createType ?? 'unknown',
    ...(backing && { backing }),
    extents,
  };
}

function u32(start: Buffer, offset: number): number {
  if (start.length < offset + 4) throw badImage('its header is cut off');
  return start.readUInt32LE(offset);
}

/** SparseExtentHeader: little-endian, sizes in sectors. */
async function describeSparse(window: ImageWindow, start: Buffer): Promise<ImageDetails> {
  if (start.length < SECTOR_BYTES) throw badImage('its header is cut off');
  const grainBytes = uint64(start, 20, 'le') * SECTOR_BYTES;
  if (!Number.isInteger(Math.log2(grainBytes)) || grainBytes < 4096 || grainBytes > 64 * 1024 * 1024)
    throw badImage('its grains have an absurd size');
  const offset = uint64(start, 28, 'le') * SECTOR_BYTES;
  const length = uint64(start, 36, 'le') * SECTOR_BYTES;
  const facts = { virtualBytes: uint64(start, 12, 'le') * SECTOR_BYTES, clusterBytes: grainBytes };
  if (offset === 0) return { ...facts, kind: 'extent' };
  if (length > MAX_DESCRIPTOR_BYTES) throw badImage('its descriptor is too large');
  const { backing, createType, extents } = readDescriptor(await window.at(offset, length, 'descriptor'));
  const isAlone = createType === 'monolithicSparse' || createType === 'streamOptimized';
  return {
    ...facts,
    kind: createType ?? 'unknown',
    ...(backing && { backing }),
    // The only extent of such an image is itself.
    ...(!isAlone && { extents }),
  };
}

interface Descriptor {
  readonly createType: string | undefined;
  readonly backing: ImageDetails['backing'];
  readonly extents: readonly ImageExtent[];
}

function readDescriptor(bytes: Buffer): Descriptor {
  const end = bytes.indexOf(0);
  const text = (end === -1 ? bytes : bytes.subarray(0, end)).toString('utf8');
  const value = (name: string) => new RegExp(`^${name}\\s*=\\s*"([^"\\n]{0,1023})"`, 'm').exec(text)?.[1];
  const parent = value('parentFileNameHint');
  const extents: ImageExtent[] = [];
  // `RW 4192256 SPARSE "name.vmdk" 0`
  for (const match of text.matchAll(
    /^(?:RW|RDONLY|NOACCESS) (\d{1,15}) ([A-Z0-9]{1,16})(?: "([^"\n]{0,1023})")?/gm,
  )) {
    if (extents.length >= MAX_EXTENTS) throw badImage('it has too many extents');
    extents.push({ name: match[3] ?? '', kind: match[2] ?? '', sizeBytes: Number(match[1]) * SECTOR_BYTES });
  }
  return {
    createType: value('createType'),
    backing: parent === undefined ? undefined : { name: parent, format: 'vmdk' },
    extents,
  };
}
