/** Where everything lies in a new qcow2 image, and its header: pure (QEMU docs/interop/qcow2.rst). */
import { VirtError } from '../../base/errors.ts';

export interface Qcow2Spec {
  /** What a guest sees; rounded up to sectors of 512 bytes, as QEMU does. */
  readonly capacityBytes: number;
  /** `0.10` is version 2 of the format, `1.1` (the default) version 3. */
  readonly compat?: '0.10' | '1.1';
  /** A power of two from 512 bytes to 2 MiB; 64 KiB when left out. */
  readonly clusterSizeBytes?: number;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  /** The image below, as it is written into the header: nothing is opened. `format` is QEMU's word. */
  readonly backing?: { readonly name: string; readonly format: string };
  /** What is prepared ahead: the tables; besides, the space for all data; or that space filled with zeros. */
  readonly preallocation?: 'off' | 'metadata' | 'falloc' | 'full';
  /** Turn copy on write off, on file systems that have it for each file (btrfs). */
  readonly nocow?: boolean;
}

/** A region of whole clusters. */
interface Region {
  readonly offset: number;
  readonly clusters: number;
}

export interface Qcow2Layout {
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly capacityBytes: number;
  readonly refcountTable: Region;
  readonly refcountBlocks: Region;
  readonly l1Entries: number;
  readonly l1: Region;
  /** Both are empty without preallocation. */
  readonly l2: Region;
  readonly data: Region;
  /** Entries of one L2 table, and bytes of one entry. */
  readonly l2Entries: number;
  readonly l2EntryBytes: number;
  /** Length of the whole file. */
  readonly fileBytes: number;
}

const SECTOR_BYTES = 512;
const DEFAULT_CLUSTER_BYTES = 64 * 1024;
const MIN_CLUSTER_BITS = 9;
const MAX_CLUSTER_BITS = 21;
/** Extended entries describe 32 subclusters of at least one sector each. */
const MIN_EXTENDED_CLUSTER_BYTES = 16 * 1024;
/** QEMU's limits for the two tables that it keeps in memory (block/qcow2.h). */
const MAX_L1_BYTES = 32 * 1024 * 1024;
const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
/** Refcounts of 16 bits, QEMU's default and the only width of version 2. */
const REFCOUNT_BYTES = 2;
const TABLE_ENTRY_BYTES = 8;
const MAX_NAME_BYTES = 1023;

/** @throws VirtError request.invalid for options that don't go together, or an image that is too large for its clusters */
export function layoutQcow2(spec: Qcow2Spec): Qcow2Layout {
  const clusterBytes = spec.clusterSizeBytes ?? DEFAULT_CLUSTER_BYTES;
  const version = spec.compat === '0.10' ? 2 : 3;
  checkOptions(spec, clusterBytes, version);
  const capacityBytes = Math.ceil(spec.capacityBytes / SECTOR_BYTES) * SECTOR_BYTES;
  const l2EntryBytes = spec.extendedL2 === true ? 2 * TABLE_ENTRY_BYTES : TABLE_ENTRY_BYTES;
  const l2Entries = clusterBytes / l2EntryBytes;
  const l1Entries = Math.ceil(capacityBytes / (clusterBytes * l2Entries));
  if (l1Entries * TABLE_ENTRY_BYTES > MAX_L1_BYTES) throw tooLarge(clusterBytes);
  const isPrepared = (spec.preallocation ?? 'off') !== 'off';
  return {
    ...place({
      clusterBytes,
      l1: Math.ceil((l1Entries * TABLE_ENTRY_BYTES) / clusterBytes),
      l2: isPrepared ? l1Entries : 0,
      data: isPrepared ? Math.ceil(capacityBytes / clusterBytes) : 0,
    }),
    version,
    clusterBytes,
    capacityBytes,
    l1Entries,
    l2Entries,
    l2EntryBytes,
  };
}

function checkOptions(spec: Qcow2Spec, clusterBytes: number, version: 2 | 3): void {
  const bits = Math.log2(clusterBytes);
  if (!Number.isInteger(bits) || bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS)
    throw invalid('a cluster has 512 bytes to 2 MiB, a power of two');
  if (!Number.isSafeInteger(spec.capacityBytes) || spec.capacityBytes < 0)
    throw invalid('the capacity is no number of bytes');
  if (version === 2 && (spec.lazyRefcounts === true || spec.extendedL2 === true))
    throw invalid('lazy refcounts and extended L2 entries need compat 1.1');
  if (spec.extendedL2 === true && clusterBytes < MIN_EXTENDED_CLUSTER_BYTES)
    throw invalid('extended L2 entries need clusters of at least 16 KiB');
  if (spec.backing !== undefined && (spec.preallocation ?? 'off') !== 'off')
    throw invalid('an image with another one below cannot be preallocated');
  const nameBytes = Buffer.byteLength(spec.backing?.name ?? '');
  if (nameBytes > MAX_NAME_BYTES)
    throw invalid(`the name of the image below has more than ${MAX_NAME_BYTES} bytes`);
}

function invalid(reason: string): VirtError {
  return new VirtError('request.invalid', { wanted: 'create a qcow2 image', reason });
}

function tooLarge(clusterBytes: number): VirtError {
  return new VirtError('request.invalid', {
    wanted: 'create a qcow2 image',
    reason: `it is too large for clusters of ${clusterBytes} bytes`,
    hint: 'use larger clusters',
  });
}

/** Header, refcount table, refcount blocks, L1, L2 tables, data: one after another, and counted all together. */
function place(sizes: { clusterBytes: number; l1: number; l2: number; data: number }) {
  const { clusterBytes } = sizes;
  const perBlock = clusterBytes / REFCOUNT_BYTES;
  const others = 1 + sizes.l1 + sizes.l2 + sizes.data;
  let blocks = 0;
  let table = 0;
  // Refcounts count themselves, too; each round adds less than the one before.
  for (;;) {
    const wanted = Math.ceil((others + table + blocks) / perBlock);
    const wantedTable = Math.ceil((wanted * TABLE_ENTRY_BYTES) / clusterBytes);
    if (wanted === blocks && wantedTable === table) break;
    blocks = wanted;
    table = wantedTable;
  }
  if (table * clusterBytes > MAX_REFCOUNT_TABLE_BYTES) throw tooLarge(clusterBytes);
  let next = 1;
  const region = (clusters: number): Region => {
    const offset = next * clusterBytes;
    next += clusters;
    return { offset, clusters };
  };
  const refcountTable = region(table);
  const refcountBlocks = region(blocks);
  const l1 = region(sizes.l1);
  const l2 = region(sizes.l2);
  const data = region(sizes.data);
  return { refcountTable, refcountBlocks, l1, l2, data, fileBytes: next * clusterBytes };
}

const extensions = { backingFormat: 0xe279_2aca, featureNames: 0x6803_f857 } as const;

const EXTENDED_L2_BIT = 1n << 4n;
const LAZY_REFCOUNTS_BIT = 1n;
const V2_HEADER_BYTES = 72;
/** Version 3 with the field for the compression type, filled up to a multiple of 8. */
const V3_HEADER_BYTES = 112;

/** Names of feature bits, for programs that are too old to know them: kind (incompatible, compatible, autoclear), bit. */
const featureNames: readonly (readonly [kind: 0 | 1 | 2, bit: number, name: string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

/**
 * The first cluster: header, extensions, the name of the image below.
 * @throws VirtError request.invalid when they don't fit into it
 */
export function encodeHeader(spec: Qcow2Spec, layout: Qcow2Layout): Buffer {
  const fixed = encodeFixed(spec, layout);
  const { backing } = spec;
  const name = Buffer.from(backing?.name ?? '');
  const format =
    backing === undefined ? [] : [extension(extensions.backingFormat, Buffer.from(backing.format))];
  const end = Buffer.alloc(8);
  const names = layout.version === 3 ? [extension(extensions.featureNames, encodeFeatureNames())] : [];
  // The names of the features are a courtesy: they stay out where clusters are small, as in QEMU.
  for (const courtesy of [names, []]) {
    const head = Buffer.concat([fixed, ...format, ...courtesy, end]);
    if (head.length + name.length > layout.clusterBytes) continue;
    if (name.length > 0) {
      head.writeBigUInt64BE(BigInt(head.length), 8);
      head.writeUInt32BE(name.length, 16);
    }
    return Buffer.concat([head, name]);
  }
  throw invalid(`the name of the image below does not fit into a cluster of ${layout.clusterBytes} bytes`);
}

function encodeFixed(spec: Qcow2Spec, layout: Qcow2Layout): Buffer {
  const header = Buffer.alloc(layout.version === 3 ? V3_HEADER_BYTES : V2_HEADER_BYTES);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(layout.version, 4);
  header.writeUInt32BE(Math.log2(layout.clusterBytes), 20);
  header.writeBigUInt64BE(BigInt(layout.capacityBytes), 24);
  header.writeUInt32BE(layout.l1Entries, 36);
  header.writeBigUInt64BE(layout.l1Entries === 0 ? 0n : BigInt(layout.l1.offset), 40);
  header.writeBigUInt64BE(BigInt(layout.refcountTable.offset), 48);
  header.writeUInt32BE(layout.refcountTable.clusters, 56);
  if (layout.version === 2) return header;
  header.writeBigUInt64BE(spec.extendedL2 === true ? EXTENDED_L2_BIT : 0n, 72);
  header.writeBigUInt64BE(spec.lazyRefcounts === true ? LAZY_REFCOUNTS_BIT : 0n, 80);
  header.writeUInt32BE(4, 96); // refcount_order: 2^4 bits
  header.writeUInt32BE(V3_HEADER_BYTES, 100);
  return header;
}

function extension(type: number, data: Buffer): Buffer {
  const bytes = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(data.length, 4);
  data.copy(bytes, 8);
  return bytes;
}

function encodeFeatureNames(): Buffer {
  return Buffer.concat(
    featureNames.map(([kind, bit, name]) => {
      const entry = Buffer.alloc(48); // a byte each for kind and bit, 46 for the name
      entry[0] = kind;
      entry[1] = bit;
      entry.write(name, 2);
      return entry;
    }),
  );
}
