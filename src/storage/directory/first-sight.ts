/**
 * Of which format a file is that nobody has said anything of: decided once, at the first sight, and remembered
 * (docs/decisions/0006-storage-formats.md, docs/security.md, class J).
 */
import type { FileHandle } from 'node:fs/promises';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import { HEADER_BYTES } from '../image-header/header.ts';
import { signatureOf } from '../image-header/read.ts';
import { hasHeader, imageFacts } from './image-facts.ts';

/** How much of a file is looked at to find its format; ISO 9660 has its signature behind 32 KiB. */
export const ISO_SIGNATURE = { offset: 32_769, text: 'CD001' } as const;

/** A file, as far as it was read. */
export interface Beginning {
  /** The first bytes, up to 64 KiB. */
  readonly start: Buffer;
  readonly fileBytes: number;
  /** The directory that it is in. */
  readonly directory: string;
  /** Where that really is, if that is known. */
  readonly real?: string;
}

export interface FirstSight {
  readonly format: VolumeFormat;
  /** Why it counts as raw though it looks like something else. */
  readonly problem?: string;
}

/**
 * The format of a file seen for the first time. One that looks like an image but names a file outside of the pools, or
 * whose header is broken, counts as raw until somebody says what it is: the name may have been written by a guest.
 */
export function formatAtFirstSight(file: Beginning, isInsidePool: (path: string) => boolean): FirstSight {
  const format = signatureFormat(file.start);
  if (!hasHeader(format)) return { format };
  const facts = imageFacts(file.start, format, file.fileBytes);
  const looks = `it looks like ${format}`;
  if (facts.problem !== undefined) return raw(`${looks}, but ${facts.problem}`);
  const below = facts.backing?.path;
  if (below === undefined || isInsidePool(absoluteName(below, file.directory, file.real) ?? ''))
    return { format };
  return raw(`${looks}, but names '${below}' below it, which is in no active pool`);
}

/** The same of an open file. */
export async function looksAs(
  handle: FileHandle,
  directory: string,
  isInsidePool: (path: string) => boolean,
): Promise<FirstSight> {
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(HEADER_BYTES);
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
  return formatAtFirstSight(
    { start: buffer.subarray(0, bytesRead), fileBytes: size, directory },
    isInsidePool,
  );
}

function raw(problem: string): FirstSight {
  return { format: 'raw', problem: `${problem}; it counts as raw until you say otherwise` };
}

function signatureFormat(start: Buffer): VolumeFormat {
  if (start.subarray(0, 6).toString('latin1') === 'LUKS\xba\xbe') return 'luks';
  const signature = signatureOf(start);
  if (signature !== undefined) return signature as VolumeFormat;
  const { offset, text } = ISO_SIGNATURE;
  return start.subarray(offset, offset + text.length).toString('latin1') === text ? 'iso' : 'raw';
}

/**
 * The path that a header's name means, from the directory of the image; undefined for a protocol (`json:`, `nbd://`). Where
 * `..` leads is known from the real path of that directory only, and nowhere but at the beginning of a name.
 */
export function absoluteName(name: string, directory: string, real?: string): string | undefined {
  if (name.startsWith('/')) return name.split('/').includes('..') ? undefined : name;
  // QEMU (block.c, path_has_protocol): a colon before the first slash begins a protocol.
  if (/^[^/]*:/.test(name)) return undefined;
  const [, ups = '', rest = ''] = /^((?:\.{1,2}\/+)*)(.*)$/s.exec(name) ?? [];
  if (rest.split('/').includes('..')) return undefined;
  const levels = ups.split('/').filter((step) => step === '..').length;
  if (levels === 0) return `${directory}/${rest}`;
  const steps = real?.split('/') ?? [];
  // The root has no directory above it; who asks for one more means something else.
  return steps.length > levels ? `${steps.slice(0, -levels).join('/')}/${rest}` : undefined;
}
