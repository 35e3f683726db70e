/** Has the kernel begin to write to disk what an upload has written, so that the flush at its end has little left to wait for. */
import type { FileHandle } from 'node:fs/promises';
import { startWriteback } from '../../base/ffi/ranges.ts';

/** So much is gathered first: large pieces lie together on the disk. */
const STEP_BYTES = 8 * 1024 * 1024;

/** One file that is written from front to back, by one writer. */
export class WriteBehind {
  private readonly handle: FileHandle;
  private begunTo: number;
  private underWay: Promise<void> | undefined;
  private isUnavailable = false;

  /** @param start where the first byte is written */
  constructor(handle: FileHandle, start: number) {
    this.handle = handle;
    this.begunTo = start;
  }

  /** All up to here has been written by now. */
  wroteTo(end: number): void {
    if (this.isUnavailable || this.underWay !== undefined || end - this.begunTo < STEP_BYTES) return;
    const start = this.begunTo;
    this.begunTo = end;
    this.underWay = this.begin(start, end - start);
  }

  /** Settles when the file may be closed. */
  async settled(): Promise<void> {
    await this.underWay;
  }

  private async begin(start: number, bytes: number): Promise<void> {
    try {
      await startWriteback(this.handle.fd, start, bytes);
    } catch {
      // A file system without it, or a failed write: then the flush at the end does, and tells, it all.
      this.isUnavailable = true;
    } finally {
      this.underWay = undefined;
    }
  }
}
