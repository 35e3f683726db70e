/** Writes XDR (RFC 4506) into one buffer that grows by doubling. All numbers are big-endian, all items 4-byte aligned. */
import { XdrError } from './error.ts';

const FIRST_BYTES = 4096;
/** A buffer that has grown beyond this is let go after its message, so that one big reply is not kept for ever. */
const KEEP_BYTES = 1024 * 1024;
/** Up to here a loop over the characters is faster than Buffer's own calls. */
const SHORT_CHARS = 64;

export class XdrWriter {
  private bytes: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  private at = 0;
  private readonly maxBytes: number;

  /** `maxBytes` is the largest message that may be made. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.at;
  }

  /** Forgets what was written. */
  reset(): void {
    this.at = 0;
    if (this.bytes.length > KEEP_BYTES) this.bytes = Buffer.allocUnsafe(FIRST_BYTES);
  }

  /** A copy of what was written: the writer can be used again at once. */
  take(): Buffer {
    const copy = Buffer.allocUnsafe(this.at);
    this.bytes.copy(copy, 0, 0, this.at);
    return copy;
  }

  /** A copy of what was written from that place on. */
  copySince(start: number): Uint8Array {
    return new Uint8Array(this.bytes.subarray(start, this.at));
  }

  /** What was written, in place: good until the writer is used again. */
  view(): Buffer {
    return this.bytes.subarray(0, this.at);
  }

  /** Any 32 bits: the low ones of `value`, so signed and unsigned alike. */
  word(value: number): void {
    const at = this.at;
    if (at + 4 > this.bytes.length) this.grow(4);
    const { bytes } = this;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    this.at = at + 4;
  }

  /** Overwrites a word that was written before. */
  patchWord(at: number, value: number): void {
    this.bytes.writeUInt32BE(value, at);
  }

  double(value: number): void {
    if (this.at + 8 > this.bytes.length) this.grow(8);
    this.at = this.bytes.writeDoubleBE(value, this.at);
  }

  /** Raw bytes with zeros up to the next multiple of four. */
  padded(data: Uint8Array): void {
    const total = (data.length + 3) & ~3;
    if (this.at + total > this.bytes.length) this.grow(total);
    this.bytes.set(data, this.at);
    this.bytes.fill(0, this.at + data.length, this.at + total);
    this.at += total;
  }

  /** Length word, UTF-8, padding. @throws XdrError too-long beyond `maxBytes` */
  text(value: string, maxBytes: number): void {
    if (value.length <= SHORT_CHARS && value.length <= maxBytes && this.shortText(value)) return;
    const length = Buffer.byteLength(value);
    if (length > maxBytes) throw new XdrError('too-long', `a text of ${length} bytes, at most ${maxBytes}`);
    const total = (length + 3) & ~3;
    if (this.at + 4 + total > this.bytes.length) this.grow(4 + total);
    this.word(length);
    this.bytes.write(value, this.at);
    this.bytes.fill(0, this.at + length, this.at + total);
    this.at += total;
  }

  /** The same for the usual text, a short one in ASCII, without a call out of JavaScript; false for any other. */
  private shortText(value: string): boolean {
    const { length } = value;
    const total = 4 + ((length + 3) & ~3);
    if (this.at + total > this.bytes.length) this.grow(total);
    const start = this.at;
    const { bytes } = this;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return false;
      bytes[start + 4 + i] = code;
    }
    this.word(length);
    const end = start + total;
    for (let at = start + 4 + length; at < end; at++) bytes[at] = 0;
    this.at = end;
    return true;
  }

  private grow(more: number): void {
    const needed = this.at + more;
    if (needed > this.maxBytes)
      throw new XdrError('too-long', `a message of more than ${this.maxBytes} bytes`);
    let size = this.bytes.length * 2;
    while (size < needed) size *= 2;
    const grown = Buffer.allocUnsafe(size);
    this.bytes.copy(grown, 0, 0, this.at);
    this.bytes = grown;
  }
}
