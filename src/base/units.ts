/** Sizes with units: libvirt's words in XML, people's words on the command line. */
import { VirtError } from './errors.ts';

// libvirt, "Domain XML format", memory allocation: 1024-based KiB.., 1000-based KB.., single letters are 1024-based.
const factors: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  byte: 1,
  kb: 1000,
  k: 1024,
  kib: 1024,
  mb: 1000 ** 2,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  gb: 1000 ** 3,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  tb: 1000 ** 4,
  t: 1024 ** 4,
  tib: 1024 ** 4,
  pb: 1000 ** 5,
  p: 1024 ** 5,
  pib: 1024 ** 5,
  eb: 1000 ** 6,
  e: 1024 ** 6,
  eib: 1024 ** 6,
};

/** The number of bytes of `value` in `unit`; undefined for an unknown unit or a result over 2^53. */
export function toBytes(value: number, unit: string): number | undefined {
  const factor = factors[unit.toLowerCase()];
  if (factor === undefined) return undefined;
  const bytes = value * factor;
  return Number.isSafeInteger(Math.round(bytes)) ? Math.round(bytes) : undefined;
}

/**
 * Parses a size as people write it: `2GiB`, `512M`, `1.5 GiB`, `1024` (bytes).
 * @throws VirtError request.invalid
 */
export function parseSize(text: string): number {
  const match = /^\s*(\d{1,16}(?:\.\d{1,6})?)\s*([A-Za-z]*)\s*$/.exec(text);
  const unit = match?.[2] === '' ? 'b' : (match?.[2] ?? '');
  const bytes = match ? toBytes(Number(match[1]), unit) : undefined;
  if (bytes === undefined)
    throw new VirtError('request.invalid', {
      wanted: `read the size '${text.slice(0, 40)}'`,
      reason: toBytes(1, unit) === undefined ? 'it is not a number with a unit' : 'it is too large',
      hint: 'write it like 512MiB, 2GiB or 1.5G',
    });
  return bytes;
}

/** `2 GiB`, `1.5 MiB`, `512 B`: at most one decimal. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let value = bytes;
  let index = 0;
  while (Math.abs(value) >= 1024 && index < units.length - 1) {
    value /= 1024;
    index++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[index]}`;
}
