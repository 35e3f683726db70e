/**
 * The wire to the guest agent (qemu-ga): one short conversation at a time over its channel's unix socket. Nothing that
 * comes is trusted, and every wait is short: the guest may answer with anything, without end, or not at all.
 */
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { errnoOf, reasonOf, VirtError, type VirtErrorInit } from '../../base/errors.ts';

/** More than one answer to what we ask; an agent that sends more is cut off. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** All that one conversation may bring, in answers: those of earlier ones, noise, and ours. */
const MAX_CONVERSATION_ANSWERS = 4;
/** Answers of earlier conversations that nobody waited for are few; more lines than this are a flood. */
const MAX_LINES = 1000;

/** Details of an error: what was wanted was never sent, so it cannot come true later. */
export const notAsked = { isAsked: false } as const;

/** A connection on which JSON objects go, one a line. */
export class AgentLine {
  private readonly socket: Socket;
  private readonly wanted: string;
  private readonly maxAnswerBytes: number;
  /** What has come and is no whole line yet, in the pieces it came in: joined when the line is whole. */
  private pieces: Buffer[] = [];
  private pieceBytes = 0;
  private totalBytes = 0;
  private lines: string[] = [];
  private lineCount = 0;
  private failure: VirtError | undefined;
  private hasHungUp = false;
  private wake: () => void = () => undefined;

  constructor(path: string, wanted: string, maxAnswerBytes: number = MAX_ANSWER_BYTES) {
    this.wanted = wanted;
    this.maxAnswerBytes = maxAnswerBytes;
    this.socket = connect({ path });
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('error', (error) => {
      // QEMU ended with something of ours unread.
      this.hasHungUp ||= errnoOf(error) === 'ECONNRESET' || errnoOf(error) === 'EPIPE';
      this.fail(reasonOf(error));
    });
    this.socket.on('close', () => {
      this.hasHungUp ||= this.failure === undefined;
      this.fail('the channel was closed');
    });
  }

  send(message: object): void {
    this.socket.write(`${JSON.stringify(message)}\n`);
  }

  /**
   * Finds the agent's next answer that is ours: earlier conversations may have left answers in the channel
   * (QEMU: qemu-ga reference, guest-sync-delimited; the leading 0xFF makes the agent drop half a request).
   */
  async synchronise(limitMs: number): Promise<void> {
    const id = randomInt(1, 2 ** 31);
    const deadline = performance.now() + limitMs;
    this.socket.write(Buffer.from([0xff]));
    this.send({ execute: 'guest-sync-delimited', arguments: { id } });
    for (;;) {
      const answer = await this.receive(deadline - performance.now());
      if (answer === undefined)
        throw this.unresponsive(`it did not answer within ${limitMs} ms`, { details: notAsked });
      if (answer['return'] === id) return;
    }
  }

  /** The next object, or undefined after `limitMs` or at an allowed hang-up. What is no JSON object is skipped. */
  async receive(
    limitMs: number,
    { mayHangUp = false }: { readonly mayHangUp?: boolean } = {},
  ): Promise<Record<string, unknown> | undefined> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const line = this.nextLine();
      if (line !== undefined) {
        const message = parseObject(line);
        if (message !== undefined) return message;
        continue;
      }
      if (mayHangUp && this.hasHungUp) return undefined;
      if (this.failure !== undefined) throw this.failure;
      const restMs = deadline - performance.now();
      if (restMs <= 0) return undefined;
      await this.moreOr(restMs);
    }
  }

  close(): void {
    this.socket.destroy();
  }

  private moreOr(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private nextLine(): string | undefined {
    return this.lines.shift();
  }

  private take(chunk: Buffer): void {
    this.totalBytes += chunk.length;
    let rest = chunk;
    for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
      if (++this.lineCount > MAX_LINES) return this.refuse();
      this.lines.push(this.wholeLine(rest.subarray(0, end)));
      rest = rest.subarray(end + 1);
    }
    this.pieces.push(rest);
    this.pieceBytes += rest.length;
    if (
      this.pieceBytes > this.maxAnswerBytes ||
      this.totalBytes > MAX_CONVERSATION_ANSWERS * this.maxAnswerBytes
    )
      return this.refuse();
    return this.wake();
  }

  /** Nothing of a flood is looked at. */
  private refuse(): void {
    this.lines = [];
    this.pieces = [];
    this.fail('it sent more than is accepted');
  }

  /** The pieces so far and the last one. What stands before a 0xFF belongs to an earlier conversation. */
  private wholeLine(last: Buffer): string {
    const line = this.pieces.length === 0 ? last : Buffer.concat([...this.pieces, last]);
    this.pieces = [];
    this.pieceBytes = 0;
    return line.subarray(line.lastIndexOf(0xff) + 1).toString('utf8');
  }

  private fail(reason: string): void {
    this.failure ??= this.unresponsive(reason);
    this.socket.destroy();
    this.wake();
  }

  /** The error of an agent that is silent or out of its mind. */
  unresponsive(reason: string, more: Pick<VirtErrorInit, 'details'> = {}): VirtError {
    return new VirtError('agent.unresponsive', {
      ...more,
      wanted: this.wanted,
      reason,
      hint: 'see whether qemu-guest-agent runs inside the guest',
    });
  }
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch (error) {
    // Noise on the line is expected before the first answer; anything else is a bug.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
