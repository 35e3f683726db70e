/** One HTTP request of ours: redirects followed by rule, addresses checked where the connection is made, time limits. */
import { lookup as resolveName } from 'node:dns';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { LookupFunction } from 'node:net';
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { checkAddress, checkUrl, literalAddress, redirected, shown, type UrlPolicy } from './url.ts';

/**
 * Node's HTTP, got when something is downloaded: an import of node:http reads Node's whole WebSocket and fetch besides,
 * for its exports' sake, which costs a daemon 10 MiB.
 */
const httpModule = () => process.getBuiltinModule('node:http');
const httpsModule = () => process.getBuiltinModule('node:https');

/** How often a server may send us on. */
const MAX_REDIRECTS = 8;
/** A server that says nothing for so long is given up. */
const SILENCE_MS = 60_000;

export interface GetOptions {
  readonly policy: UrlPolicy;
  /** What the bytes are for, in errors: `pull image 'debian:13'`. */
  readonly wanted: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly silenceMs?: number;
}

/** A server's answer; whoever gets it reads the body to its end or destroys it. */
export interface HttpAnswer {
  /** Where the bytes come from at last. */
  readonly url: URL;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

const redirects: readonly number[] = [301, 302, 303, 307, 308];

/**
 * Gets a URL, through the proxy of the environment where there is one (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
 * @throws VirtError download.refused, download.failed, request.invalid, operation.aborted
 */
export async function get(text: string, options: GetOptions): Promise<HttpAnswer> {
  const { policy, wanted } = options;
  let url = checkUrl(text, policy, wanted);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const body = await send(url, options);
    const status = body.statusCode ?? 0;
    const { location } = body.headers;
    if (!redirects.includes(status) || location === undefined)
      return { url, status, headers: body.headers, body };
    body.destroy();
    url = redirected(url, location, policy, wanted);
  }
  throw new VirtError('download.failed', {
    wanted,
    reason: `${text} leads through more than ${MAX_REDIRECTS} redirects`,
  });
}

async function send(url: URL, options: GetOptions): Promise<IncomingMessage> {
  const { policy, wanted, signal, headers, silenceMs = SILENCE_MS } = options;
  const literal = literalAddress(url);
  if (literal !== undefined) checkAddress(literal, url, policy, wanted);
  const isSecure = url.protocol === 'https:';
  const agentOptions = { proxyEnv: process.env };
  const { Agent, request: begin } = isSecure ? httpsModule() : httpModule();
  const request = begin(url, {
    agent: new Agent(agentOptions),
    headers: { 'user-agent': 'vireo', 'accept-encoding': 'identity', ...headers },
    lookup: checkedLookup(url, policy, wanted),
    timeout: silenceMs,
    ...(signal && { signal }),
  });
  const silent = () =>
    request.destroy(new Error(`the server said nothing for ${Math.round(silenceMs / 1000)} s`));
  request.on('timeout', silent);
  try {
    return await new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.on('error', reject);
      request.end();
    });
  } catch (error) {
    throw brokenOff(error, url, wanted, signal);
  }
}

/** Resolves names as usual and looks at what comes out, so that no second look-up can say something else. */
function checkedLookup(url: URL, policy: UrlPolicy, wanted: string): LookupFunction {
  return (hostname, options, callback) => {
    resolveName(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error || first === undefined) return callback(error ?? new Error('no address'), '');
      try {
        // The name of a proxy is the administrator's own.
        if (hostname === url.hostname)
          for (const { address } of addresses) checkAddress(address, url, policy, wanted);
      } catch (refusal) {
        return callback(refusal as NodeJS.ErrnoException, '');
      }
      return options.all === true ? callback(null, addresses) : callback(null, first.address, first.family);
    });
  };
}

/** What broke, as ours: an abort, a refusal, or a server that cannot be reached. */
export function brokenOff(
  error: unknown,
  url: URL,
  wanted: string,
  signal: AbortSignal | undefined,
): VirtError {
  if (isVirtError(error)) return error;
  if (signal?.aborted === true)
    return new VirtError('operation.aborted', { wanted, reason: 'cancelled', cause: error });
  // Several addresses were tried: Node tells them together, without a message.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return new VirtError('download.failed', {
    wanted,
    reason: `${shown(url)}: ${reasonOf(first)}`,
    details: { url: shown(url) },
    cause: error,
  });
}

/** The error of a status that is no success. */
export function statusError(answer: HttpAnswer, wanted: string): VirtError {
  const { status, url } = answer;
  const what = httpModule().STATUS_CODES[status] ?? 'unknown';
  return new VirtError('download.failed', {
    wanted,
    reason: `${shown(url)}: the server answered ${status} (${what})`,
    details: { url: shown(url), status },
  });
}

/**
 * Gets a short text, at most `maxBytes`.
 * @throws VirtError as get, and download.failed for any status but 200
 */
export async function getText(text: string, options: GetOptions & { maxBytes: number }): Promise<string> {
  const { wanted, maxBytes, signal } = options;
  const answer = await get(text, options);
  if (answer.status !== 200) {
    answer.body.destroy();
    throw statusError(answer, wanted);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes)
        throw new VirtError('request.too-large', {
          wanted,
          reason: `${shown(answer.url)} is larger than ${maxBytes} bytes`,
        });
      chunks.push(chunk);
    }
  } catch (error) {
    throw brokenOff(error, answer.url, wanted, signal);
  }
  return Buffer.concat(chunks).toString('utf8');
}
