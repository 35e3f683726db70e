/** Cuts a client's bytes into messages. Knows lengths and headers, nothing of what they mean. */
import { VirtError } from '../../../base/errors.ts';
import {
  HEADER_BYTES,
  LENGTH_BYTES,
  MAX_MESSAGE_BYTES,
  type MessageHeader,
  readHeader,
  STREAM_PACKET_BYTES,
} from '../../../libvirt/protocol/message.ts';

const READ_BYTES = 65_536;
/** A client that has not opened a connection yet has nothing long to say. */
const FIRST_MESSAGE_BYTES = 65_536;
const PREFIX_BYTES = LENGTH_BYTES + HEADER_BYTES;
/** Holds a full packet of a stream, and length word and header of what follows it. */
const SLAB_BYTES = PREFIX_BYTES + STREAM_PACKET_BYTES + PREFIX_BYTES;
/** When so much of a message has come it gets a slab, and the rest is read right into that. */
const LONG_BYTES = 16_384;
/** Slabs that are kept for the next messages; a stream has not many more under way. */
const MAX_SPARES = 12;

/** All connections read into this one: what is read is used up, or copied, before the next read. */
const sharedBuffer = Buffer.allocUnsafe(READ_BYTES);

/**
 * Takes one message. The body lies in `frame` from `start` to `end`, and is only there until the call returns.
 * @throws VirtError request.invalid to end the connection
 */
export type FrameListener = (header: MessageHeader, frame: Buffer, start: number, end: number) => void;

export class FrameReader {
  private readonly listener: FrameListener;
  /** True while no message may be handed on. */
  private readonly isHeld: () => boolean;
  /** The beginning of a message; `have` bytes of it are there. */
  private partial: Buffer | undefined;
  private have = 0;
  /** Slabs that nobody looks at: uploads send many packets, and each new buffer is work for the garbage collector. */
  private spares: Buffer[] = [];
  /** The slab that the message at hand lies in; undefined when that lies among others, or is kept. */
  private atHand: Buffer | undefined;
  /** What came behind the message that made us hold. */
  private rest: Buffer | undefined;
  /** How long a message may be, without its length word. */
  private maxBytes = FIRST_MESSAGE_BYTES;
  private isExact = false;

  constructor(listener: FrameListener, isHeld: () => boolean) {
    this.listener = listener;
    this.isHeld = isHeld;
  }

  /** Full messages are welcome from now on. */
  trust(): void {
    this.maxBytes = MAX_MESSAGE_BYTES;
  }

  /**
   * From now on no byte beyond the message at hand is read: descriptors come with the bytes behind it, and the kernel
   * throws them away when those are read as plain data.
   */
  readExactly(): void {
    this.isExact = true;
  }

  /** Where the next bytes are to be read to: those of a long message have their place already. */
  nextBuffer(): Buffer {
    const { partial, have, rest } = this;
    // What waits comes before what is read next, and the slab may be somebody else's by then.
    if (rest !== undefined) return this.isExact ? sharedBuffer.subarray(0, 1) : sharedBuffer;
    if (partial?.length === SLAB_BYTES && have >= LENGTH_BYTES && this.missing <= SLAB_BYTES - have)
      return partial.subarray(have, this.isExact ? have + this.missing : SLAB_BYTES);
    if (!this.isExact) return sharedBuffer;
    return sharedBuffer.subarray(0, Math.min(READ_BYTES, this.missing));
  }

  /**
   * For the listener: leaves the message at hand as it is until the function that this gives is called. Undefined when
   * that lies among others, and has to be copied.
   */
  keep(): (() => void) | undefined {
    const slab = this.atHand;
    if (slab === undefined) return undefined;
    this.atHand = undefined;
    return () => this.giveBack(slab);
  }

  /** Lets go of the memory that was kept for more messages. */
  forgetSpares(): void {
    this.spares = [];
  }

  private giveBack(slab: Buffer): void {
    if (this.spares.length < MAX_SPARES) this.spares.push(slab);
  }

  /** Bytes that are missing of length word and header, which every message has, or of the whole once its length is known. */
  private get missing(): number {
    if (this.partial === undefined || this.have < LENGTH_BYTES) return PREFIX_BYTES - this.have;
    return this.partial.readUInt32BE(0) - this.have;
  }

  /** Takes bytes; hands on every message that is complete. @throws VirtError request.too-large, request.invalid */
  consume(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.isHeld()) {
        this.rest = Buffer.from(bytes.subarray(at));
        return;
      }
      at = this.partial === undefined ? this.takeWhole(bytes, at) : this.takePart(bytes, at);
    }
  }

  /** Goes on after a hold with what had come by then. True when all of it was used up. */
  release(): boolean {
    const { rest } = this;
    this.rest = undefined;
    if (rest !== undefined) this.consume(rest);
    return this.rest === undefined;
  }

  /** The usual case: a message that lies in the bytes as a whole is not copied. */
  private takeWhole(bytes: Buffer, at: number): number {
    if (bytes.length - at >= LENGTH_BYTES) {
      const length = this.checked(bytes.readUInt32BE(at));
      if (bytes.length - at >= length) {
        this.listener(readHeader(bytes, at + LENGTH_BYTES), bytes, at + PREFIX_BYTES, at + length);
        return at + length;
      }
    }
    this.partial = this.spares.pop() ?? Buffer.allocUnsafe(PREFIX_BYTES);
    this.have = 0;
    return this.takePart(bytes, at);
  }

  private takePart(bytes: Buffer, start: number): number {
    let at = start;
    while (at < bytes.length) {
      const take = Math.min(this.missing, bytes.length - at);
      const partial = this.roomFor(take);
      if (!isThere(bytes, at, partial, this.have)) bytes.copy(partial, this.have, at, at + take);
      this.have += take;
      at += take;
      if (this.have < LENGTH_BYTES) break;
      const length = this.checked(partial.readUInt32BE(0));
      if (this.have < length) continue;
      this.handOn(partial, length);
      return at;
    }
    return at;
  }

  private handOn(message: Buffer, length: number): void {
    this.partial = undefined;
    this.have = 0;
    this.atHand = message.length === SLAB_BYTES ? message : undefined;
    this.listener(readHeader(message, LENGTH_BYTES), message, PREFIX_BYTES, length);
    // Not before: the listener may have us read on, or keep it.
    if (this.atHand !== message) return;
    this.atHand = undefined;
    this.giveBack(message);
  }

  /** Grows with what really comes, so that an announced length costs no more than a slab. */
  private roomFor(more: number): Buffer {
    const partial = this.partial as Buffer;
    const needed = this.have + more;
    if (needed <= partial.length) return partial;
    const grown =
      needed > LONG_BYTES && needed <= SLAB_BYTES
        ? (this.spares.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES))
        : Buffer.allocUnsafe(Math.max(needed, 2 * partial.length));
    partial.copy(grown, 0, 0, this.have);
    this.partial = grown;
    return grown;
  }

  private checked(length: number): number {
    if (length >= PREFIX_BYTES && length <= this.maxBytes + LENGTH_BYTES) return length;
    throw new VirtError(length < PREFIX_BYTES ? 'request.invalid' : 'request.too-large', {
      wanted: 'read a message',
      reason: `a length of ${length} bytes; from ${PREFIX_BYTES} to ${this.maxBytes + LENGTH_BYTES} are allowed here`,
    });
  }
}

/** True when bytes were read right to where they belong. */
function isThere(bytes: Buffer, at: number, place: Buffer, offset: number): boolean {
  return bytes.buffer === place.buffer && bytes.byteOffset + at === place.byteOffset + offset;
}
