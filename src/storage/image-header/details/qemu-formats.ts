/** qcow2, qcow and qed: QEMU's own formats (QEMU docs/interop/qcow2.rst, qed_spec.rst; block/qcow.c). */
import type { ImageDetails } from '../details.ts';
import { badImage, HEADER_BYTES, uint64 } from '../header.ts';
import { parseQcow, parseQed } from '../old-formats.ts';
import { bitmapsOf, parseQcow2 } from '../qcow2.ts';
import { needSignature } from '../read.ts';
import type { ImageWindow } from '../window.ts';

/** Limits of QEMU (block/qcow2.h). */
const MAX_L1_BYTES = 32 * 1024 * 1024;
const MAX_SNAPSHOTS = 65_536;
const MAX_REFCOUNT_ORDER = 6;

/** Names of feature bits by word: incompatible at 72, compatible at 80, autoclear at 88. */
const featureBits: readonly (readonly [offset: number, names: readonly string[]])[] = [
  [72, ['dirty', 'corrupt', 'external-data', 'compression-type', 'extended-l2']],
  [80, ['lazy-refcounts']],
  [88, ['bitmaps', 'raw-external-data']],
];

export async function describeQcow2(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.upTo(0, HEADER_BYTES);
  needSignature(start, 'qcow2');
  const { backing, dataFile, encryption } = parseQcow2(start);
  const isNew = start.readUInt32BE(4) === 3;
  const clusterBytes = clusterSize(start.readUInt32BE(20), 9, 21);
  const snapshots = start.readUInt32BE(60);
  checkLimits(start, isNew);
  const features = isNew ? featuresOf(start) : [];
  const bitmaps = bitmapsOf(start);
  return {
    virtualBytes: uint64(start, 24, 'be'),
    compat: isNew ? '1.1' : '0.10',
    clusterBytes,
    // Headers of version 2 have no such field (docs/interop/qcow2.rst, refcount_order).
    refcountBits: isNew ? 2 ** start.readUInt32BE(96) : 16,
    ...(backing && { backing }),
    ...(dataFile !== undefined && { dataFile }),
    ...(encryption !== undefined && { encryption: { method: encryption } }),
    snapshots,
    ...(bitmaps !== undefined && { bitmaps }),
    compression: compressionOf(start, isNew),
    ...(features.length > 0 && { features }),
  };
}

function clusterSize(bits: number, least: number, most: number): number {
  if (bits < least || bits > most) throw badImage(`its clusters have 2^${bits} bytes`);
  return 2 ** bits;
}

function checkLimits(start: Buffer, isNew: boolean): void {
  if (start.readUInt32BE(36) * 8 > MAX_L1_BYTES) throw badImage('its L1 table is too large');
  if (start.readUInt32BE(60) > MAX_SNAPSHOTS) throw badImage('it says that it has too many snapshots');
  if (isNew && start.readUInt32BE(96) > MAX_REFCOUNT_ORDER) throw badImage('its refcounts are too wide');
}

/** Bits that have no name here are told by number: a newer QEMU made it. */
function featuresOf(start: Buffer): string[] {
  return featureBits.flatMap(([offset, names]) => {
    const word = start.readBigUInt64BE(offset);
    const found: string[] = [];
    for (let bit = 0; bit < 64; bit += 1)
      if ((word & (1n << BigInt(bit))) !== 0n) found.push(names[bit] ?? `bit-${offset}-${bit}`);
    return found;
  });
}

function compressionOf(start: Buffer, isNew: boolean): string {
  // The field came with headers longer than 104 bytes.
  if (!isNew || start.readUInt32BE(100) <= 104 || start.length <= 104) return 'zlib';
  return ['zlib', 'zstd'][start.readUInt8(104)] ?? 'unknown';
}

export async function describeQcow(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.upTo(0, HEADER_BYTES);
  needSignature(start, 'qcow');
  const { backing, encryption } = parseQcow(start);
  return {
    virtualBytes: uint64(start, 24, 'be'),
    clusterBytes: clusterSize(start.readUInt8(32), 9, 16),
    ...(backing && { backing }),
    ...(encryption !== undefined && { encryption: { method: encryption } }),
  };
}

export async function describeQed(window: ImageWindow): Promise<ImageDetails> {
  const start = await window.upTo(0, HEADER_BYTES);
  needSignature(start, 'qed');
  const { backing } = parseQed(start);
  const clusterBytes = start.readUInt32LE(4);
  if (!Number.isInteger(Math.log2(clusterBytes)) || clusterBytes < 4096 || clusterBytes > 64 * 1024 * 1024)
    throw badImage(`its clusters have ${clusterBytes} bytes`);
  return { virtualBytes: uint64(start, 48, 'le'), clusterBytes, ...(backing && { backing }) };
}
