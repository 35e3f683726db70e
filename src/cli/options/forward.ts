/** Port forwards on the command line: `2222:22`, `udp:5353:53`, `tcp:127.0.0.1:2222:10.0.2.15:22`, `[::1]:80:80`. */
import { isIP } from 'node:net';
import { isVirtError } from '../../base/errors.ts';
import { badOption } from './fields.ts';

export interface ForwardOption {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress?: string;
  readonly hostPort: number;
  readonly guestAddress?: string;
  readonly guestPort: number;
}

const HINT = 'write [tcp|udp:][HOST-ADDRESS:]HOST-PORT:[GUEST-ADDRESS:]GUEST-PORT, like tcp:2222:22';

// A colon divides, except inside the brackets of an IPv6 address.
function splitAtColons(text: string): string[] {
  return text.match(/\[[^\]]*\]|[^:]+/g) ?? [];
}

/** @throws VirtError request.invalid */
export function parseForward(what: string, text: string): ForwardOption {
  const parts = splitAtColons(text);
  // Nothing but single colons between the parts, or something was left out or doubled.
  if (parts.join(':') !== text) throw badOption(what, text, 'it is not a port forward', HINT);
  const protocol = parts[0] === 'udp' || parts[0] === 'tcp' ? parts.shift() : 'tcp';
  const hostAddress = takeAddress(what, text, parts);
  const hostPort = takePort(what, text, parts);
  const guestAddress = takeAddress(what, text, parts);
  const guestPort = takePort(what, text, parts);
  if (parts.length > 0) throw badOption(what, text, `'${parts.join(':')}' is left over`, HINT);
  return {
    protocol: protocol === 'udp' ? 'udp' : 'tcp',
    hostPort,
    guestPort,
    ...(hostAddress !== undefined && { hostAddress }),
    ...(guestAddress !== undefined && { guestAddress }),
  };
}

/**
 * Ranges as networks take them, `8000-8009:8000` or `8000-8009:80-89`: the text with the first port of each, and how many
 * there are.
 * @throws VirtError request.invalid
 */
export function splitRange(what: string, text: string): { readonly text: string; readonly count: number } {
  const range = /(?<![\w.])(\d{1,5})-(\d{1,5})(?![\w.])/g;
  const counts = [...text.matchAll(range)].map(([, first, last]) => Number(last) - Number(first) + 1);
  const [count = 1, second = count] = counts;
  if (count < 1 || second !== count)
    throw badOption(
      what,
      text,
      'its ranges do not fit',
      'write it like 8000-8009:8000, the lower port first',
    );
  return { text: text.replace(range, '$1'), count };
}

/** Takes an address off the front when one is there; host names are refused, since they can change their meaning. */
function takeAddress(what: string, text: string, parts: string[]): string | undefined {
  const first = parts[0];
  if (first === undefined || /^\d+$/.test(first)) return undefined;
  const address = first.startsWith('[') ? first.slice(1, -1) : first;
  if (isIP(address) === 0)
    throw badOption(what, text, `'${first}' is neither a port nor an IP address`, HINT);
  parts.shift();
  return address;
}

function takePort(what: string, text: string, parts: string[]): number {
  const port = parts.shift();
  const value = port !== undefined && /^\d{1,5}$/.test(port) ? Number(port) : Number.NaN;
  if (!(value >= 1 && value <= 65_535))
    throw badOption(what, text, port === undefined ? 'a port is missing' : `'${port}' is no port`, HINT);
  return value;
}

/** `tcp 127.0.0.1:2222 → 10.0.2.15:22`; an address that was left open is left out. */
export function formatEndpoint(address: string | undefined, port: number): string {
  if (address === undefined || address === '') return `port ${port}`;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The host's end alone; a whole forward, as it was added, is taken too. */
export function parseHostEnd(text: string): ForwardOption {
  const what = 'the forward';
  for (const candidate of [`${text}:1`, text]) {
    try {
      return parseForward(what, candidate);
    } catch (error) {
      if (!isVirtError(error, 'request.invalid')) throw error;
    }
  }
  throw badOption(what, text, 'it is not a port of the host', 'write it like 2222 or tcp:127.0.0.1:2222');
}
