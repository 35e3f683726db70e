/**
 * Messages on the wire: one JSON text per line, UTF-8. Cutting a byte stream into lines, and turning a line into a
 * value with its limits checked before anything is built. Both ends use it.
 */
import { isUtf8 } from 'node:buffer';
import { oneLine } from '../base/errors.ts';

/** Limits of messages (docs/security.md, limits). */
export const messageLimits = {
  /** The largest message of a client. */
  requestBytes: 32 * 1024 * 1024,
  /** The largest message of a connection that has not yet sent a valid one. */
  firstRequestBytes: 64 * 1024,
  /** The largest message of the daemon; a screenshot may have many megabytes. */
  responseBytes: 256 * 1024 * 1024,
  /** How deep arrays and objects may nest. JSON.parse takes millions of levels, JSON.stringify overflows the stack. */
  depth: 64,
  /** Requests in one batch. */
  batch: 100,
} as const;

const NEWLINE = 0x0a;

/** A line grew over its limit before it ended. The rest of the stream has no meaning any more. */
export class LineTooLong extends Error {
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    super(`a message has more than ${maxBytes} bytes`);
    this.name = 'LineTooLong';
    this.maxBytes = maxBytes;
  }
}

/**
 * Cuts chunks into lines. Memory grows by the bytes received only; a line that lies in one chunk is not copied, so a
 * line must be used up before the chunk's owner reuses it (Node never does).
 */
export class LineReader {
  /** The longest line that is taken, without its newline. May be changed between lines. */
  maxBytes: number;
  private readonly chunks: Buffer[] = [];
  private offset = 0;
  private partial = Buffer.alloc(0);
  private partialLength = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length > 0) this.chunks.push(chunk);
  }

  /**
   * The next whole line without its newline, or undefined when more bytes are needed. Empty lines are passed over.
   * @throws LineTooLong
   */
  next(): Buffer | undefined {
    for (let chunk = this.chunks[0]; chunk !== undefined; chunk = this.chunks[0]) {
      const end = chunk.indexOf(NEWLINE, this.offset);
      const piece = chunk.subarray(this.offset, end === -1 ? chunk.length : end);
      if (this.partialLength + piece.length > this.maxBytes) throw new LineTooLong(this.maxBytes);
      this.advance(chunk, end === -1 ? chunk.length : end + 1);
      if (end === -1) {
        this.keep(piece);
        continue;
      }
      const line = this.complete(piece);
      if (line.length > 0) return line;
    }
    return undefined;
  }

  /** Takes everything that was received and not yet given out, as when the connection becomes a byte stream. */
  rest(): Buffer {
    const kept = this.partial.subarray(0, this.partialLength);
    const [first, ...others] = this.chunks;
    const rest = Buffer.concat(first ? [kept, first.subarray(this.offset), ...others] : [kept]);
    this.chunks.length = 0;
    this.offset = 0;
    this.forget();
    return rest;
  }

  private advance(chunk: Buffer, offset: number): void {
    this.offset = offset;
    if (offset < chunk.length) return;
    this.chunks.shift();
    this.offset = 0;
  }

  /** Copies the start of a line aside. Capacity doubles, so a line that comes byte by byte costs no more than its size. */
  private keep(piece: Buffer): void {
    const length = this.partialLength + piece.length;
    if (length > this.partial.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, this.partial.length * 2, 1024));
      this.partial.copy(grown, 0, 0, this.partialLength);
      this.partial = grown;
    }
    piece.copy(this.partial, this.partialLength);
    this.partialLength = length;
  }

  private complete(piece: Buffer): Buffer {
    if (this.partialLength === 0) return piece;
    this.keep(piece);
    const line = this.partial.subarray(0, this.partialLength);
    this.forget();
    return line;
  }

  private forget(): void {
    this.partialLength = 0;
    this.partial = Buffer.alloc(0);
  }
}

/** Why a line is no message. `depth` is well-formed perhaps, but over the limit; the others are not JSON. */
export class BadMessage extends Error {
  readonly kind: 'encoding' | 'depth' | 'syntax';

  constructor(kind: BadMessage['kind'], message: string) {
    super(message);
    this.name = 'BadMessage';
    this.kind = kind;
  }
}

/**
 * Turns one line into a value.
 * @throws BadMessage
 */
export function parseMessage(line: Buffer): unknown {
  if (!isUtf8(line)) throw new BadMessage('encoding', 'the message is not valid UTF-8');
  checkDepth(line, messageLimits.depth);
  try {
    return JSON.parse(line.toString('utf8')) as unknown;
  } catch (error) {
    throw new BadMessage('syntax', syntaxReason(error));
  }
}

/** V8 quotes the text around the mistake; only the position is told, since input is never echoed. */
function syntaxReason(error: unknown): string {
  const position = error instanceof Error ? /at position (\d+)/.exec(error.message)?.[1] : undefined;
  return oneLine(
    position === undefined ? 'the message is not JSON' : `the message is not JSON at character ${position}`,
  );
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Counts brackets outside strings.
 * @throws BadMessage when they nest deeper than `maxDepth`
 */
export function checkDepth(line: Buffer, maxDepth: number): void {
  let depth = 0;
  for (let index = 0; index < line.length; index += 1) {
    const byte = line[index];
    if (byte === QUOTE) {
      index = endOfString(line, index);
    } else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (depth > maxDepth) throw new BadMessage('depth', `the message nests deeper than ${maxDepth} levels`);
    } else if (byte === 0x5d || byte === 0x7d) {
      depth -= 1;
    }
  }
}

/** The index of the quote that ends the string which starts at `start`, or the end of the line. */
function endOfString(line: Buffer, start: number): number {
  let index = start + 1;
  for (;;) {
    const quote = line.indexOf(QUOTE, index);
    if (quote === -1) return line.length;
    let backslashes = 0;
    while (line[quote - 1 - backslashes] === BACKSLASH && quote - 1 - backslashes > start) backslashes += 1;
    if (backslashes % 2 === 0) return quote;
    index = quote + 1;
  }
}
