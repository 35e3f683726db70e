/** The socket's side of a QMP connection: bytes in, bytes out, who waits for what, and how it ends. */
import type { Socket } from 'node:net';
import { reasonOf, VirtError } from '../../../base/errors.ts';
import { sendWithFds } from '../../../base/ffi/pass-fds.ts';
import { currentAsker } from '../../../base/late-answers.ts';
import {
  decodeMessage,
  encodeCommand,
  isObject,
  LineSplitter,
  protocolError,
  type QmpObject,
} from './codec.ts';
import { decodeEvent, EventDispatcher } from './events.ts';

/** Commands in work at once; ids stay below 1000, so that they cost three bytes at most. */
const MAX_IDS = 999;

export interface QmpVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  readonly package: string;
}

/** Why a connection ended; `error` is qmp.closed after an orderly end, qmp.protocol after a violation. */
export interface QmpEnd {
  readonly error: VirtError;
}

/** How a command ended, for whoever keeps a record of them. */
export interface MonitorReply {
  readonly command: string;
  readonly args: QmpObject | undefined;
  /** From the sending to the reply, in milliseconds. */
  readonly ms: number;
  /** What went wrong, undefined when nothing did. */
  readonly problem: string | undefined;
}

/** A command that waits for its reply. `settle` undefined: its caller has given up, a late reply is dropped. */
interface Pending {
  readonly command: string;
  settle: ((outcome: { readonly value: unknown } | { readonly error: VirtError }) => void) | undefined;
}

export function closedError(reason: string, cause?: unknown): VirtError {
  return new VirtError('qmp.closed', { wanted: 'talk to the QEMU monitor', reason, cause });
}

/** The socket's side: bytes in, bytes out, who waits for what. */
export class QmpWire {
  readonly events: EventDispatcher;
  readonly closed: Promise<QmpEnd>;
  readonly greeting: Promise<QmpVersion>;
  end: QmpEnd | undefined;
  /** Hears of each command's end: a reply, its time that was over, or the end of the connection. */
  onReply: ((reply: MonitorReply) => void) | undefined;
  /** What is sent on behalf of work that may be given up heeds that (base/late-answers.ts). */
  heedsLateness = false;
  private readonly socket: Socket;
  private readonly splitter = new LineSplitter();
  private readonly pending = new Map<number, Pending>();
  private readonly onProblem: (error: unknown) => void;
  private readonly settleClosed: (end: QmpEnd) => void;
  private readonly settleGreeting: PromiseWithResolvers<QmpVersion>;
  private greeted = false;
  private lastId = 0;

  constructor(socket: Socket, onProblem: (error: unknown) => void) {
    const closed = Promise.withResolvers<QmpEnd>();
    this.closed = closed.promise;
    this.settleClosed = closed.resolve;
    this.settleGreeting = Promise.withResolvers<QmpVersion>();
    this.greeting = this.settleGreeting.promise;
    // Whoever wants the greeting awaits it; nobody else must be bothered by its failure.
    this.greeting.catch(() => undefined);
    this.onProblem = onProblem;
    this.events = new EventDispatcher(onProblem);
    this.socket = socket;
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('error', (error) => this.finish(closedError(reasonOf(error), error)));
    socket.on('close', () => this.finish(closedError('QEMU closed the connection')));
  }

  /** `fd` goes with the command's first byte; the caller keeps its own. */
  send(command: string, args: QmpObject | undefined, timeoutMs: number, fd?: number): Promise<unknown> {
    if (this.end !== undefined) return Promise.reject(this.end.error);
    const asker = this.heedsLateness ? currentAsker() : undefined;
    const refusal = onlyAsks(command) ? undefined : asker?.refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const id = this.freeId();
    if (id === undefined)
      return Promise.reject(
        new VirtError('qmp.timeout', {
          wanted: `run ${command}`,
          reason: `${MAX_IDS} earlier commands are still unanswered`,
        }),
      );
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const entry: Pending = { command, settle: undefined };
    const sentAt = performance.now();
    const tell = (problem: string | undefined): void =>
      this.onReply?.({ command, args, ms: performance.now() - sentAt, problem });
    const timer = setTimeout(() => {
      tell(`no answer within ${timeoutMs} ms`);
      const error = timeoutError(command, timeoutMs);
      if (asker !== undefined) return asker.tellLate(error);
      entry.settle = undefined;
      reject(error);
    }, timeoutMs);
    entry.settle = (outcome) => {
      clearTimeout(timer);
      tell('error' in outcome ? outcome.error.reason : undefined);
      if ('error' in outcome) reject(outcome.error);
      else resolve(outcome.value);
    };
    this.pending.set(id, entry);
    const text = encodeCommand(command, args, id);
    if (fd === undefined) this.socket.write(text);
    else this.sendWithDescriptor(Buffer.from(text), fd, entry);
    return promise;
  }

  /** What is sent meanwhile goes out in one write. No descriptors: those go past the queue. */
  together<T>(send: () => T): T {
    this.socket.cork();
    try {
      return send();
    } finally {
      this.socket.uncork();
    }
  }

  /** Goes past Node's queue, which must be empty then: the monitor reads a few hundred bytes at once. */
  private sendWithDescriptor(bytes: Buffer, fd: number, entry: Pending): void {
    const handle = (this.socket as Socket & { readonly _handle?: { readonly fd?: number } | null })._handle;
    const sent =
      handle?.fd === undefined || this.socket.writableLength > 0
        ? undefined
        : sendWithFds(handle.fd, bytes, [fd]);
    if (sent === undefined) {
      const reason = 'the monitor takes nothing at the moment';
      entry.settle?.({ error: new VirtError('qmp.timeout', { wanted: `run ${entry.command}`, reason }) });
      for (const [id, pending] of this.pending) if (pending === entry) this.pending.delete(id);
    } else if (sent < bytes.length) this.socket.write(bytes.subarray(sent));
  }

  /** Ends the connection, once: everything that waits gets `error`. */
  finish(error: VirtError): void {
    if (this.end !== undefined) return;
    this.end = { error };
    this.events.flush();
    for (const entry of this.pending.values()) entry.settle?.({ error });
    this.pending.clear();
    this.settleGreeting.reject(error);
    this.socket.destroy();
    this.settleClosed(this.end);
  }

  private freeId(): number | undefined {
    for (let tries = 0; tries < MAX_IDS; tries++) {
      this.lastId = (this.lastId % MAX_IDS) + 1;
      if (!this.pending.has(this.lastId)) return this.lastId;
    }
    return undefined;
  }

  private receive(chunk: Buffer): void {
    try {
      for (const line of this.splitter.push(chunk)) {
        const message = decodeMessage(line);
        if (message !== undefined) this.take(message);
        if (this.end !== undefined) return;
      }
    } catch (error) {
      if (!(error instanceof VirtError)) throw error;
      this.onProblem(error);
      this.finish(error);
    }
  }

  private take(message: QmpObject): void {
    if (!this.greeted) {
      this.settleGreeting.resolve(decodeGreeting(message));
      this.greeted = true;
      return;
    }
    if ('return' in message || 'error' in message) this.takeReply(message);
    else {
      const event = decodeEvent(message);
      if (event === undefined) throw protocolError('a message is neither a reply nor an event');
      this.events.push(event);
    }
  }

  private takeReply(message: QmpObject): void {
    const { id } = message;
    const entry = typeof id === 'number' ? this.pending.get(id) : undefined;
    if (typeof id !== 'number' || entry === undefined)
      throw protocolError('a reply carries an id that no command in work has');
    const outcome =
      'error' in message
        ? { error: decodeError(entry.command, message['error']) }
        : { value: message['return'] };
    // Only now: when the error can't be read, the command must still be there to fail with the connection.
    this.pending.delete(id);
    entry.settle?.(outcome);
  }
}

/** Commands that change nothing. */
const onlyAsks = (command: string): boolean => /^(query-|qom-get$|qom-list$)/.test(command);

export function timeoutError(command: string, timeoutMs: number): VirtError {
  return new VirtError('qmp.timeout', {
    wanted: `run ${command}`,
    reason: `QEMU did not answer within ${timeoutMs} ms`,
    hint: 'see whether the QEMU process is stopped or waits for a disk',
    details: { command, timeoutMs },
  });
}

/** QAPI: `{"class": str, "desc": str}`. */
function decodeError(command: string, error: unknown): VirtError {
  if (!isObject(error) || typeof error['class'] !== 'string' || typeof error['desc'] !== 'string')
    throw protocolError(`the error reply to ${command} has no class and description`);
  return new VirtError('qmp.failed', {
    wanted: `run ${command}`,
    reason: error['desc'],
    details: { command, class: error['class'], desc: error['desc'].slice(0, 2000) },
  });
}

function decodeGreeting(message: QmpObject): QmpVersion {
  const qmp = message['QMP'];
  const version = isObject(qmp) ? qmp['version'] : undefined;
  const qemu = isObject(version) ? version['qemu'] : undefined;
  if (!isObject(version) || !isObject(qemu)) throw protocolError('the first message is not a QMP greeting');
  const { major, minor, micro } = qemu;
  if (typeof major !== 'number' || typeof minor !== 'number' || typeof micro !== 'number')
    throw protocolError('the QMP greeting tells no version');
  const packaged = version['package'];
  return { major, minor, micro, package: typeof packaged === 'string' ? packaged : '' };
}
