/** A client of the daemon for Node programs: typed calls, events as an async iterator, byte streams. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { reasonOf, type VirtError } from '../base/errors.ts';
import { type Answer, answerError, asObject, readAnswer, readResult } from './client-answer.ts';
import {
  aborted,
  type CallOptions,
  type ConnectOptions,
  Deadline,
  gone,
  openSocket,
} from './client-socket.ts';
import { EventStream } from './event-stream.ts';
import { LineReader, messageLimits, parseMessage } from './framing.ts';
import type { EventNotification, MethodName, ParamsInput, Result, UpgradeMethodName } from './index.ts';

export type { CallOptions, ConnectOptions } from './client-socket.ts';
export type { EventStream } from './event-stream.ts';

/** Params may be left out where none is required. */
export type CallArguments<Name extends MethodName> =
  Record<string, never> extends ParamsInput<Name>
    ? [params?: ParamsInput<Name>, options?: CallOptions]
    : [params: ParamsInput<Name>, options?: CallOptions];

interface PendingCall {
  /** Runs before anything that follows the answer is looked at. */
  readonly settle: (answer: Answer) => void;
  readonly fail: (error: unknown) => void;
}

/**
 * Connects to a daemon.
 * @throws VirtError daemon.unreachable, access.denied, operation.timeout, operation.aborted
 */
export async function connectVireo(options: ConnectOptions): Promise<VireoClient> {
  return new VireoClient(await openSocket(options), options);
}

/** One connection. Calls may overlap; when it breaks, all of them fail with `daemon.unreachable`. */
export class VireoClient implements AsyncDisposable {
  private readonly socket: Socket;
  private readonly connectOptions: ConnectOptions;
  private readonly reader = new LineReader(messageLimits.responseBytes);
  private readonly pending = new Map<number, PendingCall>();
  private readonly streams = new Map<string, EventStream>();
  private nextId = 1;
  /** The daemon has answered a request: from then on it takes large ones. */
  private isIntroduced = false;
  private broken: VirtError | undefined;
  /** Settles when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;

  constructor(socket: Socket, connectOptions: ConnectOptions) {
    this.socket = socket;
    this.connectOptions = connectOptions;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.break(gone(connectOptions.socketPath, 'the daemon closed the connection'));
        resolve();
      });
    });
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('end', () => socket.end());
    socket.on('error', (error) => this.break(gone(connectOptions.socketPath, reasonOf(error), error)));
  }

  /**
   * Calls a method.
   * @throws VirtError with the daemon's code; daemon.unreachable, operation.timeout, operation.aborted
   */
  async call<Name extends MethodName>(
    name: Name,
    ...[params, options]: CallArguments<Name>
  ): Promise<Result<Name>> {
    const answer = await this.request(name, params, options ?? {}, () => {});
    return readResult(name, answer);
  }

  /** Subscribes to events: the iterator gives them in order, from the moment the subscription holds. */
  async subscribe(
    filter: ParamsInput<'event.subscribe'> = {},
    options: CallOptions = {},
  ): Promise<EventStream> {
    const stream = new EventStream((subscription) => this.unsubscribe(subscription));
    // Registered before the next message is looked at, which may be its first event.
    await this.request('event.subscribe', filter, options, (answer) => {
      if ('error' in answer) return;
      stream.subscription = readResult('event.subscribe', answer).subscription;
      this.streams.set(stream.subscription, stream);
    });
    return stream;
  }

  /**
   * Calls a method that gives a byte stream, on a connection of its own. The stream may be half-closed by `end()`.
   * @throws VirtError as `call`
   */
  async upgrade<Name extends UpgradeMethodName>(
    name: Name,
    params: ParamsInput<Name>,
    options: CallOptions = {},
  ): Promise<{ result: Result<Name>; stream: Duplex }> {
    const socket = await openSocket({ ...this.connectOptions, ...options });
    try {
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: name, params })}\n`);
      const answer = await firstAnswer(socket, this.connectOptions.socketPath, options);
      return { result: readResult(name, answer), stream: socket };
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Ends the connection; calls in work fail. */
  async close(): Promise<void> {
    this.break(gone(this.connectOptions.socketPath, 'the client closed the connection'));
    this.socket.destroy();
    await this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async request(
    method: MethodName,
    params: unknown,
    options: CallOptions,
    onAnswer: (answer: Answer) => void,
  ): Promise<Answer> {
    if (this.broken) throw this.broken;
    if (options.signal?.aborted) throw aborted(options.signal);
    const id = this.nextId;
    this.nextId += 1;
    const line = `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`;
    // Of a connection that it does not know yet, the daemon reads small messages only.
    if (!this.isIntroduced && Buffer.byteLength(line) > messageLimits.firstRequestBytes)
      await this.request('daemon.ping', undefined, options, () => {});
    const guard = new Deadline(method, options);
    try {
      return await new Promise<Answer>((resolve, reject) => {
        guard.onExpire = reject;
        this.pending.set(id, {
          settle: (answer) => {
            onAnswer(answer);
            resolve(answer);
          },
          fail: reject,
        });
        this.socket.write(line);
      });
    } finally {
      guard.stop();
      this.pending.delete(id);
    }
  }

  private async unsubscribe(subscription: string): Promise<void> {
    this.streams.delete(subscription);
    if (this.broken) return;
    await this.call('event.unsubscribe', { subscription });
  }

  private receive(chunk: Buffer): void {
    try {
      this.reader.push(chunk);
      for (let line = this.reader.next(); line !== undefined; line = this.reader.next())
        this.handle(parseMessage(line));
    } catch (error) {
      this.break(gone(this.connectOptions.socketPath, `a broken message: ${reasonOf(error)}`, error));
      this.socket.destroy();
    }
  }

  private handle(message: unknown): void {
    const fields = asObject(message);
    if (fields['method'] === 'event') this.handleEvent(fields['params']);
    else if (typeof fields['id'] === 'number') {
      this.isIntroduced = true;
      this.pending.get(fields['id'])?.settle(readAnswer(fields));
    }
    // Without an id it is an error about the connection itself, such as too many clients.
    else this.break(answerError(fields) ?? gone(this.connectOptions.socketPath, 'a message of unknown kind'));
  }

  private handleEvent(params: unknown): void {
    const notification = asObject(params) as unknown as EventNotification;
    this.streams.get(notification.subscription)?.push(notification);
  }

  private break(error: VirtError): void {
    if (this.broken) return;
    this.broken = error;
    for (const call of this.pending.values()) call.fail(error);
    for (const stream of this.streams.values()) stream.fail(error);
    this.streams.clear();
  }
}

/** Reads exactly the first line; what follows stays in the socket, for whoever reads it as a stream. */
async function firstAnswer(socket: Socket, socketPath: string, options: CallOptions): Promise<Answer> {
  const reader = new LineReader(messageLimits.responseBytes);
  const guard = new Deadline('open a byte stream', options);
  const listeners = new AbortController();
  try {
    return await new Promise<Answer>((resolve, reject) => {
      guard.onExpire = reject;
      const take = () => {
        for (let chunk = readChunk(socket); chunk !== null; chunk = readChunk(socket)) {
          reader.push(chunk);
          const line = reader.next();
          if (line === undefined) continue;
          // 'readable' instead of 'data': its removal leaves the stream as if nobody had read yet.
          listeners.abort();
          socket.off('readable', takeOrFail);
          const rest = reader.rest();
          if (rest.length > 0) socket.unshift(rest);
          resolve(readAnswer(asObject(parseMessage(line))));
          return;
        }
      };
      const takeOrFail = () => {
        try {
          take();
        } catch (error) {
          reject(gone(socketPath, reasonOf(error), error));
        }
      };
      const failed = (error?: Error) =>
        reject(gone(socketPath, error ? reasonOf(error) : 'the daemon closed the connection', error));
      onceUntil(socket, 'error', failed, listeners.signal);
      onceUntil(socket, 'end', failed, listeners.signal);
      onceUntil(socket, 'close', () => failed(), listeners.signal);
      socket.on('readable', takeOrFail);
      takeOrFail();
    });
  } finally {
    guard.stop();
  }
}

function onceUntil(
  socket: Socket,
  name: string,
  listener: (error?: Error) => void,
  signal: AbortSignal,
): void {
  socket.once(name, listener);
  signal.addEventListener('abort', () => socket.off(name, listener), { once: true });
}

function readChunk(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}
