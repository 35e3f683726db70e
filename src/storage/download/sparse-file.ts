/** Writes bytes in order into a new file and leaves out what is all zero, so that an image stays as small as it can. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Zeros are looked for in blocks of this size, aligned: what file systems can leave out. */
const BLOCK_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

export class SparseFile implements AsyncDisposable {
  private readonly handle: FileHandle;
  private position = 0;

  private constructor(handle: FileHandle) {
    this.handle = handle;
  }

  /** Nothing may be at the path. */
  static async create(path: string): Promise<SparseFile> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return new SparseFile(await open(path, flags, 0o600));
  }

  get bytes(): number {
    return this.position;
  }

  async append(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      const room = BLOCK_BYTES - (this.position % BLOCK_BYTES);
      const piece = chunk.subarray(at, at + room);
      if (!piece.equals(ZEROS.subarray(0, piece.length))) await this.write(piece);
      this.position += piece.length;
      at += piece.length;
    }
  }

  private async write(piece: Buffer): Promise<void> {
    for (let at = 0; at < piece.length; ) {
      const { bytesWritten } = await this.handle.write(piece, at, piece.length - at, this.position + at);
      at += bytesWritten;
    }
  }

  /** Zeros at the end count, too. */
  async finish(): Promise<void> {
    await this.handle.truncate(this.position);
    await this.handle.sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
  }
}
