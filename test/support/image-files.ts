/** Image files for tests with the real qemu-img: places for them, contents, and what they are. */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { describeOpenImage, type ImageFileDetails } from '../../src/storage/image-header/details.ts';
import { openImage } from '../../src/storage/images/new-file.ts';

export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;

export async function detailsOf(path: string, format: string): Promise<ImageFileDetails> {
  const handle = await openImage(path, 'read', 'test');
  try {
    return await describeOpenImage(handle, format);
  } finally {
    await handle.close();
  }
}

export const virtualBytes = async ({ path, format }: { readonly path: string; readonly format: string }) =>
  (await detailsOf(path, format)).virtualBytes;

/** 24 MiB with data at its beginning, in its middle and at its end, and holes between. */
export function patchy(path: string): string {
  const fd = openSync(path, 'w');
  for (const at of [0, 7 * MIB + 4096, 24 * MIB - 65_536]) writeSync(fd, randomBytes(65_536), 0, 65_536, at);
  ftruncateSync(fd, 24 * MIB);
  closeSync(fd);
  return path;
}
