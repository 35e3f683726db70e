/**
 * How bytes with holes travel (docs/volume-streams.md): frames of a nine-byte header, a letter and a length of 64 bits in
 * network order. `D` is followed by that many bytes of data; `H` is a hole that long, followed by nothing; `E` ends the
 * stream, followed by the SHA-256 of all that it stands for (32 bytes) or nothing; `X` ends it with an error, JSON text.
 */
import { VirtError } from './errors.ts';

export const FRAME_HEADER_BYTES = 9;
const SHA256_BYTES = 32;
/** The longest error text that is read. */
const MAX_ERROR_BYTES = 64 * 1024;

const letters = { data: 'D', hole: 'H', end: 'E', error: 'X' } as const;
type Kind = keyof typeof letters;
const kinds = new Map<number, Kind>(
  Object.entries(letters).map(([kind, letter]) => [letter.charCodeAt(0), kind as Kind]),
);

/** What a stream of frames says, piece by piece; data comes as it arrives, in any portions. */
export type Piece =
  | { readonly kind: 'data'; readonly bytes: Buffer }
  | { readonly kind: 'hole'; readonly length: number }
  /** `sha256` in hexadecimal digits, where the sender told it. */
  | { readonly kind: 'end'; readonly sha256: string | undefined }
  | { readonly kind: 'error'; readonly text: string };

export function frameHeader(kind: Kind, length: number): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.write(letters[kind], 0, 'latin1');
  header.writeBigUInt64BE(BigInt(length), 1);
  return header;
}

export function endFrame(sha256: Buffer | undefined): Buffer {
  return sha256 === undefined
    ? frameHeader('end', 0)
    : Buffer.concat([frameHeader('end', SHA256_BYTES), sha256]);
}

export function errorFrame(text: string): Buffer {
  const bytes = Buffer.from(text).subarray(0, MAX_ERROR_BYTES);
  return Buffer.concat([frameHeader('error', bytes.length), bytes]);
}

/** Takes frames apart. It keeps no data: at most a header, or the short text at the end. */
export class FrameReader {
  private held = Buffer.alloc(0);
  private frame: { readonly kind: Kind; left: number } | undefined;
  private ended = false;

  /** True after the end frame; nothing may follow it. */
  get hasEnded(): boolean {
    return this.ended;
  }

  /** @throws VirtError stream.failed for what is no frame */
  read(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
    let rest = chunk;
    while (rest.length > 0) {
      if (this.ended) throw broken('something follows its end');
      rest = this.frame === undefined ? this.readHeader(rest, pieces) : this.readBody(rest, pieces);
    }
    return pieces;
  }

  private readHeader(chunk: Buffer, pieces: Piece[]): Buffer {
    const need = FRAME_HEADER_BYTES - this.held.length;
    this.held = Buffer.concat([this.held, chunk.subarray(0, need)]);
    const rest = chunk.subarray(need);
    if (this.held.length < FRAME_HEADER_BYTES) return rest;
    const kind = kinds.get(this.held[0] ?? 0);
    const length = this.held.readBigUInt64BE(1);
    this.held = Buffer.alloc(0);
    if (kind === undefined) throw broken('a frame is of unknown kind');
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw broken('a length is out of range');
    this.begin(kind, Number(length), pieces);
    return rest;
  }

  private begin(kind: Kind, length: number, pieces: Piece[]): void {
    if (kind === 'hole') pieces.push({ kind, length });
    else if (kind === 'data') this.frame = length === 0 ? undefined : { kind, left: length };
    else if (length > (kind === 'end' ? SHA256_BYTES : MAX_ERROR_BYTES)) throw broken('its end is too long');
    else if (length === 0) this.finish(kind, pieces);
    else this.frame = { kind, left: length };
  }

  private readBody(chunk: Buffer, pieces: Piece[]): Buffer {
    const { frame } = this;
    if (frame === undefined) return chunk;
    const bytes = chunk.subarray(0, frame.left);
    frame.left -= bytes.length;
    if (frame.kind === 'data') pieces.push({ kind: 'data', bytes });
    else this.held = Buffer.concat([this.held, bytes]);
    if (frame.left === 0) {
      this.frame = undefined;
      if (frame.kind !== 'data') this.finish(frame.kind, pieces);
    }
    return chunk.subarray(bytes.length);
  }

  private finish(kind: Kind, pieces: Piece[]): void {
    this.ended = true;
    const { held } = this;
    if (kind === 'error') pieces.push({ kind, text: held.toString() });
    else if (held.length === 0) pieces.push({ kind: 'end', sha256: undefined });
    else if (held.length === SHA256_BYTES) pieces.push({ kind: 'end', sha256: held.toString('hex') });
    else throw broken('its checksum has a wrong length');
  }
}

function broken(reason: string): VirtError {
  return new VirtError('stream.failed', { reason: `the byte stream is broken: ${reason}` });
}
