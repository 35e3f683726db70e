/**
 * The head of a file with the saved state of a guest, as libvirt writes it (src/qemu/qemu_saveimage.h): 92 bytes of
 * header, then the definition as text with a final NUL, perhaps a "cookie" (what libvirt knew besides), zeros up to the
 * length that the header names, and then what QEMU wrote. Pure: bytes in, data out.
 */
import { VirtError } from '../../base/errors.ts';

/** How what QEMU wrote is packed; the order is libvirt's numbering. `sparse` is QEMU's mapped-ram. */
export const saveFormats = ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd', 'sparse'] as const;
export type SaveFormat = (typeof saveFormats)[number];

const WHOLE = 'LibvirtQemudSave';
const PARTIAL = 'LibvirtQemudPart';
const VERSION = 2;

/** Bytes of the header: 16 of magic, five 32-bit numbers (host order, here little endian), 56 unused. */
export const HEADER_BYTES = 92;
/** As libvirt, so that a longer definition can be written in place. */
const PADDING_BYTES = 64 * 1024;
/** What QEMU wrote begins at a whole number of these, so that it can be read and written past the page cache. */
const ALIGNMENT_BYTES = 4096;
/** No definition is so long: what says more is broken. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;

/** What the head of an image says. */
export interface SavedHead {
  /** The definition, as a document. */
  readonly xml: string;
  /** libvirt's document of what else it knew. */
  readonly cookie?: string;
  /** The virtual CPUs ran when it was saved: they are to run again. */
  readonly wasRunning: boolean;
  readonly format: SaveFormat;
}

/** A head with the bytes it takes up; what QEMU wrote follows. */
export interface PlacedHead extends SavedHead {
  readonly headBytes: number;
}

/** The magic of an image that is whole: what it begins with from the moment in which it may be used. */
export const wholeMagic: Buffer = Buffer.from(WHOLE, 'latin1');

/**
 * The head as bytes. `headBytes`: it must have exactly that length, as when it is replaced in place.
 * @throws VirtError request.too-large when it does not fit
 */
export function encodeHead(
  head: SavedHead,
  options: { readonly isWhole: boolean; readonly headBytes?: number },
): Buffer {
  const texts = [head.xml, ...(head.cookie === undefined ? [] : [head.cookie])];
  const bodies = texts.map((text) => Buffer.from(`${text}\0`, 'utf8'));
  const used = HEADER_BYTES + bodies.reduce((sum, { length }) => sum + length, 0);
  const total = options.headBytes ?? aligned(used + PADDING_BYTES);
  if (used > total)
    throw new VirtError('request.too-large', {
      wanted: 'change the definition in a saved state',
      reason: `it takes ${used} bytes, and the file has ${total} for it`,
    });
  const bytes = Buffer.alloc(total);
  bytes.write(options.isWhole ? WHOLE : PARTIAL, 'latin1');
  bytes.writeUInt32LE(VERSION, 16);
  bytes.writeUInt32LE(total - HEADER_BYTES, 20);
  bytes.writeUInt32LE(head.wasRunning ? 1 : 0, 24);
  bytes.writeUInt32LE(saveFormats.indexOf(head.format), 28);
  bytes.writeUInt32LE(head.cookie === undefined ? 0 : (bodies[0]?.length ?? 0), 32);
  let at = HEADER_BYTES;
  for (const body of bodies) at += body.copy(bytes, at);
  return bytes;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
}

/** The fixed part of a head. */
export interface FixedHead {
  /** Bytes that follow before what QEMU wrote. */
  readonly textBytes: number;
  readonly cookieOffset: number;
  readonly wasRunning: boolean;
  readonly format: SaveFormat;
}

/**
 * Reads the first 92 bytes of an image, of either byte order.
 * @throws VirtError saved-state.invalid for what is none, or is not whole
 */
export function decodeFixedHead(bytes: Buffer): FixedHead {
  if (bytes.length < HEADER_BYTES) throw broken('it is too short');
  const magic = bytes.toString('latin1', 0, 16);
  if (magic === PARTIAL) throw broken('it was never finished', 'its writer was interrupted: remove it');
  if (magic !== WHOLE) throw broken('it does not begin as one');
  const isSwapped = bytes.readUInt32LE(16) > 0xffff;
  const number = (at: number) => (isSwapped ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at));
  if (number(16) > VERSION || number(16) === 0) throw broken(`its version ${number(16)} is not known`);
  const format = saveFormats[number(28)];
  if (format === undefined) throw broken(`its format ${number(28)} is not known`);
  const textBytes = number(20);
  const cookieOffset = number(32);
  if (textBytes === 0 || textBytes > MAX_TEXT_BYTES || cookieOffset > textBytes)
    throw broken('its lengths make no sense');
  return { textBytes, cookieOffset, wasRunning: number(24) !== 0, format };
}

/** Puts both parts of a head together. `texts` are the `textBytes` that follow the fixed part. */
export function decodeHead(fixed: FixedHead, texts: Buffer): PlacedHead {
  const { textBytes, cookieOffset, wasRunning, format } = fixed;
  if (texts.length < textBytes) throw broken('it is too short');
  const xml = untilNul(texts.subarray(0, cookieOffset === 0 ? textBytes : cookieOffset));
  const cookie = cookieOffset === 0 ? '' : untilNul(texts.subarray(cookieOffset, textBytes));
  return {
    xml,
    ...(cookie !== '' && { cookie }),
    wasRunning,
    format,
    headBytes: HEADER_BYTES + textBytes,
  };
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}

function broken(reason: string, hint?: string): VirtError {
  return new VirtError('saved-state.invalid', {
    wanted: 'read a saved state',
    reason,
    ...(hint !== undefined && { hint }),
  });
}
