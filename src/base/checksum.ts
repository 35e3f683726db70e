/** SHA-256 of bytes with holes, computed as they pass: a hole counts as the zeros that it stands for. */
import { createHash, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { VirtError } from './errors.ts';
import { Turns } from './turns.ts';

const ZEROS = Buffer.alloc(1024 * 1024);
const READ_BYTES = 1024 * 1024;

export class Checksum {
  private readonly hash: Hash = createHash('sha256');

  update(bytes: Buffer): void {
    this.hash.update(bytes);
  }

  /** A hole. Others are served in between. */
  async skip(length: number, signal?: AbortSignal): Promise<void> {
    const turns = new Turns();
    for (let left = length; left > 0; left -= ZEROS.length) {
      signal?.throwIfAborted();
      this.hash.update(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS);
      await turns.share();
    }
  }

  /** What a file has from `start` to `end`. @throws VirtError stream.failed when it is shorter */
  async readFrom(handle: FileHandle, start: number, end: number, signal?: AbortSignal): Promise<void> {
    const buffer = Buffer.alloc(READ_BYTES);
    for (let at = start; at < end; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, end - at), at);
      if (bytesRead === 0) throw new VirtError('stream.failed', { reason: 'the file became shorter' });
      this.hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  }

  digest(): Buffer {
    return this.hash.digest();
  }
}
