/** Upload and download for programs: a local file, with its holes, to and from a volume; checked at the end. */
import type { FileHandle } from 'node:fs/promises';
import type { Duplex, Readable } from 'node:stream';
import { Checksum } from '../base/checksum.ts';
import { reasonOf, VirtError } from '../base/errors.ts';
import { type Segment, segmentsOf } from '../base/file-segments.ts';
import { endFrame, FrameReader, frameHeader, type Piece } from '../base/sparse-frames.ts';
import type { VireoClient } from './client.ts';
import { asObject, readAnswer } from './client-answer.ts';
import type { ParamsInput, Result } from './index.ts';
import { type UploadEnd, uploadEnd } from './volume-transfer.ts';

const CHUNK_BYTES = 512 * 1024;
/** The longest last line. */
const MAX_LINE_BYTES = 1024 * 1024;

export interface TransferOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number, totalBytes: number | undefined) => void) | undefined;
}

export interface UploadSource {
  /** A regular file or block device, of which `length` bytes from `start` are sent; or a stream that ends some time. */
  readonly from: { readonly handle: FileHandle; readonly start: number; readonly length: number } | Readable;
  readonly params: Omit<ParamsInput<'volume.upload'>, 'length'>;
  /** Called when the daemon is ready, before the first byte is sent. */
  readonly onBegin?: (begun: Result<'volume.upload'>) => void;
}

/**
 * Sends a file or stream into a volume. What comes from a stream travels in frames, since nobody knows its length.
 * @throws VirtError with the daemon's code; stream.failed when the connection broke
 */
export async function uploadVolume(
  client: VireoClient,
  source: UploadSource,
  options: TransferOptions = {},
): Promise<UploadEnd> {
  const { from } = source;
  const isFile = 'handle' in from;
  const isFramed = !isFile || source.params.sparse === true;
  const params = { ...source.params, sparse: isFramed, ...(isFile && { length: from.length }) };
  const { result, stream } = await client.upgrade('volume.upload', params, signalOf(options));
  const sending = () => {
    source.onBegin?.(result);
    return send(stream, from, { isFramed, skip: result.offset, options });
  };
  return uploadEnd.parse(await answerTo(stream, sending, options));
}

/**
 * Sends, and gives what the daemon says in the last line; that may come before all is sent. The stream is destroyed.
 * @throws VirtError with the daemon's code
 */
export async function answerTo(
  stream: Duplex,
  sending: () => Promise<void>,
  options: TransferOptions,
): Promise<unknown> {
  const end = lastLine(stream);
  const stop = destroyOn(stream, options.signal);
  try {
    await Promise.race([sending(), end]);
    const answer = readAnswer(asObject(JSON.parse(await end)));
    if ('error' in answer) throw answer.error;
    return answer.result;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    stop();
    stream.destroy();
  }
}

interface Sending {
  readonly isFramed: boolean;
  /** Bytes that are there already. */
  readonly skip: number;
  readonly options: TransferOptions;
}

export async function send(stream: Duplex, from: UploadSource['from'], sending: Sending): Promise<void> {
  if ('handle' in from) await sendFile(stream, from, sending);
  else await sendStream(stream, from, sending);
  if (sending.isFramed) await write(stream, endFrame(undefined));
  stream.end();
}

async function sendFile(
  stream: Duplex,
  { handle, start, length }: { readonly handle: FileHandle; readonly start: number; readonly length: number },
  { isFramed, skip, options }: Sending,
): Promise<void> {
  const [from, to] = [start + skip, start + length];
  const whole: Segment[] = from < to ? [{ kind: 'data', start: from, end: to }] : [];
  for (const { kind, start: begin, end } of isFramed ? segmentsOf(handle, from, to) : whole) {
    if (isFramed) await write(stream, frameHeader(kind, end - begin));
    if (kind === 'data')
      await sendData(stream, handle, { begin, end, tell: (at) => options.onProgress?.(at - start, length) });
  }
}

async function sendData(
  stream: Duplex,
  handle: FileHandle,
  { begin, end, tell }: { readonly begin: number; readonly end: number; readonly tell: (at: number) => void },
): Promise<void> {
  for (let at = begin; at < end; ) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0)
      throw new VirtError('stream.failed', { wanted: 'send a file', reason: 'it became shorter' });
    await write(stream, buffer.subarray(0, bytesRead));
    at += bytesRead;
    tell(at);
  }
}

async function sendStream(stream: Duplex, from: Readable, { skip, options }: Sending): Promise<void> {
  let at = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    const bytes = at < skip ? chunk.subarray(Math.min(chunk.length, skip - at)) : chunk;
    at += chunk.length;
    if (bytes.length === 0) continue;
    await write(stream, frameHeader('data', bytes.length));
    await write(stream, bytes);
    options.onProgress?.(at, undefined);
  }
}

/** Writes, and waits while the daemon is behind. A stream that broke is told by its last line. */
async function write(stream: Duplex, bytes: Buffer): Promise<void> {
  if (stream.destroyed) throw broken();
  if (stream.write(bytes)) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once('drain', resolve);
  stream.once('close', resolve);
  await promise;
  stream.off('drain', resolve);
  stream.off('close', resolve);
}

const broken = () =>
  new VirtError('stream.failed', { wanted: 'send a volume', reason: 'the connection broke' });

/** All that the daemon says, which is one line. */
export function lastLine(stream: Duplex): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (text.length > MAX_LINE_BYTES) reject(broken());
    if (text.endsWith('\n')) resolve(Buffer.from(text, 'latin1').toString());
  });
  stream.on('error', (error) =>
    reject(
      new VirtError('stream.failed', { wanted: 'send a volume', reason: reasonOf(error), cause: error }),
    ),
  );
  stream.once('close', () => reject(broken()));
  promise.catch(() => undefined); // Asked for when all is sent, or at once when sending failed.
  return promise;
}

export interface Downloaded {
  readonly bytes: number;
  readonly sha256: string;
}

export interface DownloadTarget {
  /** An open file, from `start` on; or a writable stream, to which holes go as zeros. */
  readonly to: { readonly handle: FileHandle; readonly start: number } | NodeJS.WritableStream;
  readonly params: ParamsInput<'volume.download'>;
  readonly onBegin?: (begun: Result<'volume.download'>) => void;
}

/**
 * Fetches a volume, always in frames, so that a failure of the daemon is told; the checksum is compared.
 * @throws VirtError with the daemon's code; stream.failed when the connection broke or the bytes are not those sent
 */
export async function downloadVolume(
  client: VireoClient,
  { to, params, onBegin }: DownloadTarget,
  options: TransferOptions = {},
): Promise<Downloaded> {
  const { result, stream } = await client.upgrade(
    'volume.download',
    { ...params, sparse: true },
    signalOf(options),
  );
  const stop = destroyOn(stream, options.signal);
  try {
    onBegin?.(result);
    const taker = new Taker(to, params.checksum !== false);
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      for (const piece of taker.read(chunk)) await taker.take(piece);
      options.onProgress?.(taker.done, result.length);
    }
    return await taker.finish();
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof VirtError) throw error;
    throw new VirtError('stream.failed', {
      wanted: 'fetch a volume',
      reason: reasonOf(error),
      cause: error,
    });
  } finally {
    stop();
    stream.destroy();
  }
}

const ZEROS = Buffer.alloc(1024 * 1024);

/** Writes what comes, and sums it up. */
class Taker {
  done = 0;
  private readonly to: DownloadTarget['to'];
  private readonly frames = new FrameReader();
  private readonly checksum: Checksum | undefined;
  private told: string | undefined;

  constructor(to: DownloadTarget['to'], hasChecksum: boolean) {
    this.to = to;
    this.checksum = hasChecksum ? new Checksum() : undefined;
  }

  read(chunk: Buffer): Piece[] {
    return this.frames.read(chunk);
  }

  async take(piece: Piece): Promise<void> {
    switch (piece.kind) {
      case 'data':
        await this.write(piece.bytes);
        this.done += piece.bytes.length;
        return;
      case 'hole':
        await this.skip(piece.length);
        this.done += piece.length;
        return;
      case 'end':
        this.told = piece.sha256;
        return;
      case 'error':
        throw new VirtError('stream.failed', { wanted: 'fetch a volume', reason: piece.text });
    }
  }

  private async write(bytes: Buffer): Promise<void> {
    if ('handle' in this.to) {
      const writing = writeWhole(this.to.handle, bytes, this.to.start + this.done);
      this.checksum?.update(bytes);
      await writing;
    } else {
      this.checksum?.update(bytes);
      await writeTo(this.to, bytes);
    }
  }

  private async skip(length: number): Promise<void> {
    await this.checksum?.skip(length);
    if ('handle' in this.to) return;
    for (let left = length; left > 0; left -= ZEROS.length)
      await writeTo(this.to, left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS);
  }

  async finish(): Promise<Downloaded> {
    if (!this.frames.hasEnded)
      throw new VirtError('stream.failed', { wanted: 'fetch a volume', reason: 'the connection broke' });
    if ('handle' in this.to && (await this.to.handle.stat()).size < this.to.start + this.done)
      await this.to.handle.truncate(this.to.start + this.done);
    const sha256 = this.checksum?.digest().toString('hex') ?? '';
    if (this.checksum !== undefined && sha256 !== this.told)
      throw new VirtError('stream.failed', {
        wanted: 'fetch a volume',
        reason: `the SHA-256 of what came is ${sha256}, not ${this.told ?? 'told'}`,
        hint: 'fetch it again',
      });
    return { bytes: this.done, sha256 };
  }
}

async function writeWhole(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function writeTo(stream: NodeJS.WritableStream, bytes: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stream.write(bytes, (error) => (error ? reject(error) : resolve()));
  await promise;
}

export function signalOf({ signal }: TransferOptions): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** Leaves when the signal says so; the daemon then drops what was half done, or keeps it to be resumed. */
export function destroyOn(stream: Duplex, signal: AbortSignal | undefined): () => void {
  const leave = () => stream.destroy();
  signal?.addEventListener('abort', leave, { once: true });
  return () => signal?.removeEventListener('abort', leave);
}
