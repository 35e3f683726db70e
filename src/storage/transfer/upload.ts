/**
 * Takes the bytes of an upload off a connection and writes them to an open file, at the pace of the disk. The connection
 * gets one line of JSON at the end: what came of it.
 */

import type { FileHandle } from 'node:fs/promises';
import { Duplex } from 'node:stream';
import { withoutBytes } from '../../base/buffers.ts';
import { Checksum } from '../../base/checksum.ts';
import { VirtError } from '../../base/errors.ts';
import { fallocate } from '../../base/ffi/ranges.ts';
import { FrameReader, type Piece } from '../../base/sparse-frames.ts';
import { WriteBehind } from './write-behind.ts';

/** Bytes that wait for the disk at most; then the client waits. */
const QUEUE_BYTES = 2 * 1024 * 1024;

export interface UploadOptions {
  readonly handle: FileHandle;
  /** Where the first byte goes. */
  readonly start: number;
  /** How many bytes come; undefined: the stream says when it ends, which only frames can. */
  readonly length: number | undefined;
  /** The most that may come. */
  readonly limit: number;
  /** The stream is made of frames (base/sparse-frames.ts), else it is the bytes themselves. */
  readonly isFramed: boolean;
  /** The file is new, so that a hole need not be made. */
  readonly isNew: boolean;
  /** Has seen what comes before `start`, when that belongs to the sum; undefined: nobody wants one. */
  readonly checksum: Checksum | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (doneBytes: number) => void;
}

export interface Received {
  /** Bytes that came, holes counted. */
  readonly bytes: number;
  readonly sha256: string | undefined;
}

/** One upload: `stream` is for the connection, `received` settles when all bytes are written (not yet synced). */
export class Upload {
  readonly stream: Duplex;
  readonly received: Promise<Received>;
  private readonly options: UploadOptions;
  private readonly frames: FrameReader | undefined;
  private readonly behind: WriteBehind;
  private readonly settle: PromiseWithResolvers<Received>;
  private done = 0;
  private told: string | undefined;
  private hasEnded = false;
  private hasFailed = false;

  constructor(options: UploadOptions) {
    this.options = options;
    this.frames = options.isFramed ? new FrameReader() : undefined;
    this.behind = new WriteBehind(options.handle, options.start);
    this.settle = Promise.withResolvers<Received>();
    this.received = this.outcome();
    this.received.catch(() => undefined); // Whoever wants to know asks `received`.
    this.stream = this.makeStream();
    options.signal.addEventListener('abort', () => this.fail(options.signal.reason), { once: true });
    if (options.length === 0 && !options.isFramed) this.end();
  }

  /** What came of it; the file may be closed then. */
  private async outcome(): Promise<Received> {
    try {
      return await this.settle.promise;
    } finally {
      await this.behind.settled();
    }
  }

  /** Sends the last line and ends the stream. */
  answer(line: string): void {
    if (this.stream.destroyed) return;
    this.stream.push(`${line}\n`);
    this.stream.push(null);
  }

  private makeStream(): Duplex {
    const take = async (chunks: readonly Buffer[], callback: (error?: Error | null) => void) => {
      try {
        await this.take(chunks);
      } catch (error) {
        this.fail(error); // What still comes is dropped, so that the client gets to read why.
      }
      callback();
    };
    return new Duplex({
      writableHighWaterMark: QUEUE_BYTES,
      read: () => undefined,
      write: (chunk: Buffer, _encoding, callback) => void take([chunk], callback),
      writev: (chunks, callback) =>
        void take(
          chunks.map(({ chunk }) => chunk as Buffer),
          callback,
        ),
      final: (callback) => {
        if (!this.hasEnded) this.fail(brokeOff(this.done));
        callback();
      },
      destroy: (error, callback) => {
        this.fail(brokeOff(this.done));
        callback(error);
      },
    });
  }

  private fail(error: unknown): void {
    this.hasFailed = true;
    this.settle.reject(error);
  }

  private async take(chunks: readonly Buffer[]): Promise<void> {
    if (this.hasFailed) return;
    const pieces = chunks.flatMap((chunk): Piece[] =>
      this.frames === undefined ? [{ kind: 'data', bytes: chunk }] : this.frames.read(chunk),
    );
    for (let next = 0; next < pieces.length; ) {
      if (this.hasFailed) return;
      next = await this.takePieces(pieces, next);
    }
  }

  /** Takes one piece, or as many of data as follow each other; returns which is next. */
  private async takePieces(pieces: readonly Piece[], from: number): Promise<number> {
    const first = pieces[from];
    if (first?.kind !== 'data') {
      if (first !== undefined) await this.takeOther(first);
      return from + 1;
    }
    const buffers: Buffer[] = [];
    let next = from;
    for (let piece = pieces[next]; piece?.kind === 'data'; piece = pieces[++next]) buffers.push(piece.bytes);
    await this.write(buffers);
    return next;
  }

  private async takeOther(piece: Exclude<Piece, { kind: 'data' }>): Promise<void> {
    if (piece.kind === 'hole') return this.skip(piece.length);
    if (piece.kind === 'error')
      throw new VirtError('stream.failed', { reason: `the client gave up: ${piece.text}` });
    this.told = piece.sha256;
    this.end();
  }

  private async write(buffers: Buffer[]): Promise<void> {
    const bytes = buffers.reduce((sum, { length }) => sum + length, 0);
    this.admit(bytes);
    const { handle, start, checksum } = this.options;
    const writing = writeAll(handle, buffers, start + this.done);
    // The sum is computed while another thread writes.
    for (const buffer of buffers) checksum?.update(buffer);
    await writing;
    this.advance(bytes);
    if (!this.hasEnded && !this.hasFailed) this.behind.wroteTo(start + this.done);
  }

  private async skip(bytes: number): Promise<void> {
    this.admit(bytes);
    const { handle, start, isNew, checksum, signal } = this.options;
    if (!isNew) await zero(handle, start + this.done, bytes, signal);
    await checksum?.skip(bytes, signal);
    this.advance(bytes);
  }

  private admit(bytes: number): void {
    const { length, limit } = this.options;
    const most = Math.min(length ?? limit, limit);
    if (this.done + bytes <= most) return;
    throw new VirtError('request.invalid', {
      wanted: 'write an upload',
      reason: `more than ${most} bytes came`,
      hint:
        length !== undefined && length <= limit
          ? 'that is the length that was announced'
          : 'make the volume larger, or send less',
    });
  }

  private advance(bytes: number): void {
    this.done += bytes;
    this.options.onProgress(this.done);
    if (this.frames === undefined && this.done === this.options.length) this.end();
  }

  private end(): void {
    const { length, checksum } = this.options;
    if (length !== undefined && this.done !== length) throw brokeOff(this.done);
    this.hasEnded = true;
    const sha256 = checksum?.digest().toString('hex');
    if (this.told !== undefined && sha256 !== undefined && this.told !== sha256)
      throw wrongSum(this.told, sha256);
    this.settle.resolve({ bytes: this.done, sha256 });
  }
}

function brokeOff(done: number): VirtError {
  return new VirtError('stream.failed', {
    wanted: 'write an upload',
    reason: `the byte stream broke off after ${done} bytes`,
  });
}

/** What came is not what was sent, or not what was wanted. */
export function wrongSum(wanted: string, found: string): VirtError {
  return new VirtError('stream.failed', {
    wanted: 'check an upload',
    reason: `the SHA-256 is ${found}, not ${wanted}`,
    hint: 'send it again',
    details: { sha256: found },
  });
}

export function isWrongSum(error: unknown): boolean {
  return error instanceof VirtError && error.details?.['sha256'] !== undefined;
}

/** Writes all of them, however little the kernel takes at a time. */
async function writeAll(handle: FileHandle, buffers: readonly Buffer[], position: number): Promise<void> {
  let at = position;
  let left = [...buffers];
  while (left.length > 0) {
    const { bytesWritten } = await handle.writev(left, at);
    at += bytesWritten;
    left = withoutBytes(left, bytesWritten);
  }
}

const ZEROS = Buffer.alloc(1024 * 1024);

/** Makes a range read as zeros: without taking space where the file system can, else by writing. */
async function zero(handle: FileHandle, at: number, bytes: number, signal: AbortSignal): Promise<void> {
  const { size } = await handle.stat();
  const isFile = (await handle.stat()).isFile();
  // Past the end of a file there is nothing to be zeroed; the file gets its length with the next write.
  const end = isFile ? Math.min(at + bytes, size) : at + bytes;
  if (isFile && at + bytes > size) await handle.truncate(at + bytes);
  if (end <= at) return;
  try {
    await fallocate(handle.fd, 'punch', at, end - at);
    return;
  } catch {
    // Whatever the reason, zeros that are written serve as well, and their failure is the one to tell.
  }
  for (let position = at; position < end; ) {
    signal.throwIfAborted();
    const length = Math.min(ZEROS.length, end - position);
    const { bytesWritten } = await handle.write(ZEROS, 0, length, position);
    position += bytesWritten;
  }
}
