/**
 * The guest agent (qemu-ga) behind its channel's unix socket: one short conversation per request. Nothing of it is
 * trusted, and every wait is short: the guest may answer with anything, or not at all.
 */
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { errnoOf, oneLine, reasonOf, VirtError } from '../../base/errors.ts';

/** The channel name by which hosts and guests know the agent. */
export const agentChannelName = 'org.qemu.guest_agent.0';

/** The time for one conversation (SECURITY section 5: agent 5 s). */
const AGENT_MS = 5000;
/** guest-shutdown answers only when it fails, so silence for this long after it means: done. */
const SILENCE_MS = 1000;
/** More than any answer to what we ask; an agent that sends more is cut off. */
const MAX_BYTES = 64 * 1024;

export type ShutdownMode = 'powerdown' | 'reboot' | 'halt';

/**
 * Asks the agent to shut the guest down. Returns when the agent has taken the request; the guest goes down later, or
 * not.
 * @throws VirtError agent.unresponsive, operation.failed when the agent refuses
 */
export async function agentShutdown(socketPath: string, mode: ShutdownMode): Promise<void> {
  const wanted = `ask the guest agent for ${mode}`;
  const line = new AgentLine(socketPath, wanted);
  try {
    await line.synchronise(AGENT_MS);
    line.send({ execute: 'guest-shutdown', arguments: { mode } });
    // A guest that goes down at once takes QEMU with it, and the channel: that is success, too.
    const answer = await line.receive(SILENCE_MS, { mayHangUp: true });
    if (answer !== undefined && 'error' in answer)
      throw new VirtError('operation.failed', {
        wanted,
        reason: `the agent says: ${oneLine(describeError(answer['error']), 300)}`,
      });
  } finally {
    line.close();
  }
}

function describeError(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'desc' in error && typeof error.desc === 'string')
    return error.desc;
  return 'an error without a description';
}

/** A connection on which JSON objects go, one a line. */
class AgentLine {
  private readonly socket: Socket;
  private readonly wanted: string;
  private received = Buffer.alloc(0);
  private failure: VirtError | undefined;
  private hasHungUp = false;
  private wake: () => void = () => undefined;

  constructor(path: string, wanted: string) {
    this.wanted = wanted;
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
      if (answer === undefined) throw this.unresponsive(`it did not answer within ${limitMs} ms`);
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
    const end = this.received.indexOf(0x0a);
    if (end === -1) return undefined;
    const line = this.received.subarray(0, end);
    this.received = this.received.subarray(end + 1);
    // What stands before a 0xFF belongs to an earlier conversation.
    return line.subarray(line.lastIndexOf(0xff) + 1).toString('utf8');
  }

  private take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk]);
    if (this.received.length > MAX_BYTES) this.fail('it sent more than is accepted');
    this.wake();
  }

  private fail(reason: string): void {
    this.failure ??= this.unresponsive(reason);
    this.socket.destroy();
    this.wake();
  }

  private unresponsive(reason: string): VirtError {
    return new VirtError('agent.unresponsive', {
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
