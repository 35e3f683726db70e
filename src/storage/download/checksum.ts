/** Checksums that a file must have, as people and index files write them. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileError, VirtError } from '../../base/errors.ts';

/** Hashes that still prove something, with the length of their hexadecimal text. */
export const checksumDigits = { sha256: 64, sha384: 96, sha512: 128 } as const;

export type ChecksumAlgorithm = keyof typeof checksumDigits;

export interface ExpectedChecksum {
  readonly algorithm: ChecksumAlgorithm;
  /** Lower case. */
  readonly hex: string;
}

const algorithms = Object.keys(checksumDigits) as ChecksumAlgorithm[];

/** The checksum whose digits those are; undefined for what is none. */
export function checksumOfHex(hex: string): ExpectedChecksum | undefined {
  const algorithm = algorithms.find((one) => checksumDigits[one] === hex.length);
  return algorithm !== undefined && /^[0-9a-fA-F]+$/.test(hex)
    ? { algorithm, hex: hex.toLowerCase() }
    : undefined;
}

/** `sha256:9f86…`, or the digits alone. @throws VirtError request.invalid */
export function parseChecksum(text: string): ExpectedChecksum {
  const [, name, hex = ''] = /^(?:([A-Za-z0-9-]+):)?([0-9a-fA-F]+)$/.exec(text.trim()) ?? [];
  const found = checksumOfHex(hex);
  const isNamedRight = name === undefined || name.toLowerCase().replace('-', '') === found?.algorithm;
  if (found !== undefined && isNamedRight) return found;
  throw new VirtError('request.invalid', {
    wanted: 'read a checksum',
    reason: `'${text.slice(0, 200)}' is none that is known`,
    hint: `write ${algorithms.join(', ')} and the digits: sha256:9f86d0…`,
  });
}

/** @throws VirtError download.checksum when the digits differ */
export function requireChecksum(expected: ExpectedChecksum, hex: string, wanted: string): void {
  if (expected.hex === hex) return;
  throw new VirtError('download.checksum', {
    wanted,
    reason: `its ${expected.algorithm} is ${hex}, and should be ${expected.hex}`,
    hint: 'the file was changed on its way or at its source; nothing of it was kept',
    details: { algorithm: expected.algorithm, expected: expected.hex, found: hex },
  });
}

const READ_BYTES = 1024 * 1024;

/** The hexadecimal hash of a regular file. @throws VirtError file.*, operation.aborted */
export async function hashFile(
  path: string,
  algorithm: ChecksumAlgorithm,
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash(algorithm);
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const buffer = Buffer.alloc(READ_BYTES);
    for (let at = 0; ; ) {
      if (signal?.aborted === true)
        throw new VirtError('operation.aborted', { wanted: `read ${path}`, reason: 'cancelled' });
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } catch (error) {
    throw fileError(error, 'compute a checksum', path);
  }
}
