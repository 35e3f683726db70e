/** One client: its requests in, its answers and events out, within its limits, until it leaves. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BadMessage, LineReader, LineTooLong, messageLimits, parseMessage } from '../../../api/framing.ts';
import { VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { TurnShare } from '../../../base/turns.ts';
import { Answering, upgradeRefusal } from './answering.ts';
import { bridge } from './bridge.ts';
import { declarationOf } from './dispatch.ts';
import type { CallContext, EventFilter, Handlers, Peer, Upgrade } from './handlers.ts';
import { Outbox } from './outbox.ts';
import { PausedWatch, watchHalfOpen } from './peer-watch.ts';
import {
  badMessage,
  type Call,
  formatError,
  formatResult,
  invalidRequest,
  ProtocolError,
  type RequestId,
} from './protocol.ts';
import { type EventFanout, type ReadyEvent, Subscriptions } from './subscriptions.ts';

/** Limits of one client (docs/security.md, limits). */
export interface ConnectionLimits {
  /** Requests of one client in work at once; with more, its socket is not read. */
  readonly inWork: number;
  readonly queueBytes: number;
  readonly queueMessages: number;
  /** A client that sent no valid message in this time is cut. */
  readonly firstMessageMs: number;
}

export const defaultConnectionLimits: ConnectionLimits = {
  inWork: 5,
  queueBytes: 4 * 1024 * 1024,
  queueMessages: 10_000,
  firstMessageMs: 10_000,
};

export interface ConnectionOptions {
  readonly id: string;
  readonly socket: Socket;
  readonly peer: Peer;
  readonly readOnly: boolean;
  readonly handlers: Handlers;
  readonly events: EventFanout;
  readonly log: Logger;
  readonly limits: ConnectionLimits;
}

export class Connection {
  readonly id: string;
  private readonly socket: Socket;
  private readonly log: Logger;
  private readonly limits: ConnectionLimits;
  private readonly reader = new LineReader(messageLimits.firstRequestBytes);
  private readonly outbox: Outbox;
  private readonly subscriptions = new Subscriptions();
  private readonly events: EventFanout;
  private stopEvents: (() => void) | undefined;
  private readonly abort = new AbortController();
  private readonly closeListeners: (() => void)[] = [];
  private readonly answering: Answering;
  private readonly firstMessageTimer: NodeJS.Timeout;
  private readonly pausedWatch: PausedWatch;
  private inWork = 0;
  private readonly turn = new TurnShare(() => this.pump());
  private hasEnded = false;
  private isStopping = false;
  /** `messages` until an upgrade begins; `stream` when it has succeeded. */
  private phase: 'messages' | 'upgrading' | 'stream' = 'messages';
  private sawMessage = false;

  constructor(options: ConnectionOptions) {
    this.id = options.id;
    this.socket = options.socket;
    this.events = options.events;
    this.limits = options.limits;
    this.log = options.log;
    this.outbox = new Outbox(this.socket, {
      maxBytes: this.limits.queueBytes,
      maxMessages: this.limits.queueMessages,
    });
    this.outbox.onDrain = () => this.pump();
    this.pausedWatch = new PausedWatch(this.socket);
    this.answering = new Answering({
      handlers: options.handlers,
      context: this.buildContext(options),
      log: options.log,
      onRequest: () => this.trust(),
    });
    this.firstMessageTimer = setTimeout(
      () => this.cut('no valid message in time'),
      this.limits.firstMessageMs,
    );
    this.listen();
  }

  /** True once the client has shown that it speaks the protocol. */
  get isTrusted(): boolean {
    return this.sawMessage;
  }

  get subscriptionCount(): number {
    return this.subscriptions.count;
  }

  /** Requests in work, a stream counted as one. */
  get isBusy(): boolean {
    return this.inWork > 0 || this.phase !== 'messages';
  }

  /** Ends the connection when its requests are done; new ones are refused. A byte stream ends at once. */
  stop(): void {
    this.isStopping = true;
    this.answering.isStopping = true;
    if (this.phase === 'stream') this.socket.destroy();
    else this.endIfDone();
  }

  /** Ends the connection now. */
  cut(reason: string): void {
    if (this.socket.destroyed) return;
    this.log.warn({ reason }, 'client cut off');
    this.socket.destroy();
  }

  private buildContext(options: ConnectionOptions): CallContext {
    return {
      peer: options.peer,
      readOnly: options.readOnly,
      signal: this.abort.signal,
      connection: {
        id: options.id,
        subscribe: (filter) => this.subscribe(filter),
        unsubscribe: (name) => this.subscriptions.remove(name),
        onClose: (listener) => {
          if (this.abort.signal.aborted) listener();
          else this.closeListeners.push(listener);
        },
      },
    };
  }

  private listen(): void {
    this.socket.on('data', this.onData);
    this.socket.on('end', this.onEnd);
    // 'close' follows; EPIPE and ECONNRESET are how clients leave.
    this.socket.on('error', (error) => this.log.debug({ err: error }, 'client socket failed'));
    this.socket.on('close', () => this.onClose());
  }

  private readonly onData = (chunk: Buffer): void => {
    this.reader.push(chunk);
    this.pump();
  };

  private readonly onEnd = (): void => {
    this.hasEnded = true;
    watchHalfOpen(this.socket);
    // The last message may lack its newline (`printf '{...}' | nc -N -U`).
    if (this.phase === 'messages') this.reader.push(Buffer.from('\n'));
    this.pump();
  };

  private onClose(): void {
    clearTimeout(this.firstMessageTimer);
    this.pausedWatch.stop();
    this.stopEvents?.();
    this.subscriptions.clear();
    this.outbox.clear();
    this.abort.abort(
      new VirtError('operation.aborted', {
        reason: this.isStopping ? 'the daemon stops' : 'the client left',
      }),
    );
    for (const listener of this.closeListeners.splice(0)) this.runCloseListener(listener);
  }

  private runCloseListener(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.log.error({ err: error }, 'a close listener met a bug');
    }
  }

  /** Takes messages while there is room for their requests, and reads on only then. */
  private pump(): void {
    while (this.hasRoom()) {
      let line: Buffer | undefined;
      try {
        line = this.reader.next();
      } catch (error) {
        this.refuseStream(error);
        return;
      }
      if (line === undefined) {
        this.socket.resume();
        this.endIfDone();
        return;
      }
      this.accept(line);
    }
    // In the phase `stream` the pipe owns the flow.
    if (this.phase === 'stream') return;
    this.socket.pause();
    this.pausedWatch.start();
  }

  private hasRoom(): boolean {
    if (this.socket.destroyed || this.phase !== 'messages') return false;
    if (this.inWork >= this.limits.inWork || this.outbox.isCongested) return false;
    return !this.turn.isSpent();
  }

  /** After an overlong line nothing that follows has a meaning: one answer, then the end. */
  private refuseStream(error: unknown): void {
    if (!(error instanceof LineTooLong)) throw error;
    this.log.warn({ maxBytes: error.maxBytes }, 'message too large');
    const { object } = invalidRequest(tooLong(error), null, 'request.too-large');
    this.socket.off('data', this.onData);
    this.phase = 'stream';
    this.outbox.send(`${formatError(null, object)}\n`);
    // What still comes is read and dropped, so that the answer arrives before the connection breaks.
    this.socket.resume();
    this.socket.end();
    setTimeout(() => this.socket.destroy(), 1000).unref();
  }

  private accept(line: Buffer): void {
    let message: unknown;
    try {
      message = parseMessage(line);
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      this.reply(formatError(null, badMessage(error).object));
      return;
    }
    this.inWork += 1;
    const work = Array.isArray(message) ? this.answering.answerBatch(message) : this.answerOne(message);
    work.then(
      (text) => this.finish(text),
      (error: unknown) => this.fail(error),
    );
  }

  private finish(text: string | undefined): void {
    this.inWork -= 1;
    if (text !== undefined) this.reply(text);
    this.pump();
  }

  /** Only a bug comes here: every error of a request has become an answer. */
  private fail(error: unknown): void {
    this.log.error({ err: error }, 'the connection met a bug');
    this.socket.destroy();
  }

  private reply(text: string): void {
    if (this.socket.writable) this.outbox.send(`${text}\n`);
  }

  private async answerOne(message: unknown): Promise<string | undefined> {
    const call = this.answering.read(message);
    if (call instanceof ProtocolError) return formatError(call.id, call.object);
    if (declarationOf(call.method)?.upgrade === true) return this.answerUpgrade(call);
    return this.answering.answer(call);
  }

  /** The client speaks the protocol: from now on it may send more, and stay silent. */
  private trust(): void {
    if (this.sawMessage) return;
    this.sawMessage = true;
    this.reader.maxBytes = messageLimits.requestBytes;
    clearTimeout(this.firstMessageTimer);
  }

  /** Turns the connection into a byte stream when the handler succeeds; else it goes on as it was. */
  private async answerUpgrade(call: Call): Promise<string | undefined> {
    const { id } = call;
    if (id === undefined)
      return this.answering.answerError(call, upgradeRefusal(call, 'it cannot be a notification'));
    if (this.inWork > 1)
      return this.answering.answerError(
        call,
        new VirtError('request.busy', {
          wanted: `call '${call.method}'`,
          reason: 'other requests of this connection are in work',
          hint: 'use a connection of its own',
        }),
      );
    this.phase = 'upgrading';
    let upgrade: Upgrade<unknown>;
    try {
      upgrade = (await this.answering.run(call)) as Upgrade<unknown>;
    } catch (error) {
      this.phase = 'messages';
      return this.answering.answerError(call, error);
    }
    await this.becomeStream(id, upgrade);
    return undefined;
  }

  private async becomeStream(id: RequestId, { result, stream }: Upgrade<unknown>): Promise<void> {
    this.phase = 'stream';
    this.stopEvents?.();
    this.subscriptions.clear();
    if (this.socket.writable) {
      this.outbox.send(`${formatResult(id, result)}\n`);
      await this.outboxEmpty();
    }
    // The client has left, before the answer or instead of taking it: of that a bridge would hear no more.
    if (!this.socket.writable) {
      destroyStream(stream, this.log);
      return;
    }
    this.socket.off('data', this.onData);
    this.socket.off('end', this.onEnd);
    await bridge({ socket: this.socket, stream, head: this.reader.rest(), log: this.log });
  }

  /** Settles when all messages have been handed to the socket, or the socket is gone. */
  private outboxEmpty(): Promise<void> {
    if (this.outbox.isEmpty || this.socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      this.outbox.onDrain = resolve;
      this.socket.once('close', () => resolve());
    });
  }

  private subscribe(filter: EventFilter): string {
    const name = this.subscriptions.add(filter);
    this.stopEvents ??= this.events.add((ready) => this.sendEvent(ready));
    return name;
  }

  private sendEvent(ready: ReadyEvent): void {
    for (const line of this.subscriptions.linesFor(ready)) {
      if (this.outbox.sendIfRoom(line)) continue;
      this.cut('too slow: its queue is full of events');
      this.stopEvents?.();
      return;
    }
  }

  /** Ends our side when the client has ended its own, or the daemon stops, and nothing is in work. */
  private endIfDone(): void {
    if ((this.hasEnded || this.isStopping) && this.inWork === 0 && this.phase === 'messages')
      this.socket.end();
  }
}

/** A stream nobody waits for any more. Its late errors are told to the log only. */
function destroyStream(stream: Duplex, log: Logger): void {
  stream.on('error', (error) => log.debug({ err: error }, 'abandoned stream failed'));
  stream.destroy();
}

function tooLong({ maxBytes, message }: LineTooLong): string {
  return maxBytes === messageLimits.firstRequestBytes
    ? `a connection's first message has at most ${maxBytes} bytes; after a small one, such as daemon.ping, they may be larger`
    : message;
}
