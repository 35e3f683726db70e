/** Reading here and there in an image of unknown origin: never past its end, and never more than a fixed amount in all. */
import type { FileHandle } from 'node:fs/promises';
import { badImage } from './header.ts';

/** The bytes of one image. */
export interface ImageBytes {
  readonly lengthBytes: number;
  /** Fewer bytes than asked for only where the image ends. */
  read(offset: number, length: number): Promise<Buffer>;
}

/** All that one look may read: enough for every header there is, and nothing for a guest to make us busy with. */
const MAX_READ_BYTES = 4 * 1024 * 1024;
const MAX_READS = 128;

/** An open file or device as ImageBytes. */
export function bytesOf(handle: FileHandle, lengthBytes: number): ImageBytes {
  return {
    lengthBytes,
    async read(offset, length) {
      const buffer = Buffer.alloc(Math.max(0, Math.min(length, lengthBytes - offset)));
      let at = 0;
      while (at < buffer.length) {
        const { bytesRead } = await handle.read(buffer, at, buffer.length - at, offset + at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      return buffer.subarray(0, at);
    },
  };
}

export class ImageWindow {
  readonly lengthBytes: number;
  private readonly bytes: ImageBytes;
  private leftBytes = MAX_READ_BYTES;
  private leftReads = MAX_READS;

  constructor(bytes: ImageBytes) {
    this.bytes = bytes;
    this.lengthBytes = bytes.lengthBytes;
  }

  /**
   * Exactly these bytes.
   * @throws VirtError definition.unsupported when they lie outside of the image, or the look has read enough
   */
  async at(offset: number, length: number, what: string): Promise<Buffer> {
    const isSane = Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.lengthBytes;
    if (!isSane) throw badImage(`its ${what} lies outside of it`);
    const bytes = await this.upTo(offset, length);
    if (bytes.length < length) throw badImage(`its ${what} lies outside of it`);
    return bytes;
  }

  /** As many of these bytes as there are. */
  async upTo(offset: number, length: number): Promise<Buffer> {
    this.leftBytes -= length;
    this.leftReads -= 1;
    if (this.leftBytes < 0 || this.leftReads < 0) throw badImage('its header is spread over too much');
    return this.bytes.read(offset, length);
  }
}
