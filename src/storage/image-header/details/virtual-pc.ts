/** VDI, VHDX and VHD. */
import type { ImageDetails } from '../details.ts';
import { badImage, HEADER_BYTES, uint64 } from '../header.ts';
import { needSignature } from '../read.ts';
import type { ImageWindow } from '../window.ts';

const VDI_HEADER_BYTES = 0x1b8;
const vdiKinds: Readonly<Record<number, string>> = { 1: 'dynamic', 2: 'fixed', 3: 'undo', 4: 'differencing' };

/** QEMU block/vdi.c, VdiHeader: little-endian. */
export async function describeVdi(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.at(0, VDI_HEADER_BYTES, 'header');
  needSignature(start, 'vdi');
  const version = start.readUInt16LE(0x46);
  if (version !== 1) throw badImage(`it is of version ${version} of VDI`);
  const clusterBytes = start.readUInt32LE(0x178);
  if (clusterBytes === 0) throw badImage('its blocks have no size');
  return {
    virtualBytes: uint64(start, 0x170, 'le'),
    clusterBytes,
    kind: vdiKinds[start.readUInt32LE(0x4c)] ?? 'unknown',
  };
}

/** Microsoft, "VHDX Format Specification" 1.00 (MS-VHDX): regions are listed at 192 KiB, items within a region. */
const REGION_TABLE = 192 * 1024;
const REGION_TABLE_BYTES = 64 * 1024;
const MAX_REGIONS = 2047;
const METADATA_TABLE_BYTES = 64 * 1024;
const ENTRY_BYTES = 32;
/** The region of metadata, and the items in it, as their 16 bytes stand on disk. */
const guids = {
  metadata: '06a27c8b90479a4bb8fe575f050f886e',
  virtualSize: '2442a52f1bcd7648b2115dbed83bf4b8',
  parameters: '3767a1ca36fa434db3b633f0aa44e76b',
} as const;
const HAS_PARENT = 2;
const LEAVES_ALLOCATED = 1;

export async function describeVhdx(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.at(0, 8, 'header');
  if (start.toString('latin1') !== 'vhdxfile') needSignature(await window.upTo(0, HEADER_BYTES), 'vhd');
  const regions = await window.at(REGION_TABLE, REGION_TABLE_BYTES, 'region table');
  if (regions.toString('latin1', 0, 4) !== 'regi') throw badImage('its region table is broken');
  const region = entry(regions, 16, Math.min(MAX_REGIONS, regions.readUInt32LE(8)), guids.metadata);
  if (region === undefined) throw badImage('it has no metadata');
  const base = uint64(region, 16, 'le');
  const table = await window.at(base, METADATA_TABLE_BYTES, 'metadata');
  if (table.toString('latin1', 0, 8) !== 'metadata') throw badImage('its metadata are broken');
  const size = await item(window, { table, base }, guids.virtualSize, 8);
  const parameters = await item(window, { table, base }, guids.parameters, 8);
  const flags = parameters.readUInt32LE(4);
  return {
    virtualBytes: uint64(size, 0, 'le'),
    clusterBytes: parameters.readUInt32LE(0),
    kind:
      (flags & HAS_PARENT) !== 0 ? 'differencing' : (flags & LEAVES_ALLOCATED) !== 0 ? 'fixed' : 'dynamic',
  };
}

/** The entry of a table that begins with that GUID; entries have 32 bytes in both kinds of tables. */
function entry(table: Buffer, first: number, count: number, guid: string): Buffer | undefined {
  for (let i = 0; i < count; i += 1) {
    const one = table.subarray(first + i * ENTRY_BYTES, first + (i + 1) * ENTRY_BYTES);
    if (one.length < ENTRY_BYTES) return undefined;
    if (one.toString('hex', 0, 16) === guid) return one;
  }
  return undefined;
}

async function item(
  window: ImageWindow,
  metadata: { readonly table: Buffer; readonly base: number },
  guid: string,
  length: number,
): Promise<Buffer> {
  const { table, base } = metadata;
  const found = entry(table, ENTRY_BYTES, table.readUInt16LE(10), guid);
  if (found === undefined) throw badImage('its metadata lack an item');
  return window.at(base + found.readUInt32LE(16), length, 'metadata');
}

const FOOTER_BYTES = 512;
const vpcKinds: Readonly<Record<number, string>> = { 2: 'fixed', 3: 'dynamic', 4: 'differencing' };

/** VHD specification 1.0, "Hard Disk Footer": big-endian; at the end, and of dynamic images at the beginning, too. */
export async function describeVpc(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.at(0, FOOTER_BYTES, 'header');
  const isAtStart = start.toString('latin1', 0, 8) === 'conectix';
  const footer = isAtStart
    ? start
    : await window.at(window.lengthBytes - FOOTER_BYTES, FOOTER_BYTES, 'footer');
  if (footer.toString('latin1', 0, 8) !== 'conectix') needSignature(start, 'vpc');
  return { virtualBytes: uint64(footer, 48, 'be'), kind: vpcKinds[footer.readUInt32BE(60)] ?? 'unknown' };
}
