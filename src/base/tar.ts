/** Writes tar archives (POSIX.1-1988 ustar, pax(1)): a few small files, packed by gzip. */
import { gzipSync } from 'node:zlib';

const BLOCK = 512;

/** One file of an archive: its name (at most 100 bytes, relative) and what is in it. */
export interface TarFile {
  readonly name: string;
  readonly content: string | Uint8Array;
}

/** The archive as .tar.gz. Files are 0600, owned by nobody in particular, all of one time. */
export function tarGz(files: readonly TarFile[], atMs: number): Buffer {
  const parts = files.flatMap(({ name, content }) => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    return [header(name, bytes.length, atMs), bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)];
  });
  return gzipSync(Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]));
}

/** Offsets and widths of `struct ustar_header` (tar.h); numbers are octal, ended by a NUL. */
function header(name: string, size: number, atMs: number): Buffer {
  if (Buffer.byteLength(name) > 100) throw new Error(`the name ${name} is too long for a tar archive`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, width: number) =>
    block.write(value.toString(8).padStart(width - 1, '0'), at, 'ascii');
  block.write(name, 0);
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(Math.floor(atMs / 1000), 136, 12);
  block.fill(' ', 148, 156); // The checksum counts its own field as blanks.
  block.write('0', 156, 'ascii');
  block.write('ustar\u000000', 257, 'ascii');
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
