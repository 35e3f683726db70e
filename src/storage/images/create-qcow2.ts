/** New qcow2 images without a process: some writes instead of a program's start (docs/performance.md). */
import type { FileHandle } from 'node:fs/promises';
import type { Work } from '../backend.ts';
import { allocate, writeZeros } from './allocate.ts';
import { withoutCopyOnWrite } from './create-raw.ts';
import { makeFile, throwIfAborted } from './new-file.ts';
import { encodeHeader, layoutQcow2, type Qcow2Layout, type Qcow2Spec } from './qcow2-layout.ts';

const wanted = 'create a qcow2 image';

/**
 * Makes a qcow2 image of mode 0600, as `qemu-img create` would; on failure nothing is left. It is not flushed to disk:
 * whoever gives it its name does. The image below is not looked at, and must be named with its format.
 * @throws VirtError request.invalid, file.exists, file.no-space, file.*, operation.aborted
 */
export async function createQcow2(path: string, spec: Qcow2Spec, work: Work = {}): Promise<void> {
  const layout = layoutQcow2(spec);
  const header = encodeHeader(spec, layout);
  const takesAll = spec.preallocation === 'falloc' || spec.preallocation === 'full';
  const neededBytes = takesAll ? layout.fileBytes : layout.data.offset;
  await makeFile(path, { wanted, neededBytes }, async (handle) => {
    if (spec.nocow === true) withoutCopyOnWrite(handle.fd);
    // A length first: tables that are all zeros are never written.
    await handle.truncate(layout.fileBytes);
    await handle.write(header, 0, header.length, 0);
    await writeRefcounts(handle, layout, work);
    await writeTables(handle, layout, work);
    await prepareData(handle, spec, layout, work);
  });
}

async function prepareData(
  handle: FileHandle,
  spec: Qcow2Spec,
  layout: Qcow2Layout,
  work: Work,
): Promise<void> {
  const data = { offset: layout.data.offset, length: layout.fileBytes - layout.data.offset };
  if (data.length === 0) return;
  if (spec.preallocation === 'falloc') await allocate(handle, data, work, wanted);
  if (spec.preallocation === 'full') await writeZeros(handle, data, work, wanted);
}

/** A table that is written in pieces of bounded size, whatever the image's size. */
interface Table {
  readonly offset: number;
  readonly entries: number;
  readonly entryBytes: number;
  readonly put: (piece: Buffer, at: number, index: number) => void;
}

const PIECE_BYTES = 1024 * 1024;

async function writeTable(handle: FileHandle, table: Table, work: Work): Promise<void> {
  const perPiece = Math.floor(PIECE_BYTES / table.entryBytes);
  for (let first = 0; first < table.entries; first += perPiece) {
    throwIfAborted(work, wanted);
    const count = Math.min(perPiece, table.entries - first);
    const piece = Buffer.alloc(count * table.entryBytes);
    for (let i = 0; i < count; i += 1) table.put(piece, i * table.entryBytes, first + i);
    await writeAll(handle, piece, table.offset + first * table.entryBytes);
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** Every cluster of the new file is used once. */
async function writeRefcounts(handle: FileHandle, layout: Qcow2Layout, work: Work): Promise<void> {
  const { refcountTable, refcountBlocks, clusterBytes } = layout;
  await writeTable(
    handle,
    {
      offset: refcountTable.offset,
      entries: refcountBlocks.clusters,
      entryBytes: 8,
      put: (piece, at, index) => put64(piece, at, refcountBlocks.offset + index * clusterBytes),
    },
    work,
  );
  const entries = layout.fileBytes / clusterBytes;
  const put = (piece: Buffer, at: number) => void piece.writeUInt16BE(1, at);
  await writeTable(handle, { offset: refcountBlocks.offset, entries, entryBytes: 2, put }, work);
}

/** Bit 63 of an entry: nothing else uses what it points at. */
const COPIED = 0x8000_0000;

/** A 64-bit number in two halves: a bigint for each entry would take ten times as long. */
function put64(piece: Buffer, at: number, value: number, flag = 0): void {
  piece.writeUInt32BE((Math.floor(value / 0x1_0000_0000) | flag) >>> 0, at);
  piece.writeUInt32BE(value % 0x1_0000_0000, at + 4);
}

/** L1 and L2 tables of a preallocated image; all others have zeros there, which need not be written. */
async function writeTables(handle: FileHandle, layout: Qcow2Layout, work: Work): Promise<void> {
  const { l1, l2, data, clusterBytes, l2EntryBytes } = layout;
  if (data.clusters === 0) return;
  const l1Table: Table = {
    offset: l1.offset,
    entries: layout.l1Entries,
    entryBytes: 8,
    put: (piece, at, index) => put64(piece, at, l2.offset + index * clusterBytes, COPIED),
  };
  // L2 tables lie one after another. The bitmaps of extended entries stay empty, as in QEMU: such parts read as zeros.
  const l2Tables: Table = {
    offset: l2.offset,
    entries: data.clusters,
    entryBytes: l2EntryBytes,
    put: (piece, at, index) => put64(piece, at, data.offset + index * clusterBytes, COPIED),
  };
  await writeTable(handle, l1Table, work);
  await writeTable(handle, l2Tables, work);
}
