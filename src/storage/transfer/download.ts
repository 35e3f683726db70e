/** Sends the bytes of an open file over a connection, at the pace of the client, with holes left out where it wants that. */

import type { FileHandle } from 'node:fs/promises';
import { Duplex } from 'node:stream';
import { Checksum } from '../../base/checksum.ts';
import { reasonOf, VirtError } from '../../base/errors.ts';
import { type Segment, segmentsOf } from '../../base/file-segments.ts';
import { endFrame, errorFrame, frameHeader } from '../../base/sparse-frames.ts';

/** How much is read at a time: whole pages, as many as a packet of libvirt's protocol holds. */
const CHUNK_BYTES = 252 * 1024;
/** Bytes that wait for the client at most. */
const WAITING_BYTES = 4 * CHUNK_BYTES;

export interface DownloadOptions {
  readonly handle: FileHandle;
  readonly start: number;
  readonly length: number;
  /** Send frames (base/sparse-frames.ts) with holes as such; else the bytes themselves, then one line of JSON. */
  readonly isFramed: boolean;
  /** Compute the SHA-256 and tell it at the end. */
  readonly hasChecksum: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (doneBytes: number) => void;
}

/** One download: `stream` is for the connection, `sent` settles when all was handed to it, or failed. */
export class Download {
  readonly stream: Duplex;
  readonly sent: Promise<void>;
  private readonly options: DownloadOptions;
  private readonly checksum: Checksum | undefined;
  private readonly gone = new AbortController();
  private readonly signal: AbortSignal;
  private wake: (() => void) | undefined;
  /** Buffers that were given back. */
  private readonly slabs: Buffer[] = [];

  constructor(options: DownloadOptions) {
    this.options = options;
    this.checksum = options.hasChecksum ? new Checksum() : undefined;
    this.signal = AbortSignal.any([options.signal, this.gone.signal]);
    this.stream = new Duplex({
      readableHighWaterMark: WAITING_BYTES,
      read: () => this.wake?.(),
      write: (_chunk, _encoding, callback) => callback(), // A client has nothing to say here.
      destroy: (error, callback) => {
        this.gone.abort(new VirtError('operation.aborted', { reason: 'the client left' }));
        callback(error);
      },
    });
    this.sent = this.send();
    this.sent.catch(() => undefined); // Whoever wants to know asks `sent`.
  }

  /**
   * Takes back a buffer that came out of the stream and that nobody looks at any more. Fresh ones for all of a large
   * volume are mostly work for the garbage collector.
   */
  giveBack(bytes: Buffer): void {
    if (bytes.buffer.byteLength === CHUNK_BYTES) this.slabs.push(Buffer.from(bytes.buffer));
  }

  private async send(): Promise<void> {
    const { start, length, isFramed } = this.options;
    try {
      for (const segment of this.segments(start, start + length)) await this.sendSegment(segment);
      this.signal.throwIfAborted();
      await this.push(this.trailer());
      this.stream.push(null);
      await this.drained();
    } catch (error) {
      // Bytes without frames cannot tell of an error: they end before their length.
      if (isFramed && !this.stream.destroyed) this.stream.push(errorFrame(reasonOf(error)));
      if (isFramed) this.stream.push(null);
      else this.stream.destroy();
      throw error;
    }
  }

  private segments(start: number, end: number): Iterable<Segment> {
    if (this.options.isFramed) return segmentsOf(this.options.handle, start, end);
    return start < end ? [{ kind: 'data', start, end }] : [];
  }

  private async sendSegment({ kind, start, end }: Segment): Promise<void> {
    const { isFramed, onProgress } = this.options;
    if (kind === 'hole') {
      if (isFramed) await this.push(frameHeader(kind, end - start));
      await this.checksum?.skip(end - start, this.signal);
      onProgress(end - this.options.start);
      return;
    }
    await this.sendData(start, end);
  }

  /** Reads the next piece while the one before it is sent. */
  private async sendData(start: number, end: number): Promise<void> {
    const { isFramed, onProgress } = this.options;
    let at = start;
    let reading = this.readAt(at, end);
    while (at < end) {
      const chunk = await reading;
      at += chunk.length;
      if (at < end) reading = this.readAt(at, end);
      reading.catch(() => undefined); // Told when its turn comes.
      // A frame for each read: a failure can only be told between two.
      const header = isFramed ? [frameHeader('data', chunk.length)] : [];
      this.checksum?.update(chunk);
      await this.push(...header, chunk);
      onProgress(at - this.options.start);
    }
  }

  private async readAt(at: number, end: number): Promise<Buffer> {
    this.signal.throwIfAborted();
    const buffer = this.slabs.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const length = Math.min(CHUNK_BYTES, end - at);
    const { bytesRead } = await this.options.handle.read(buffer, 0, length, at);
    if (bytesRead === 0)
      throw new VirtError('stream.failed', {
        wanted: 'read a volume',
        reason: `it became shorter: ${at} bytes are left`,
      });
    return buffer.subarray(0, bytesRead);
  }

  private trailer(): Buffer {
    const sum = this.checksum?.digest();
    if (this.options.isFramed) return endFrame(sum);
    return Buffer.from(`${JSON.stringify({ sha256: sum?.toString('hex') ?? null })}\n`);
  }

  /** Hands bytes to the stream; waits while the client is behind. */
  private async push(...buffers: readonly Buffer[]): Promise<void> {
    this.signal.throwIfAborted();
    let hasRoom = true;
    for (const bytes of buffers) hasRoom = this.stream.push(bytes);
    if (hasRoom) return;
    await this.pause((resume) => {
      this.wake = resume;
    });
    this.wake = undefined;
  }

  /** Settles when the connection has taken the last byte. */
  private async drained(): Promise<void> {
    if (this.stream.readableEnded) return;
    await this.pause((resume) => this.stream.once('end', resume));
  }

  private async pause(begin: (resume: () => void) => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(this.signal.reason as Error);
    this.signal.addEventListener('abort', onAbort, { once: true });
    begin(resolve);
    try {
      await promise;
    } finally {
      this.signal.removeEventListener('abort', onAbort);
    }
  }
}
