/** Dirty bitmaps in qcow2 images that nobody uses: which there are, and taking one away. */
import type { FileHandle } from 'node:fs/promises';
import { badImage } from '../image-header/header.ts';
import { bitmapDirectoryOf } from '../image-header/qcow2.ts';
import { readImageHeader } from '../image-header/read.ts';
import { imageNode, runQemuImg } from '../qemu-img.ts';
import { lend } from './lend.ts';
import { openImage, writeFailure } from './new-file.ts';

/** QEMU's own limits (block/qcow2-bitmap.c, BME_MAX_*): 64 KiB for each of 65,535 entries, of which few are used. */
const MAX_DIRECTORY_BYTES = 16 * 1024 * 1024;
const HEADER_BYTES = 64 * 1024;
const ENTRY_BYTES = 24;

/**
 * Takes a bitmap away; false when the image has none of that name. What lies below the image is not touched.
 * @throws VirtError definition.unsupported when it is no qcow2 image, file.*, program.*
 */
export async function deleteBitmap(path: string, name: string): Promise<boolean> {
  const wanted = 'delete a dirty bitmap in an image';
  const handle = await openImage(path, 'write', wanted);
  try {
    await readImageHeader(handle, { format: 'qcow2', offsetBytes: 0 });
    if (!(await bitmapNames(handle)).includes(name)) return false;
    await using lent = await lend([{ handle, writes: true }]);
    await runQemuImg({
      wanted,
      args: ['bitmap', '--remove', '--', imageNode([{ index: 0, format: 'qcow2' }]), name],
      files: lent.files,
      identity: lent.identity,
    });
    await handle.sync();
    return true;
  } catch (error) {
    throw await writeFailure(error, { wanted, neededBytes: 0 }, path);
  } finally {
    await handle.close();
  }
}

/** The names of all bitmaps of a qcow2 image. @throws VirtError definition.unsupported for a broken directory */
export async function bitmapNames(handle: FileHandle): Promise<string[]> {
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
  const directory = bitmapDirectoryOf(buffer.subarray(0, bytesRead));
  if (directory === undefined) return [];
  const { count, offset, bytes } = directory;
  if (bytes > MAX_DIRECTORY_BYTES || !Number.isSafeInteger(offset))
    throw badImage('its directory of bitmaps is broken');
  const table = Buffer.alloc(bytes);
  const read = await handle.read(table, 0, bytes, offset);
  return namesIn(table.subarray(0, read.bytesRead), count);
}

/** QEMU docs/interop/qcow2, "Bitmap directory": 24 bytes, extra data, the name, up to a multiple of 8. */
export function namesIn(table: Buffer, count: number): string[] {
  const names: string[] = [];
  for (let at = 0, left = count; left > 0; left--) {
    if (at + ENTRY_BYTES > table.length) throw badImage('its directory of bitmaps ends too early');
    const nameBytes = table.readUInt16BE(at + 18);
    const name = at + ENTRY_BYTES + table.readUInt32BE(at + 20);
    if (name + nameBytes > table.length) throw badImage('its directory of bitmaps ends too early');
    names.push(table.toString('utf8', name, name + nameBytes));
    at = Math.ceil((name + nameBytes) / 8) * 8;
  }
  return names;
}
