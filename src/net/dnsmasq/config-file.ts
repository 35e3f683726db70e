/**
 * The syntax of dnsmasq's configuration file (dnsmasq(8), "CONFIG FILE"; the reader is read_file() in its option.c):
 * lines of data out of a closed list of keys, one renderer that quotes, and a parser that proves the result.
 */
import { VirtError } from '../../base/errors.ts';

/** Every key a file of ours may hold. */
export const dnsmasqKeys = [
  'strict-order',
  'no-hosts',
  'no-resolv',
  'domain',
  'expand-hosts',
  'domain-needed',
  'local',
  'server',
  'port',
  'except-interface',
  'bind-dynamic',
  'interface',
  'user',
  'pid-file',
  'dhcp-range',
  'dhcp-no-override',
  'dhcp-authoritative',
  'dhcp-lease-max',
  'dhcp-leasefile',
  'dhcp-hostsfile',
  'dhcp-host',
  'addn-hosts',
  'host-record',
  'dhcp-option',
  'dhcp-boot',
  'enable-tftp',
  'tftp-root',
  'enable-ra',
  'ra-param',
  'srv-host',
  'txt-record',
] as const;

export type DnsmasqKey = (typeof dnsmasqKeys)[number];

/** A key, and its value's parts, which stand divided by commas. */
export interface DnsmasqLine {
  readonly key: DnsmasqKey;
  readonly parts: readonly string[];
}

/** dnsmasq reads pieces of this many bytes (MAXDNAME in its config.h): the rest would count as a line of its own. */
const MAX_LINE_BYTES = 1024;

/** Parts of these characters mean the same with and without quotes. */
const plain = /^[A-Za-z0-9_./:*[\]@%+=~ -][A-Za-z0-9_./:*[\]@%+=~# -]*$/;

/** Characters that no value may hold: the C0 and C1 controls, and Unicode's line ends. */
const forbidden = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/**
 * The file's text, with `passthrough` lines as they stand at its end.
 * @throws VirtError definition.unsupported when a value cannot be written so that dnsmasq reads it back unchanged
 */
export function formatDnsmasq(lines: readonly DnsmasqLine[], passthrough: readonly string[] = []): string {
  const written = lines.map(formatLine);
  for (const line of [...written, ...passthrough]) checkLine(line);
  proveSame(written.join('\n'), lines);
  const header = [
    '# Written by vireo from the network definition; changes are lost.',
    '# Change the network instead: vireo network edit NAME',
  ];
  return `${[...header, ...written, ...passthrough].join('\n')}\n`;
}

function formatLine(line: DnsmasqLine): string {
  if (line.parts.length === 0) return line.key;
  return `${line.key}=${line.parts.map(formatPart).join(',')}`;
}

function formatPart(part: string): string {
  const isPlain = part === '' || (plain.test(part) && part.trim() === part && !part.includes(' #'));
  // Backslash and quote are the only characters with a meaning inside quotes.
  return isPlain ? part : `"${part.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function checkLine(line: string): void {
  const problem = forbidden.test(line)
    ? 'it has a control character'
    : Buffer.byteLength(line) >= MAX_LINE_BYTES
      ? `it is longer than ${MAX_LINE_BYTES - 1} bytes`
      : undefined;
  if (problem !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted: 'write the configuration of dnsmasq',
      reason: `a value of '${line.slice(0, 40)}' cannot be written: ${problem}`,
    });
}

/** Reads the text again and compares: whatever slipped through the quoting ends here. */
function proveSame(text: string, lines: readonly DnsmasqLine[]): void {
  const again = parseDnsmasq(text);
  const isSame =
    again.length === lines.length &&
    again.every((line, index) => {
      const wanted = lines[index];
      return line.key === wanted?.key && line.parts.join('\0') === wanted.parts.join('\0');
    });
  if (!isSame)
    throw new VirtError('definition.unsupported', {
      wanted: 'write the configuration of dnsmasq',
      reason: 'a value would be read back differently',
    });
}

/**
 * Reads a file of ours.
 * @throws VirtError definition.unsupported for a key that is not in the list, or broken quotes
 */
export function parseDnsmasq(text: string): DnsmasqLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map(parseLine);
}

function parseLine(line: string): DnsmasqLine {
  const equals = line.indexOf('=');
  const key = equals === -1 ? line : line.slice(0, equals);
  if (!isKey(key))
    throw new VirtError('definition.unsupported', {
      wanted: 'check the configuration of dnsmasq',
      reason: `'${key.slice(0, 40)}' is none of the keys that are written here`,
    });
  return { key, parts: equals === -1 ? [] : splitParts(line.slice(equals + 1)) };
}

function isKey(key: string): key is DnsmasqKey {
  return (dnsmasqKeys as readonly string[]).includes(key);
}

/** Commas outside quotes divide; inside quotes a backslash takes the next character as it is. */
function splitParts(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? '';
    if (isQuoted && char === '\\') part += text[++at] ?? '';
    else if (char === '"') isQuoted = !isQuoted;
    else if (!isQuoted && char === ',') {
      parts.push(part);
      part = '';
    } else part += char;
  }
  if (isQuoted)
    throw new VirtError('definition.unsupported', {
      wanted: 'check the configuration of dnsmasq',
      reason: 'a quote is not closed',
    });
  return [...parts, part];
}
