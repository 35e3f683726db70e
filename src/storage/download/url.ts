/** Which URLs the daemon may fetch: it can reach places that its callers cannot, so nothing is fetched unasked. */
import { isIP } from 'node:net';
import { VirtError } from '../../base/errors.ts';

/** What may be fetched. */
export interface UrlPolicy {
  /**
   * Beginnings of URLs: a scheme (`https://`), or scheme, host and directory (`https://*.debian.org/`,
   * `http://mirror.lan:8080/debian/`). A host that stands here by its full name may be on this host itself.
   */
  readonly allowed: readonly string[];
}

/** An entry of the policy, taken apart. */
interface Rule {
  readonly scheme: string;
  /** Undefined: any host. */
  readonly host?: string;
  /** '' is the scheme's own. */
  readonly port?: string;
  readonly path?: string;
}

const SCHEME_ONLY = /^(https?):\/\/$/;
const RULE = /^(https?):\/\/(\[[0-9a-fA-F:.]+\]|[^/:?#@\s]+)(?::(\d+))?(\/[^?#\s]*)?$/;

/** Takes an entry apart; undefined when it is none. */
export function parseUrlRule(text: string): Rule | undefined {
  const only = SCHEME_ONLY.exec(text)?.[1];
  if (only !== undefined) return { scheme: `${only}:` };
  const [, scheme, host, port = '', path = '/'] = RULE.exec(text) ?? [];
  if (scheme === undefined || host === undefined) return undefined;
  const usual = scheme === 'https' ? '443' : '80';
  return { scheme: `${scheme}:`, host: host.toLowerCase(), port: port === usual ? '' : port, path };
}

/**
 * A URL that may be fetched.
 * @throws VirtError request.invalid for what is no URL, download.refused for one that may not be fetched
 */
export function checkUrl(text: string, policy: UrlPolicy, wanted: string): URL {
  const url = readUrl(text, wanted);
  if (rulesFor(url, policy).length > 0) return url;
  throw refused(
    wanted,
    `${shown(url)} may not be fetched`,
    "see 'allow_import_urls' in the section [storage] of vireod.toml",
  );
}

function readUrl(text: string, wanted: string): URL {
  if (!URL.canParse(text))
    throw new VirtError('request.invalid', { wanted, reason: `'${text.slice(0, 200)}' is no URL` });
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw refused(
      wanted,
      `the scheme '${url.protocol.slice(0, -1)}' is not served`,
      'give an http or https URL; a file of your own is sent by the command line',
    );
  if (url.username !== '' || url.password !== '')
    throw refused(wanted, 'a URL with a user name or password would put them into logs');
  return url;
}

/**
 * Where a redirect leads: never from https down to http, and only to what may be fetched.
 * @throws VirtError download.refused, download.failed
 */
export function redirected(from: URL, location: string, policy: UrlPolicy, wanted: string): URL {
  if (!URL.canParse(location, from.href))
    throw new VirtError('download.failed', { wanted, reason: `${shown(from)} redirects to what is no URL` });
  const to = checkUrl(new URL(location, from.href).href, policy, wanted);
  if (from.protocol === 'https:' && to.protocol === 'http:')
    throw refused(wanted, `${shown(from)} redirects to ${shown(to)}, which is not encrypted`);
  return to;
}

/**
 * Refuses addresses where services trust whoever reaches them: this host itself, and the link (where clouds keep
 * credentials, 169.254.169.254). An entry of the policy that has the host by name vouches for it.
 * @throws VirtError download.refused
 */
export function checkAddress(address: string, url: URL, policy: UrlPolicy, wanted: string): void {
  if (!isInternal(address)) return;
  if (rulesFor(url, policy).some(({ host }) => host !== undefined && !host.startsWith('*.'))) return;
  throw refused(
    wanted,
    `${url.hostname} is at ${address}, an address of this host or its link`,
    "put the URL into 'allow_import_urls' in vireod.toml if that is meant",
  );
}

/** The address that a URL names itself, without brackets; undefined for a host name. */
export function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

function rulesFor(url: URL, policy: UrlPolicy): Rule[] {
  return policy.allowed.flatMap((text) => {
    const rule = parseUrlRule(text);
    return rule !== undefined && fits(rule, url) ? [rule] : [];
  });
}

function fits({ scheme, host, port, path = '/' }: Rule, url: URL): boolean {
  if (scheme !== url.protocol) return false;
  if (host === undefined) return true;
  const isHost = host.startsWith('*.') ? url.hostname.endsWith(host.slice(1)) : url.hostname === host;
  // The URL's own path is in its shortest spelling: `..` was resolved by the parser, and encoded ones too.
  const directory = path.endsWith('/') ? path : `${path}/`;
  return isHost && url.port === port && (url.pathname === path || url.pathname.startsWith(directory));
}

/** IPv4 as text of an IPv4-mapped IPv6 address, in either spelling (RFC 4291, 2.5.5.2). */
function unmapped(address: string): string {
  const dotted = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address) ?? [];
  if (high === undefined || low === undefined) return address;
  const bits = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return bits.flatMap((word) => [word >> 8, word & 255]).join('.');
}

/** Loopback, link-local, unspecified and multicast (RFC 6890). */
function isInternal(text: string): boolean {
  const address = unmapped(text).toLowerCase();
  if (isIP(address) === 4) {
    const [first = 0, second = 0] = address.split('.').map(Number);
    return first === 0 || first === 127 || first >= 224 || (first === 169 && second === 254);
  }
  return address === '::' || address === '::1' || /^fe[89ab]/.test(address) || address.startsWith('ff');
}

/** A URL as errors and logs show it: without its query, which may hold a token. */
export function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

function refused(wanted: string, reason: string, hint?: string): VirtError {
  return new VirtError('download.refused', { wanted, reason, ...(hint !== undefined && { hint }) });
}
