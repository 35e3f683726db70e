/** One stream of a connection: packets of the client onto a duplex, and what the duplex gives out as packets. */
import { errorBodyOf, errorDomain, errorNumber, LibvirtError } from '../../../libvirt/errors.ts';
import {
  errorBody,
  type MessageHeader,
  messageStatus,
  messageType,
  STREAM_PACKET_BYTES,
  streamHole,
} from '../../../libvirt/protocol/message.ts';
import { decodeAll } from '../../../libvirt/xdr/xdr.ts';
import type { Hole, StreamPlan } from './context.ts';
import { encodeMessage, encodeRaw, type Outbox } from './outbox.ts';

const nothing = Buffer.alloc(0);
/** Calls behind the last announced byte wait so long for all to be on disk: less than a client waits for a pong (30 s). */
const SETTLE_MS = 20_000;

export interface ServerStreamOptions {
  readonly plan: StreamPlan;
  /** Header of the call that opened it: all packets repeat program, procedure and serial. */
  readonly call: MessageHeader;
  readonly outbox: Outbox;
  /** Leaves the packet at hand as it is until the function that it gives is called; undefined when it can't. */
  readonly keepPacket: () => (() => void) | undefined;
  /** Called once, when no packet of it is expected any more. */
  readonly onGone: () => void;
  /** Called when the duplex takes data again after it did not. */
  readonly onRelieved: () => void;
}

export class ServerStream {
  private readonly options: ServerStreamOptions;
  /** The client was told that no more data comes. */
  private isSourceDone = false;
  private isGone = false;
  private isPausedForClient = false;
  /** The client has ended it: that the duplex is cut short by that is no failure. */
  private isLettingGo = false;
  /** Bytes and holes that have come. */
  private takenBytes = 0;
  /** All that was announced has come: the duplex was told the end. */
  private isComplete = false;
  private settling: NodeJS.Timeout | undefined;

  constructor(options: ServerStreamOptions) {
    this.options = options;
    // From its first moment: a duplex that fails before the reply must not end the daemon.
    options.plan.duplex.on('error', (error) => this.fail(error));
  }

  /** True while the duplex can't take more from the client, or makes the most of what it has got. */
  get isClogged(): boolean {
    const { duplex } = this.options.plan;
    if (this.settling !== undefined) return true;
    return !this.isGone && duplex.writable && duplex.writableNeedDrain;
  }

  /** Begins to send, after the reply. */
  start(): void {
    const { duplex, takesData } = this.options.plan;
    if (!takesData) this.options.outbox.expectMuch();
    duplex.on('drain', () => this.options.onRelieved());
    duplex.on('close', () => {
      this.sourceDone();
      // What is destroyed never drains.
      this.options.onRelieved();
    });
    duplex.once('end', () => this.sourceDone());
    duplex.on('data', (chunk: Buffer | Hole) => this.sendPiece(chunk));
    if (duplex.destroyed) this.sourceDone();
  }

  /** The client has read what it was sent. */
  onClientDrained(): void {
    if (!this.isPausedForClient) return;
    this.isPausedForClient = false;
    this.options.plan.duplex.resume();
  }

  /** Takes a packet; `data` is only there during the call. */
  onPacket(header: MessageHeader, data: Buffer): void {
    if (this.isGone || this.isLettingGo) return;
    if (header.type === messageType.streamHole) return this.onHole(data);
    if (header.status === messageStatus.continue) this.onData(data);
    else if (header.status === messageStatus.ok) this.onFinish();
    else this.onAbort();
  }

  /** The connection has closed. */
  drop(): void {
    this.isGone = true;
    clearTimeout(this.settling);
    if (!this.isComplete) this.options.plan.duplex.destroy();
  }

  private onData(data: Buffer): void {
    const { duplex, takesData } = this.options.plan;
    if (!takesData) return this.fail(readOnlyStream());
    // An empty packet: the client will send no more.
    if (data.length === 0) duplex.end();
    else if (this.isComplete) this.fail(tooMuch());
    else if (duplex.writable) {
      this.pass(data);
      this.count(data.length);
    }
  }

  /**
   * libvirt has each byte in the volume when it has taken it, so that some clients (vagrant-libvirt) never finish a stream
   * and use the volume at once: what they ask for next waits.
   */
  private count(bytes: number): void {
    this.takenBytes += bytes;
    if (this.takenBytes !== this.options.plan.expectedBytes) return;
    const { duplex } = this.options.plan;
    this.isComplete = true;
    this.settling = setTimeout(() => this.settled(), SETTLE_MS).unref();
    for (const event of ['finish', 'close']) duplex.once(event, () => this.settled());
    duplex.end();
  }

  private settled(): void {
    clearTimeout(this.settling);
    this.settling = undefined;
    if (!this.isGone) this.options.onRelieved();
  }

  /** The packet's own bytes where the duplex returns them, and a copy where that is not so. */
  private pass(data: Buffer): void {
    const { plan, keepPacket } = this.options;
    const giveBack = plan.returnsBuffers === true ? keepPacket() : undefined;
    if (giveBack === undefined) plan.duplex.write(Buffer.from(data));
    else plan.duplex.write(data, giveBack);
  }

  private onHole(data: Buffer): void {
    const { duplex, takesHoles } = this.options.plan;
    if (takesHoles !== true) return this.fail(noHoles());
    try {
      const { length, flags } = decodeAll(streamHole, data);
      if (typeof length === 'bigint' || length < 0 || flags !== 0) throw badHole(length, flags);
      if (this.isComplete) throw tooMuch();
      if (!duplex.writable) return;
      duplex.write({ holeBytes: length } satisfies Hole);
      this.count(length);
    } catch (error) {
      this.fail(error);
    }
  }

  private onFinish(): void {
    const { plan } = this.options;
    if (plan.onFinish === 'destroy') return this.letGo();
    if (plan.duplex.writableFinished) return this.confirm();
    // Not the callback of `end`, which is called for an error too: that is told by `fail`.
    plan.duplex.once('finish', () => this.confirm());
    plan.duplex.end();
  }

  private onAbort(): void {
    if (this.isComplete) this.onFinish();
    else this.letGo();
  }

  /** Confirms when it is closed, so that the client can open the same console again at once. */
  private letGo(): void {
    const { duplex } = this.options.plan;
    this.isSourceDone = true;
    this.isLettingGo = true;
    if (duplex.closed) return this.confirm();
    duplex.once('close', () => this.confirm());
    duplex.destroy();
  }

  private sendPiece(piece: Buffer | Hole): void {
    if (this.isGone || this.isSourceDone) return;
    if (piece instanceof Uint8Array) this.sendData(piece);
    else this.sendHole(piece);
    if (!this.options.outbox.isFull) return;
    this.isPausedForClient = true;
    this.options.plan.duplex.pause();
  }

  private sendData(chunk: Buffer): void {
    const { onSent } = this.options.plan;
    const sent = onSent && (() => onSent(chunk));
    for (let at = 0; at < chunk.length; at += STREAM_PACKET_BYTES) {
      const isLast = at + STREAM_PACKET_BYTES >= chunk.length;
      const packet = chunk.subarray(at, at + STREAM_PACKET_BYTES);
      this.sendPacket(messageStatus.continue, packet, isLast ? sent : undefined);
    }
  }

  private sendHole({ holeBytes }: Hole): void {
    const header = { ...this.headerOf(messageStatus.continue), type: messageType.streamHole };
    this.options.outbox.send(encodeMessage(header, streamHole, { length: holeBytes, flags: 0 }));
  }

  /** An empty packet: no more data comes. The client then finishes the stream. */
  private sourceDone(): void {
    if (this.isGone || this.isSourceDone) return;
    this.isSourceDone = true;
    this.sendPacket(messageStatus.continue, nothing);
  }

  private confirm(): void {
    if (this.isGone) return;
    this.sendPacket(messageStatus.ok, nothing);
    this.gone();
  }

  private fail(error: unknown): void {
    if (this.isGone || this.isLettingGo) return;
    const header = this.headerOf(messageStatus.error);
    this.options.outbox.send(encodeMessage(header, errorBody, errorBodyOf(streamError(error))));
    this.gone();
    this.options.plan.duplex.destroy();
  }

  private gone(): void {
    this.isGone = true;
    this.options.onGone();
  }

  private sendPacket(status: number, data: Buffer, done?: () => void): void {
    this.options.outbox.sendPieces(encodeRaw(this.headerOf(status), data), done);
  }

  private headerOf(status: number): MessageHeader {
    return { ...this.options.call, type: messageType.stream, status };
  }
}

/** What a plain error of a pipe or terminal means to a client. */
function streamError(error: unknown): unknown {
  if (error instanceof LibvirtError || !(error instanceof Error) || error.name === 'VirtError') return error;
  return new LibvirtError(errorNumber.systemError, error.message, errorDomain.streams);
}

function tooMuch(): LibvirtError {
  return new LibvirtError(errorNumber.operationFailed, 'more came than was announced', errorDomain.streams);
}

function badHole(length: number | bigint, flags: number): LibvirtError {
  return new LibvirtError(
    errorNumber.invalidArg,
    `a hole of ${length} bytes with flags ${flags}`,
    errorDomain.streams,
  );
}

function noHoles(): LibvirtError {
  return new LibvirtError(errorNumber.operationInvalid, 'this stream takes no holes', errorDomain.streams);
}

function readOnlyStream(): LibvirtError {
  return new LibvirtError(errorNumber.operationInvalid, 'this stream can only be read', errorDomain.streams);
}
