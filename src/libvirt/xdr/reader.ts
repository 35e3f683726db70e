/** Reads XDR (RFC 4506) from bytes that somebody else made: every length is checked before anything is allocated. */
import { isUtf8 } from 'node:buffer';
import { XdrError } from './error.ts';

/**
 * Padding is skipped whatever it holds, as libvirt's decoder does (libtirpc's xdr_opaque reads it away unseen); we write
 * zeros. Nothing that is returned shares memory with the bytes that are read.
 */
export class XdrReader {
  private readonly bytes: Buffer;
  private at: number;
  private readonly end: number;

  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.at;
  }

  /** @throws XdrError trailing */
  finish(): void {
    if (this.at !== this.end) throw new XdrError('trailing', `${this.remaining} bytes are left over`);
  }

  int(): number {
    const at = this.take(4);
    const { bytes } = this;
    return (
      ((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)
    );
  }

  uint(): number {
    return this.int() >>> 0;
  }

  double(): number {
    return this.bytes.readDoubleBE(this.take(8));
  }

  /** A length word that is at most `max`, of items that take at least `itemBytes` each. */
  count(max: number, itemBytes: number): number {
    const count = this.uint();
    if (count > max) throw new XdrError('too-long', `${count} items, at most ${max}`);
    if (count * itemBytes > this.remaining)
      throw new XdrError('short', `${count} items are announced, and ${this.remaining} bytes are there`);
    return count;
  }

  /** A copy of `length` bytes; padding is skipped. */
  padded(length: number): Buffer {
    const at = this.take((length + 3) & ~3);
    return Buffer.from(this.bytes.subarray(at, at + length));
  }

  /** @throws XdrError value for text that is no UTF-8 or holds a NUL (a C program would see another text than we) */
  text(maxBytes: number): string {
    const length = this.count(maxBytes, 1);
    const at = this.take((length + 3) & ~3);
    const text = this.bytes.toString('utf8', at, at + length);
    if (text.includes('\0')) throw new XdrError('value', 'a text with a NUL byte');
    if (text.includes('\ufffd') && !isUtf8(this.bytes.subarray(at, at + length)))
      throw new XdrError('value', 'a text that is not UTF-8');
    return text;
  }

  private take(length: number): number {
    const { at } = this;
    if (length > this.end - at)
      throw new XdrError('short', `${length} bytes are needed, and ${this.end - at} are there`);
    this.at = at + length;
    return at;
  }
}
