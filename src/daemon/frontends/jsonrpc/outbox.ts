/** What waits to be sent to one client: in order, counted, and never more than its limit. */
import type { Socket } from 'node:net';

export interface OutboxLimits {
  /** Events may wait up to this many bytes; one more and the client is cut. */
  readonly maxBytes: number;
  /** Messages that may wait. */
  readonly maxMessages: number;
}

/** Pieces handed to the socket at once, in bytes. */
const PIECE_BYTES = 256 * 1024;
/** With more than this waiting no further request is begun: a client must take its answers. */
const CONGESTED_BYTES = 1024 * 1024;

/**
 * The queue. Node would queue without bound inside the socket (250 MiB measured for one paused reader), so only what
 * the socket takes is handed to it.
 */
export class Outbox {
  private readonly socket: Socket;
  private readonly limits: OutboxLimits;
  private pending: string[] = [];
  private pendingBytes = 0;
  private isBlocked = false;
  /** Called when everything has been handed to the socket and the socket wants more. */
  onDrain: () => void = () => {};

  constructor(socket: Socket, limits: OutboxLimits) {
    this.socket = socket;
    this.limits = limits;
    socket.on('drain', () => this.flush());
  }

  get queuedBytes(): number {
    return this.pendingBytes + this.socket.writableLength;
  }

  get isCongested(): boolean {
    return this.queuedBytes > CONGESTED_BYTES;
  }

  get isEmpty(): boolean {
    return !this.isBlocked && this.pending.length === 0;
  }

  /** Sends one line (a response). Responses are bounded by the requests in work, so they have no limit of their own. */
  send(line: string): void {
    if (!this.isBlocked) {
      this.isBlocked = !this.socket.write(line);
      return;
    }
    this.pending.push(line);
    this.pendingBytes += Buffer.byteLength(line);
  }

  /** Sends one line if there is room for it; false means the client is too slow and must be cut. */
  sendIfRoom(line: string): boolean {
    if (this.isBlocked) {
      if (this.pending.length >= this.limits.maxMessages) return false;
      if (this.queuedBytes + line.length > this.limits.maxBytes) return false;
    }
    this.send(line);
    return true;
  }

  /** Lets go of everything that waits; the socket is gone. */
  clear(): void {
    this.pending = [];
    this.pendingBytes = 0;
  }

  private flush(): void {
    this.isBlocked = false;
    while (!this.isBlocked && this.pending.length > 0) this.isBlocked = !this.socket.write(this.takePiece());
    if (this.isEmpty) this.onDrain();
  }

  private takePiece(): string {
    let bytes = 0;
    let count = 0;
    while (count < this.pending.length && (count === 0 || bytes < PIECE_BYTES)) {
      bytes += Buffer.byteLength(this.pending[count] ?? '');
      count += 1;
    }
    const piece = this.pending.splice(0, count).join('');
    this.pendingBytes -= bytes;
    return piece;
  }
}
