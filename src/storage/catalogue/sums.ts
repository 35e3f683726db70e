/** Reads the checksum files that distributions publish beside their images, and the pages that list directories. */
import { checksumOfHex, type ExpectedChecksum } from '../download/checksum.ts';

/** One line of a checksum file. */
export interface Sum {
  /** '' where the file is about one image and has no name in it. */
  readonly name: string;
  readonly checksum: ExpectedChecksum;
}

/** coreutils: `HEX  NAME` and, for binary mode, `HEX *NAME`. */
const GNU_LINE = /^([0-9a-fA-F]{64,128})[ \t]+\*?(?:\.\/)?([^\s/]+)\s*$/;
/** BSD, and coreutils with --tag: `SHA256 (NAME) = HEX`. */
const TAGGED_LINE = /^SHA(?:256|384|512) \(([^)/]+)\) = ([0-9a-fA-F]{64,128})\s*$/;
const BARE_LINE = /^([0-9a-fA-F]{64,128})\s*$/;

/**
 * All checksums of a file in any of these forms. What surrounds them, such as comments and the armour of an OpenPGP
 * signature (RFC 9580, 7), has other forms and is passed over. A name with a directory in it is none of ours.
 */
export function parseSums(text: string): Sum[] {
  const sums: Sum[] = [];
  for (const line of text.split('\n')) {
    const [, hex = '', name = ''] =
      GNU_LINE.exec(line) ?? swapped(TAGGED_LINE.exec(line)) ?? BARE_LINE.exec(line) ?? [];
    const checksum = checksumOfHex(hex);
    if (checksum !== undefined) sums.push({ name, checksum });
  }
  return sums;
}

function swapped(match: RegExpExecArray | null): readonly (string | undefined)[] | undefined {
  return match === null ? undefined : [match[0], match[2], match[1]];
}

/** The checksum of a file: by its name, or the only one of a file that is about nothing else. */
export function sumOf(sums: readonly Sum[], name: string): ExpectedChecksum | undefined {
  const named = sums.find((sum) => sum.name === name);
  if (named !== undefined) return named.checksum;
  return sums.length === 1 ? sums[0]?.checksum : undefined;
}

/** Names that a directory's page links to, directories with their slash; links that lead elsewhere are left out. */
export function parseListing(html: string): string[] {
  const names = [...html.matchAll(/<a\s[^>]*?href\s*=\s*["']([^"'?#]+)["']/gi)].map((match) =>
    (match[1] ?? '').replace(/^\.\//, ''),
  );
  return [...new Set(names.filter((name) => /^[A-Za-z0-9][A-Za-z0-9._+~-]*\/?$/.test(name)))];
}

/** Orders names so that 3.9 comes before 3.10. */
export function byVersion(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
