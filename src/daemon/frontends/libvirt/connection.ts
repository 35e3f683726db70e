/** One client of libvirt's protocol: its messages in, replies, events and stream packets out. */
import { Socket } from 'node:net';
import { isVirtError, reasonOf, VirtError } from '../../../base/errors.ts';
import { close } from '../../../base/ffi.ts';
import type { Logger } from '../../../base/log.ts';
import { TurnShare } from '../../../base/turns.ts';
import { LibvirtError } from '../../../libvirt/errors.ts';
import { type MessageHeader, messageType } from '../../../libvirt/protocol/message.ts';
import { keepalive, type RemoteMessageName } from '../../../libvirt/protocol/programs.ts';
import { Admission } from './admission.ts';
import { ServerCall } from './call.ts';
import { ClientRecord } from './client-record.ts';
import { ClientStreams } from './client-streams.ts';
import type { ClientConnection, RemoteClient } from './context.ts';
import { type DescriptorPassing, receiveDescriptors } from './descriptors.ts';
import { type Answerable, findCall } from './dispatch.ts';
import { EventCallbacks } from './events/callbacks.ts';
import { MonitorCallbacks } from './events/monitor-callbacks.ts';
import type { OutgoingEvent } from './events/outgoing.ts';
import { FrameReader } from './framing.ts';
import type { HandlerTable } from './handlers/table.ts';
import { Keepalive } from './keepalive.ts';
import { Outbox } from './outbox.ts';
import type { SaslExchange, SaslParts } from './sasl/exchange.ts';
import { Speaker } from './speaker.ts';

/** So many calls of one client are in work; then we stop reading from it (libvirt's max_client_requests). */
const MAX_CALLS = 5;
/** A client that doesn't read its events and replies is cut off when so much waits for it. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** A call that may have changed a domain. */
export interface DomainCall {
  readonly uuid: string;
  readonly procedure: string;
  readonly peer: ClientConnection['peer'];
  /** Milliseconds. */
  readonly ms: number;
  /** Undefined when it went well. */
  readonly error: string | undefined;
}

export interface ConnectionOptions {
  readonly id: string;
  /** The connection's descriptor; belongs to this object from now on. */
  readonly fd: number;
  readonly peer: ClientConnection['peer'];
  readonly isReadOnlySocket: boolean;
  readonly handlers: HandlerTable;
  /** Has to agree before the client may do anything; undefined where the socket's rights are enough. */
  readonly authenticate?: () => Promise<void>;
  /** The client as another host's. */
  readonly remote?: RemoteClient;
  /** It has to show who it is by SASL before it may do anything. */
  readonly sasl?: Pick<SaslParts, 'users' | 'failures'>;
  readonly descriptors: DescriptorPassing;
  readonly log: Logger;
  /** Hears how calls ended that may change a domain. */
  readonly onChange?: (change: DomainCall) => void;
  /** Called once, when the connection has closed. */
  readonly onGone: () => void;
}

export class LibvirtConnection implements ClientConnection {
  readonly id: string;
  readonly peer: ClientConnection['peer'];
  isReadOnlySocket: boolean;
  readonly remote: RemoteClient | undefined;
  readonly callbacks = new EventCallbacks();
  readonly monitorCallbacks = new MonitorCallbacks((body) =>
    this.sendUnasked(() => this.speaker.qemuMessage('domainMonitorEvent', body)),
  );
  isReadOnly: boolean;
  uri: string | undefined;
  private readonly options: ConnectionOptions;
  private readonly socket: Socket;
  private readonly outbox: Outbox;
  private readonly speaker: Speaker;
  private readonly frames: FrameReader;
  private readonly admission: Admission;
  private readonly streams: ClientStreams;
  private readonly closeListeners: (() => void)[] = [];
  private readonly record: ClientRecord | undefined;
  private keepalive: Keepalive | undefined;
  private callsInWork = 0;
  private isExpectingDescriptors = false;
  private isAwaitingDescriptors = false;
  private isClosing = false;
  private isGone = false;
  private isReleasing = false;
  private readonly turn = new TurnShare(() => this.release());

  constructor(options: ConnectionOptions) {
    this.options = options;
    this.id = options.id;
    this.peer = options.peer;
    this.isReadOnlySocket = options.isReadOnlySocket;
    this.isReadOnly = options.isReadOnlySocket;
    this.remote = options.remote;
    if (options.log.isLevelEnabled('debug')) this.record = new ClientRecord(options.log, options.peer.pid);
    this.admission = new Admission(options, {
      onReader: () => {
        this.isReadOnlySocket = true;
      },
      onStranger: () => this.cut('it has not authenticated'),
    });
    this.frames = new FrameReader(
      (header, frame, start, end) => this.onMessage(header, frame, start, end),
      () => this.isHeld,
    );
    this.socket = new Socket({
      fd: options.fd,
      readable: true,
      writable: true,
      onread: {
        buffer: () => this.frames.nextBuffer(),
        callback: (size, buffer) => this.onBytes(Buffer.from(buffer.buffer, buffer.byteOffset, size)),
      },
    });
    this.outbox = new Outbox(this.socket, options.fd, (socket, fd) => options.descriptors.send(socket, fd));
    this.speaker = new Speaker(this.outbox);
    this.streams = new ClientStreams({
      outbox: this.outbox,
      keepPacket: () => this.frames.keep(),
      onRelieved: () => this.release(),
      onLastGone: () => this.frames.forgetSpares(),
    });
    this.socket.on('error', (error) =>
      options.log.debug({ reason: reasonOf(error) }, 'client socket failed'),
    );
    this.socket.on('end', () => this.socket.end());
    this.socket.on('drain', () => this.onDrained());
    this.socket.once('close', () => this.onClosed());
  }

  /** Begins to read. */
  start(): void {
    this.socket.resume();
  }

  get isOpen(): boolean {
    return this.uri !== undefined;
  }

  get mustAuthenticate(): boolean {
    return this.admission.isPending;
  }

  get sasl(): SaslExchange | undefined {
    return this.admission.sasl;
  }

  authenticate(): Promise<void> {
    return this.admission.ask();
  }

  open(uri: string, readOnly: boolean): void {
    this.uri = uri;
    this.isReadOnly = readOnly || this.isReadOnlySocket;
    this.frames.trust();
  }

  closeAfterReply(): void {
    this.isClosing = true;
  }

  startKeepalive(): void {
    this.keepalive ??= new Keepalive({
      sendPing: () => this.speaker.keepalive(keepalive.ping),
      onDead: () => this.cut('it does not answer'),
      isDeaf: () => this.isHeld,
    });
  }

  expectDescriptors(): void {
    this.isExpectingDescriptors = true;
    this.frames.readExactly();
  }

  onClose(listener: () => void): void {
    if (this.isGone) listener();
    else this.closeListeners.push(listener);
  }

  /** Sends what this client has asked for of an event. */
  deliver(event: OutgoingEvent): void {
    this.callbacks.deliver(event, (message, body) => this.sendMessage(message, body));
  }

  /** Lets calls in work end and closes. */
  stop(): void {
    this.isClosing = true;
    this.closeIfDone();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** No message may be handed on: too many calls, a stream that takes nothing, descriptors on their way, others' turn. */
  private get isHeld(): boolean {
    return (
      this.isClosing ||
      this.isAwaitingDescriptors ||
      this.callsInWork >= MAX_CALLS ||
      this.outbox.waitingBytes > MAX_WAITING_BYTES ||
      this.streams.isClogged ||
      this.turn.isSpent()
    );
  }

  /** False stops reading; `release` goes on. */
  private onBytes(bytes: Buffer): boolean {
    this.outbox.hold();
    try {
      this.frames.consume(bytes);
    } catch (error) {
      this.cut(reasonOf(error));
      return false;
    } finally {
      this.outbox.release();
    }
    if (!this.isHeld) return true;
    // Node's own note of it: `resume` then starts again.
    this.socket.pause();
    return false;
  }

  /** Goes on reading when nothing holds us any more. */
  private release(): void {
    if (this.isReleasing || this.isGone || this.isHeld) return;
    this.isReleasing = true;
    this.outbox.hold();
    try {
      if (this.frames.release() && !this.isHeld) this.socket.resume();
    } catch (error) {
      this.cut(reasonOf(error));
    } finally {
      this.outbox.release();
      this.isReleasing = false;
    }
  }

  private onMessage(header: MessageHeader, frame: Buffer, start: number, end: number): void {
    this.keepalive?.heard();
    if (header.program === keepalive.program) {
      if (header.procedure === keepalive.ping) this.speaker.keepalive(keepalive.pong);
      return;
    }
    switch (header.type) {
      case messageType.call:
        return this.onCall(header, frame, start, end, []);
      case messageType.callWithFds:
        return this.onCallWithFds(header, frame, start, end);
      case messageType.stream:
      case messageType.streamHole:
        return this.streams.onPacket(header, frame.subarray(start, end));
      default:
        this.options.log.debug({ type: header.type }, 'dropped a message of a type that clients do not send');
    }
  }

  /** The descriptors come behind the message, one with each byte; nothing else may be read before. */
  private onCallWithFds(header: MessageHeader, frame: Buffer, start: number, end: number): void {
    const count = end - start >= 4 ? frame.readUInt32BE(start) : -1;
    const body = Buffer.from(frame.subarray(start, end));
    const { descriptors } = this.options;
    if (!this.isExpectingDescriptors || count < 0 || count > descriptors.maxPerMessage)
      throw new VirtError('request.invalid', { reason: `${count} descriptors with a message` });
    this.isAwaitingDescriptors = true;
    this.callWithDescriptors(header, body, count).catch((error: unknown) => this.cut(reasonOf(error)));
  }

  private async callWithDescriptors(header: MessageHeader, body: Buffer, count: number): Promise<void> {
    const fds = await receiveDescriptors(this.options.descriptors, this.options.fd, {
      count,
      isGone: () => this.isGone,
    });
    this.isAwaitingDescriptors = false;
    this.onCall(header, body, 4, body.length, fds);
    this.release();
  }

  private onCall(header: MessageHeader, frame: Buffer, start: number, end: number, fds: number[]): void {
    let found: Answerable;
    try {
      found = findCall(this.options.handlers, this, header, { frame, start, end });
    } catch (error) {
      for (const fd of fds) close(fd);
      this.speaker.error(header, error);
      return;
    }
    const call = new ServerCall(this, found.name, fds, () => this.streams.checkRoom());
    const startedAt = found.changes === undefined ? 0 : performance.now();
    const succeed = (value: unknown): void => {
      this.record?.note(found.name);
      this.tellChange(found, startedAt, undefined);
      this.answer(header, found, call, value);
    };
    const fail = (error: unknown): void => {
      this.tellChange(found, startedAt, reasonOf(error));
      this.answerError(header, found, call, error);
    };
    let result: unknown;
    try {
      result = found.run(call);
    } catch (error) {
      return fail(error);
    }
    if (!(result instanceof Promise)) return succeed(result);
    this.callsInWork++;
    result.then(succeed, fail).finally(() => {
      this.callsInWork--;
      this.release();
      this.closeIfDone();
    });
  }

  private tellChange(
    { changes: uuid, name }: Answerable,
    startedAt: number,
    error: string | undefined,
  ): void {
    if (uuid === undefined) return;
    const ms = Math.round(performance.now() - startedAt);
    this.options.onChange?.({ uuid, procedure: name, peer: this.peer, ms, error });
  }

  private answer(header: MessageHeader, found: Answerable, call: ServerCall, value: unknown): void {
    call.closeFds();
    try {
      this.speaker.reply(header, found.ret, value, call.replyFds);
    } catch (error) {
      // The value is more than the protocol can carry.
      return this.answerError(header, found, call, error);
    }
    if (call.plan !== undefined) this.streams.start(header, call.plan);
    this.closeIfDone();
  }

  private answerError(header: MessageHeader, found: Answerable, call: ServerCall, error: unknown): void {
    call.closeFds();
    for (const fd of call.replyFds) close(fd);
    call.plan?.duplex.destroy();
    const { log } = this.options;
    if (error instanceof LibvirtError || isVirtError(error))
      log.debug({ procedure: found.name, reason: reasonOf(error) }, 'call failed');
    else log.error({ err: error, procedure: found.name }, 'call failed');
    this.speaker.error(header, error);
  }

  private sendMessage(name: RemoteMessageName, body: unknown): void {
    this.sendUnasked(() => this.speaker.message(name, body));
  }

  private sendUnasked(send: () => void): void {
    if (this.outbox.waitingBytes > MAX_WAITING_BYTES) this.cut('it does not read its events');
    else send();
  }

  private onDrained(): void {
    this.streams.onClientDrained();
    this.release();
  }

  private closeIfDone(): void {
    if (!this.isClosing || this.callsInWork > 0 || this.isGone) return;
    this.outbox.release();
    this.socket.end(() => this.socket.destroy());
  }

  private cut(reason: string): void {
    if (this.isGone) return;
    this.options.log.warn({ reason }, 'cut off a client');
    this.socket.destroy();
  }

  private onClosed(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.keepalive?.stop();
    this.admission.stop();
    this.callbacks.clear();
    this.monitorCallbacks.clear();
    this.streams.end();
    for (const listener of this.closeListeners.splice(0)) listener();
    this.record?.tell();
    this.options.onGone();
  }
}
