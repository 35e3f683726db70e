/** Reads what a disk image says of other files, from an open file: bounded, and only as the format it is said to have. */
import type { FileHandle } from 'node:fs/promises';
import { badImage, HEADER_BYTES, type ImageHeader } from './header.ts';
import { parseQcow, parseQed, parseVpc } from './old-formats.ts';
import { parseQcow2 } from './qcow2.ts';
import { parseVmdk } from './vmdk.ts';

/** Readers by libvirt's word for the format. Formats without an entry cannot name other files. */
const parsers: Readonly<Record<string, (start: Buffer) => ImageHeader>> = {
  qcow2: parseQcow2,
  qcow: parseQcow,
  qed: parseQed,
  vmdk: parseVmdk,
  vpc: parseVpc,
};

/** First bytes by format, to tell a person what an image is instead; never to decide how one is read. */
const magics: readonly (readonly [string, string, number])[] = [
  ['qcow2', 'QFI\xfb\0\0\0\x02', 0],
  ['qcow2', 'QFI\xfb\0\0\0\x03', 0],
  ['qcow', 'QFI\xfb\0\0\0\x01', 0],
  ['qed', 'QED\0', 0],
  ['vmdk', 'KDMV', 0],
  ['vmdk', 'COWD', 0],
  ['vmdk', '# Disk DescriptorFile', 0],
  ['vhd', 'vhdxfile', 0],
  ['vpc', 'conectix', 0],
  ['vdi', '\x7f\x10\xda\xbe', 64],
];

/** The format whose signature the beginning carries; undefined for anything else, which may well be raw. */
export function signatureOf(start: Buffer): string | undefined {
  return magics.find(
    ([, text, offset]) => start.subarray(offset, offset + text.length).toString('latin1') === text,
  )?.[0];
}

/**
 * What the beginning of an image of that format tells.
 * @throws VirtError definition.unsupported when it is of another format, or broken
 */
export function parseImageHeader(start: Buffer, format: string): ImageHeader {
  const parse = parsers[format];
  if (parse === undefined) return {};
  // A fixed VHD has its signature at the end only.
  if (format !== 'vpc' || signatureOf(start) !== undefined) needSignature(start, format);
  return parse(start);
}

/** @throws VirtError definition.unsupported when the beginning does not carry that format's signature */
export function needSignature(start: Buffer, format: string): void {
  const signature = signatureOf(start);
  if (signature !== format) throw otherFormat(format, signature);
}

function otherFormat(format: string, signature: string | undefined): Error {
  if (signature === undefined)
    return badImage(`it is no ${format} image`, 'correct the format in the definition');
  return badImage(`it is a ${signature} image, not ${format}`, `if you trust it, say type='${signature}'`);
}

/**
 * Reads the header of an image that begins at `offsetBytes` of an open file; at most 64 KiB are read.
 * @throws VirtError definition.unsupported as parseImageHeader; system errors of reading as they are
 */
export async function readImageHeader(
  handle: Pick<FileHandle, 'read'>,
  image: { readonly format: string; readonly offsetBytes: number },
): Promise<ImageHeader> {
  if (parsers[image.format] === undefined) return {};
  const buffer = Buffer.alloc(HEADER_BYTES);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(
      buffer,
      length,
      buffer.length - length,
      image.offsetBytes + length,
    );
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return parseImageHeader(buffer.subarray(0, length), image.format);
}
