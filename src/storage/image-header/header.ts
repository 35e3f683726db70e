/** What the header of a disk image says of other files: the shapes, and what all formats' readers share. */
import { VirtError } from '../../base/errors.ts';

/** How much of an image's beginning is looked at. Every writer puts the header, its extensions and names there. */
export const HEADER_BYTES = 64 * 1024;

/** The longest name of a backing file (QEMU docs/interop/qcow2.rst: 1023 bytes). */
const MAX_NAME_BYTES = 1023;

/** What a header tells. Nothing of it is trusted: an image may have been written by a guest. */
export interface ImageHeader {
  /** The image below: its name as it stands, and its format in the header's own word, where it has one. */
  readonly backing?: { readonly name: string; readonly format: string | undefined };
  /** The data is in another file: its name, '' when the header tells none. */
  readonly dataFile?: string;
  /** How the data is encrypted, where it is. */
  readonly encryption?: string;
}

/** An image that is not what it is said to be, or is broken. */
export function badImage(reason: string, hint?: string): VirtError {
  return new VirtError('definition.unsupported', { reason, ...(hint !== undefined && { hint }) });
}

/**
 * The bytes of a range, which must lie in what was read.
 * @throws VirtError definition.unsupported
 */
export function bytesAt(start: Buffer, offset: number, length: number, what: string): Buffer {
  if (offset + length > start.length)
    throw badImage(`its ${what} lies outside of the first ${HEADER_BYTES / 1024} KiB`);
  return start.subarray(offset, offset + length);
}

/**
 * A file name in a header.
 * @throws VirtError definition.unsupported for one that is empty, over-long, or no printable UTF-8
 */
export function nameAt(start: Buffer, offset: number, length: number, what: string): string {
  if (length === 0 || length > MAX_NAME_BYTES) throw badImage(`its ${what} has ${length} bytes`);
  return nameOf(bytesAt(start, offset, length, what), what);
}

/** As nameAt, for bytes that are at hand. */
export function nameOf(bytes: Buffer, what: string): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause; // The decoder's way to say "no UTF-8".
    throw badImage(`its ${what} is not UTF-8`);
  }
  if (/[\u0000-\u001f\u007f\ufffe\uffff]/.test(name)) throw badImage(`its ${what} has control characters`);
  return name;
}

/** A 64-bit offset or size of a header; one that no number holds is beyond any limit of ours. */
export function uint64(start: Buffer, offset: number, order: 'be' | 'le'): number {
  const value = order === 'be' ? start.readBigUInt64BE(offset) : start.readBigUInt64LE(offset);
  return Number(value);
}
