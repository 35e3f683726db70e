/** Snapshots inside qcow2 images that nobody uses: making, returning to, deleting, and finding them. */
import type { FileHandle } from 'node:fs/promises';
import { VirtError } from '../../base/errors.ts';
import { badImage } from '../image-header/header.ts';
import { readImageHeader } from '../image-header/read.ts';
import { imageNode, runQemuImg } from '../qemu-img.ts';
import { lend } from './lend.ts';
import { openImage, writeFailure } from './new-file.ts';

/** A snapshot in an image. */
interface SnapshotTag {
  /** QEMU's number for it: `1`, `2`, ... */
  readonly id: string;
  readonly name: string;
  /** Bytes of the guest's memory; 0 without. */
  readonly memoryBytes: number;
}

const MAX_TAGS = 65_536; // QEMU's own limit (block/qcow2.h, QCOW_MAX_SNAPSHOTS)
/** The longest table that is read. A tag with all its texts has 64 KiB at most; common ones have some hundred bytes. */
const MAX_TABLE_BYTES = 16 * 1024 * 1024;

type Verb = 'create' | 'apply' | 'delete';
const options = { create: '-c', apply: '-a', delete: '-d' } as const satisfies Record<Verb, string>;
const wantedOf = {
  create: 'make a snapshot in an image',
  apply: 'return an image to a snapshot',
  delete: 'delete a snapshot in an image',
} as const satisfies Record<Verb, string>;

/**
 * Tags the image's present state. What lies below the image is not touched, and must not change.
 * @throws VirtError definition.unsupported when it is no qcow2 image, file.*, program.*
 */
export function createTag(path: string, name: string): Promise<void> {
  return change(path, name, 'create');
}

/** Puts the image back to what it was. @throws VirtError file.not-found without such a tag, and as createTag */
export function applyTag(path: string, name: string): Promise<void> {
  return change(path, name, 'apply');
}

/** Whether an image has a tag of that name. @throws VirtError as createTag */
export async function hasTag(path: string, name: string): Promise<boolean> {
  const wanted = 'look for a snapshot in an image';
  const handle = await openImage(path, 'read', wanted);
  try {
    await readImageHeader(handle, { format: 'qcow2', offsetBytes: 0 });
    return (await readTags(handle)).some((tag) => tag.name === name);
  } finally {
    await handle.close();
  }
}

/** Takes a tag away; one that is not there is no error. @throws VirtError as createTag */
export function deleteTag(path: string, name: string): Promise<void> {
  return change(path, name, 'delete');
}

async function change(path: string, name: string, verb: Verb): Promise<void> {
  const wanted = wantedOf[verb];
  const handle = await openImage(path, 'write', wanted);
  try {
    await readImageHeader(handle, { format: 'qcow2', offsetBytes: 0 });
    const tags = await readTags(handle);
    if (verb === 'delete' && !tags.some((tag) => tag.name === name)) return;
    refuseAmbiguous(tags, name, { path, wanted, verb });
    const files = [{ handle, writes: true }];
    await using lent = await lend(files);
    await runQemuImg({
      wanted,
      args: ['snapshot', options[verb], name, '--', imageNode([{ index: 0, format: 'qcow2' }])],
      files: lent.files,
      identity: lent.identity,
    });
    await handle.sync();
  } catch (error) {
    throw await writeFailure(error, { wanted, neededBytes: 0 }, path);
  } finally {
    await handle.close();
  }
}

/**
 * QEMU takes a name for a number first (block/qcow2-snapshot.c): `1` would mean another tag than that of the name.
 * @throws VirtError operation.failed
 */
export function refuseAmbiguous(
  tags: readonly SnapshotTag[],
  name: string,
  { path, wanted, verb }: { readonly path: string; readonly wanted: string; readonly verb: Verb },
): void {
  const own = tags.find((tag) => tag.name === name);
  if (verb === 'apply' && own === undefined)
    throw new VirtError('file.not-found', { wanted, reason: `${path}: it has no snapshot '${name}'` });
  if (verb === 'create' && own !== undefined)
    throw new VirtError('file.exists', { wanted, reason: `${path}: it has a snapshot '${name}' already` });
  const other = tags.find((tag) => tag.id === name && tag.name !== name);
  if (other === undefined || verb === 'delete') return;
  throw new VirtError('operation.failed', {
    wanted,
    reason: `${path}: '${name}' is QEMU's number of the snapshot '${other.name}'`,
    hint: 'names that are small numbers can mean two things; use a name with a letter in it',
  });
}

/** QEMU docs/interop/qcow2: the header has the number of snapshots at 60 and the place of their table at 64. */
async function readTags(handle: FileHandle): Promise<SnapshotTag[]> {
  const header = await bytesAt(handle, 60, 12);
  const count = header.readUInt32BE(0);
  if (count === 0) return [];
  const offset = Number(header.readBigUInt64BE(4));
  if (count > MAX_TAGS || !Number.isSafeInteger(offset)) throw badImage('its table of snapshots is broken');
  const { size } = await handle.stat();
  const length = Math.min(MAX_TABLE_BYTES, Math.max(0, size - offset));
  return parseTable(await bytesAt(handle, offset, length), count);
}

/** Entries of 40 bytes, then extra data, the number and the name as texts, up to a multiple of 8. */
export function parseTable(table: Buffer, count: number): SnapshotTag[] {
  const tags: SnapshotTag[] = [];
  for (let at = 0, left = count; left > 0; left--) {
    if (at + 40 > table.length) throw badImage('its table of snapshots ends too early');
    const idBytes = table.readUInt16BE(at + 12);
    const nameBytes = table.readUInt16BE(at + 14);
    const extraBytes = table.readUInt32BE(at + 36);
    const texts = at + 40 + extraBytes;
    const end = texts + idBytes + nameBytes;
    if (end > table.length) throw badImage('its table of snapshots ends too early');
    tags.push({
      id: table.toString('utf8', texts, texts + idBytes),
      name: table.toString('utf8', texts + idBytes, end),
      // Version 3 has the full size in the extra data.
      memoryBytes: extraBytes >= 8 ? Number(table.readBigUInt64BE(at + 40)) : table.readUInt32BE(at + 32),
    });
    at = Math.ceil(end / 8) * 8;
  }
  return tags;
}

async function bytesAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await handle.read(bytes, 0, length, offset);
  return bytes.subarray(0, bytesRead);
}
