/** Unpacks a compressed image file: gzip and zstd by Node's own zlib, xz and bzip2 by their programs, all with a limit. */
import { constants } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { errnoOf, fileError, isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { filterThrough, findProgram } from '../../base/exec.ts';
import { formatBytes } from '../../base/units.ts';
import { SparseFile } from './sparse-file.ts';

export type Compression = 'gzip' | 'zstd' | 'xz' | 'bzip2';

/** First bytes: RFC 1952, RFC 8878, the .xz file format 1.2.1, bzip2. No format of disk images begins so. */
const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b, 0x08]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
];

export function compressionOf(start: Buffer): Compression | undefined {
  return magics.find(([, bytes]) => bytes.every((byte, index) => start[index] === byte))?.[0];
}

/** As compressionOf, of a file. @throws VirtError file.* */
export async function compressionOfFile(path: string): Promise<Compression | undefined> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const start = Buffer.alloc(8);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    return compressionOf(start.subarray(0, bytesRead));
  } catch (error) {
    throw fileError(error, 'look at a file', path);
  }
}

/** Programs for what Node cannot unpack; at most half a GiB of memory, whatever the file says it needs. */
const programs = {
  xz: {
    name: 'xz',
    args: ['--decompress', '--stdout', '--no-warn', '--memlimit-decompress=512MiB'],
    package: 'xz-utils',
  },
  bzip2: { name: 'bzip2', args: ['--decompress', '--stdout'], package: 'bzip2' },
} as const;

/** The longest that unpacking may take: a day. */
const LONG_MS = 24 * 3600 * 1000;

export interface DecompressRequest {
  readonly from: string;
  readonly compression: Compression;
  /** Where nothing may be. On failure nothing is left there. */
  readonly to: string;
  /** A few kilobytes can become petabytes. */
  readonly maxBytes: number;
  readonly wanted: string;
}

export interface DecompressWork {
  readonly signal?: AbortSignal | undefined;
  /** Counts bytes of the compressed file. */
  readonly onProgress?: ((doneBytes: number) => void) | undefined;
}

/** @throws VirtError request.invalid for broken data, request.too-large, program.*, file.*, operation.aborted */
export async function decompress(request: DecompressRequest, work: DecompressWork = {}): Promise<void> {
  const { from, to, wanted } = request;
  let made = false;
  try {
    await using file = await SparseFile.create(to);
    made = true;
    await unpackInto(file, request, work);
    await file.finish();
  } catch (error) {
    if (made) await unlink(to).catch(() => undefined); // The first error is the one to tell.
    throw explained(error, wanted, from, work.signal);
  }
}

async function unpackInto(file: SparseFile, request: DecompressRequest, work: DecompressWork): Promise<void> {
  const { from, compression, maxBytes, wanted } = request;
  const take = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      if (file.bytes + chunk.length > maxBytes)
        throw new VirtError('request.too-large', {
          wanted,
          reason: `it is larger than ${formatBytes(maxBytes)} when unpacked`,
          hint: "see 'import_limit_gib' in the section [storage] of vireod.toml",
        });
      await file.append(chunk);
    }
  };
  await using handle = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  const source = handle.createReadStream({ autoClose: false, highWaterMark: 256 * 1024 });
  const counted = counting(work.onProgress);
  const options = work.signal ? { signal: work.signal } : {};
  if (compression === 'gzip' || compression === 'zstd') {
    const decoder = compression === 'gzip' ? createGunzip() : createZstdDecompress();
    return await pipeline(source, counted, decoder, take, options);
  }
  const { name, args, package: debian } = programs[compression];
  const program = await findProgram(name);
  if (program === undefined)
    throw new VirtError('program.missing', {
      wanted,
      reason: `it is compressed with ${compression}, and ${name} is not installed`,
      hint: `apt-get install ${debian}`,
    });
  const input = source.pipe(counted);
  source.once('error', (error) => counted.destroy(error));
  return await filterThrough(program, args, input, take, { timeoutMs: LONG_MS, ...options });
}

function counting(onProgress: DecompressWork['onProgress']): Transform {
  let done = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      done += chunk.length;
      onProgress?.(done);
      callback(null, chunk);
    },
  });
}

function explained(error: unknown, wanted: string, from: string, signal: AbortSignal | undefined): VirtError {
  if (isVirtError(error) && !isVirtError(error, 'program.failed')) return error;
  if (signal?.aborted === true)
    return new VirtError('operation.aborted', { wanted, reason: 'cancelled', cause: error });
  const errno = errnoOf(error) ?? '';
  // zlib's own errors: Z_DATA_ERROR, ERR_ZSTD..., ZSTD_error_...
  const isBroken = /^(Z_|ZSTD|ERR_(ZLIB|ZSTD|BROTLI))/.test(errno) || isVirtError(error, 'program.failed');
  if (!isBroken) return fileError(error, wanted, from);
  return new VirtError('request.invalid', {
    wanted,
    reason: `the compressed data is broken: ${reasonOf(error)}`,
    cause: error,
  });
}
