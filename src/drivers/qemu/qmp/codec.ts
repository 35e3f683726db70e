/** Bytes to QMP messages and back (QEMU docs/interop/qmp-spec): one JSON object a line, with limits. */
import { VirtError } from '../../../base/errors.ts';

/** Limits of what a monitor may send (docs/security.md, class K; the largest honest reply, query-qmp-schema, is 250 KiB). */
export const qmpLimits = {
  messageBytes: 10 * 1024 * 1024,
  depth: 64,
} as const;

/** An object as it came from the monitor: nothing is known of its members. */
export type QmpObject = Readonly<Record<string, unknown>>;

/** The error of a peer that doesn't keep to the protocol; the connection is given up. */
export function protocolError(reason: string): VirtError {
  return new VirtError('qmp.protocol', {
    wanted: 'talk to the QEMU monitor',
    reason,
    hint: 'the process at the other end is not a QEMU in good order; end it',
  });
}

const NEWLINE = 0x0a;

/** Cuts a byte stream into lines without looking at any byte twice; an unfinished line waits for its end. */
export class LineSplitter {
  private readonly maxBytes: number;
  private parts: Buffer[] = [];
  private heldBytes = 0;

  constructor(maxBytes: number = qmpLimits.messageBytes) {
    this.maxBytes = maxBytes;
  }

  /**
   * Takes the next bytes and yields each line they complete, without its line feed.
   * @throws VirtError qmp.protocol when a line is longer than the limit
   */
  *push(chunk: Buffer): Generator<Buffer> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.hold(chunk.subarray(start, end));
      yield this.take();
      start = end + 1;
    }
    if (start < chunk.length) this.hold(chunk.subarray(start));
  }

  private hold(bytes: Buffer): void {
    this.heldBytes += bytes.length;
    if (this.heldBytes > this.maxBytes) {
      this.parts = [];
      throw protocolError(`a message is longer than ${this.maxBytes} bytes`);
    }
    this.parts.push(bytes);
  }

  private take(): Buffer {
    const [only] = this.parts;
    const line = this.parts.length === 1 && only !== undefined ? only : Buffer.concat(this.parts);
    this.parts = [];
    this.heldBytes = 0;
    return line;
  }
}

/**
 * How deep the brackets of a JSON text nest, without parsing it (JSON.parse would build it all first). Counting stops
 * past `limit`.
 */
export function nestingDepth(text: Buffer, limit: number): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at];
    if (byte === 0x22) at = endOfString(text, at);
    else if (byte === 0x7b || byte === 0x5b) {
      depth++;
      if (depth > deepest) deepest = depth;
      if (deepest > limit) return deepest;
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return deepest;
}

/** The index of the quote that ends the string starting at `open`, or the text's end. */
function endOfString(text: Buffer, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    const byte = text[at];
    if (byte === 0x5c) at++;
    else if (byte === 0x22) return at;
  }
  return text.length;
}

export function isObject(value: unknown): value is QmpObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Parses one line to a message; undefined for an empty line.
 * @throws VirtError qmp.protocol when it isn't a JSON object, or is nested too deeply
 */
export function decodeMessage(line: Buffer): QmpObject | undefined {
  if (nestingDepth(line, qmpLimits.depth) > qmpLimits.depth)
    throw protocolError(`a message is nested deeper than ${qmpLimits.depth} levels`);
  const text = line.toString('utf8');
  if (text.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own words quote the text, which may hold anything.
    throw protocolError('a message is not valid JSON');
  }
  if (!isObject(value)) throw protocolError('a message is not a JSON object');
  return value;
}

/** One command as bytes: no blanks, the id a small number, since QEMU 7.2 pays 8 microseconds a byte. */
export function encodeCommand(execute: string, args: QmpObject | undefined, id: number): string {
  const empty = args === undefined || Object.keys(args).length === 0;
  return JSON.stringify(empty ? { execute, id } : { execute, arguments: args, id });
}
