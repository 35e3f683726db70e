/** What goes out to a client, in order: messages, and the descriptors that follow some of them. */
import { writeSync, writevSync } from 'node:fs';
import type { Socket } from 'node:net';
import { withoutBytes } from '../../../base/buffers.ts';
import { errnoOf } from '../../../base/errors.ts';
import { growSendBuffer } from '../../../base/ffi/socket-buffers.ts';
import { LENGTH_BYTES, MAX_MESSAGE_BYTES, type MessageHeader } from '../../../libvirt/protocol/message.ts';
import type { Xdr } from '../../../libvirt/xdr/scalars.ts';
import { XdrWriter } from '../../../libvirt/xdr/xdr.ts';

/** Sends a copy of one descriptor with one byte of zero; false when there is no room now. */
export type DescriptorSender = (socketFd: number, fd: number) => boolean;

interface Item {
  readonly pieces: readonly Buffer[];
  readonly fds: readonly number[];
  /** Called once, when all of it was sent or never will be. */
  readonly done?: (() => void) | undefined;
}

/** So much of a batch is sent at once: beyond it one big write costs more than two. */
const BATCH_BYTES = 256 * 1024;
/** Above this streams wait. */
const FULL_BYTES = 1024 * 1024;
/** What a client may leave unread in the kernel of a long answer: with the usual 208 KiB both sides wait for each other. */
const LONG_SEND_BYTES = 1024 * 1024;
const RETRY_MS = 5;
const MAX_RETRIES = 2000;

/** One for all connections: a message is made at one go. */
const writer = new XdrWriter(MAX_MESSAGE_BYTES + LENGTH_BYTES);

/**
 * The bytes of a message. `fdCount` announces descriptors. They lie in the one writer there is, so they are only good
 * until the next message is made. @throws XdrError
 */
export function encodeMessage<T>(header: MessageHeader, codec: Xdr<T>, body: T, fdCount?: number): Buffer {
  startMessage(header);
  if (fdCount !== undefined) writer.word(fdCount);
  codec.encode(writer, body);
  writer.patchWord(0, writer.length);
  return writer.view();
}

/** Up to here a copy costs less than a second write. */
const COPIED_BYTES = 65_536;

/** A message whose body is plain bytes, without length and padding; a long body is sent as it is, not copied. */
export function encodeRaw(header: MessageHeader, body: Buffer): Buffer[] {
  startMessage(header);
  const head = writer.take();
  head.writeUInt32BE(head.length + body.length, 0);
  if (body.length === 0) return [head];
  return body.length <= COPIED_BYTES ? [Buffer.concat([head, body])] : [head, body];
}

function startMessage(header: MessageHeader): void {
  writer.reset();
  writer.word(0); // the length, when it is known
  writer.word(header.program);
  writer.word(header.version);
  writer.word(header.procedure);
  writer.word(header.type);
  writer.word(header.serial);
  writer.word(header.status);
}

/** Where a batch is gathered, and whose it is: one for all, as a connection holds only while it works on one read. */
const batch = {
  bytes: Buffer.allocUnsafeSlow(BATCH_BYTES),
  length: 0,
  owner: undefined as Outbox | undefined,
};

export class Outbox {
  private readonly socket: Socket;
  private readonly socketFd: number;
  private readonly sendDescriptor: DescriptorSender;
  /** What waits behind descriptors that are on their way; undefined while none are. */
  private behind: Item[] | undefined;
  private behindBytes = 0;

  constructor(socket: Socket, socketFd: number, sendDescriptor: DescriptorSender) {
    this.socket = socket;
    this.socketFd = socketFd;
    this.sendDescriptor = sendDescriptor;
  }

  /** Bytes that the client has not read yet, as far as we hold them. */
  get waitingBytes(): number {
    const inBatch = batch.owner === this ? batch.length : 0;
    return this.socket.writableLength + this.behindBytes + inBatch;
  }

  /** True when whoever makes data for this client should wait for the socket to drain. */
  get isFull(): boolean {
    return this.waitingBytes > FULL_BYTES;
  }

  /** Makes room in the kernel for much that will go out. */
  expectMuch(): void {
    if (!this.socket.destroyed) growSendBuffer(this.socketFd, LONG_SEND_BYTES);
  }

  /** `bytes` are the caller's again when this returns. */
  send(bytes: Buffer): void {
    if (this.isClosed) return;
    if (this.behind !== undefined) this.putBehind({ pieces: [Buffer.from(bytes)], fds: [] }, this.behind);
    else if (batch.owner === this) this.putIntoBatch(bytes);
    else this.writeCopy(bytes);
  }

  /** One message in several pieces, without a copy. `done` is called when they may be written to again. */
  sendPieces(pieces: readonly Buffer[], done?: () => void): void {
    this.put({ pieces, fds: [], done });
  }

  /** Each descriptor follows the message with a byte of its own; `done` is called when they may be closed. */
  sendWithFds(bytes: Buffer, fds: readonly number[], done: () => void): void {
    this.put({ pieces: [Buffer.from(bytes)], fds, done });
  }

  /** Holds messages back until `release`: what answers one read leaves in one write. */
  hold(): void {
    // While another one's is under way each message leaves at once, which is right as well.
    batch.owner ??= this;
  }

  /** Ends a hold and sends what it kept. */
  release(): void {
    if (batch.owner !== this) return;
    this.flush();
    batch.owner = undefined;
  }

  private get isClosed(): boolean {
    return this.socket.destroyed || !this.socket.writable;
  }

  private flush(): void {
    if (batch.owner !== this || batch.length === 0) return;
    const { length } = batch;
    batch.length = 0;
    this.writeCopy(batch.bytes.subarray(0, length));
  }

  private put(item: Item): void {
    if (this.isClosed) return item.done?.();
    if (this.behind !== undefined) return this.putBehind(item, this.behind);
    this.flush();
    if (item.fds.length > 0) this.pass(item);
    else this.write(item.pieces, item.done);
  }

  private putBehind(item: Item, behind: Item[]): void {
    behind.push(item);
    this.behindBytes += bytesOf(item);
  }

  private putIntoBatch(bytes: Buffer): void {
    if (batch.length + bytes.length > BATCH_BYTES) this.flush();
    if (bytes.length > BATCH_BYTES) return this.writeCopy(bytes);
    bytes.copy(batch.bytes, batch.length);
    batch.length += bytes.length;
  }

  /** Writes what is not ours to keep: of that which the kernel does not take now, a copy waits. */
  private writeCopy(bytes: Buffer): void {
    if (this.socket.destroyed) return;
    const taken = this.socket.writableLength === 0 ? this.writeNow([bytes]) : 0;
    if (taken < bytes.length) this.socket.write(Buffer.from(bytes.subarray(taken)));
  }

  /**
   * Writes to the descriptor itself while nothing waits in Node's queue: a write through the queue costs several times
   * the system call. What the kernel does not take goes there.
   */
  private write(pieces: readonly Buffer[], done?: () => void): void {
    // The number of a closed descriptor may be another client's by now.
    if (this.socket.destroyed) return done?.();
    const left = this.socket.writableLength === 0 ? withoutBytes(pieces, this.writeNow(pieces)) : pieces;
    if (left.length === 0) return done?.();
    this.socket.cork();
    for (const [index, piece] of left.entries())
      this.socket.write(piece, index === left.length - 1 ? done : undefined);
    this.socket.uncork();
  }

  /** Bytes that the kernel took. */
  private writeNow(pieces: readonly Buffer[]): number {
    const [first, ...others] = pieces;
    try {
      if (first === undefined) return 0;
      return others.length === 0 ? writeSync(this.socketFd, first) : writevSync(this.socketFd, pieces);
    } catch (error) {
      // EAGAIN: no room. Of all others (EPIPE) the queue's write finds out as well, and ends the connection.
      if (errnoOf(error) === undefined) throw error;
      return 0;
    }
  }

  /** Everything before it must have left the process: the descriptors go past Node's queue. */
  private pass(item: Item): void {
    this.behind = [];
    this.socket.write(Buffer.concat(item.pieces), (error) => {
      if (error) this.finish(item);
      else this.passNext(item, 0, 0);
    });
  }

  private passNext(item: Item, index: number, retries: number): void {
    const fd = item.fds[index];
    if (fd === undefined || this.socket.destroyed) return this.finish(item);
    try {
      if (this.sendDescriptor(this.socketFd, fd)) return this.passNext(item, index + 1, 0);
    } catch {
      // The client has gone, or the kernel refuses: without its descriptors the stream of messages is broken.
      this.socket.destroy();
      return this.finish(item);
    }
    if (retries === MAX_RETRIES) this.socket.destroy();
    setTimeout(() => this.passNext(item, index, retries + 1), RETRY_MS);
  }

  private finish(item: Item): void {
    item.done?.();
    const waiting = this.behind ?? [];
    this.behind = undefined;
    this.behindBytes = 0;
    for (const next of waiting) this.put(next);
  }
}

const bytesOf = ({ pieces }: Item): number => pieces.reduce((sum, { length }) => sum + length, 0);
