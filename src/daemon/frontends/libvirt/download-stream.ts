/**
 * Downloads of volumes as streams of libvirt: what the engine sends as frames (base/sparse-frames.ts) becomes bytes and
 * holes. No byte is copied on the way, and the buffers go back to be read into again.
 */
import { Duplex } from 'node:stream';
import { FrameReader, type Piece } from '../../../base/sparse-frames.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../libvirt/errors.ts';
import { STREAM_PACKET_BYTES } from '../../../libvirt/protocol/message.ts';
import type { Hole } from './context.ts';

/** Holes that a client can't take are sent as so many zeros at a time. */
const ZEROS = Buffer.alloc(STREAM_PACKET_BYTES);
/** Pieces that wait for the client at most, besides those of the engine. */
const MAX_WAITING_PIECES = 4;

export interface EngineDownload {
  /** Gives frames. */
  readonly stream: Duplex;
  /** Takes back a buffer of its data that nobody looks at any more. */
  readonly giveBack: (bytes: Buffer) => void;
}

export interface ClientDownload {
  /** Of buffers and holes; without `sparse` of buffers alone. */
  readonly duplex: Duplex;
  /** To be called for each buffer that was sent. */
  readonly onSent: (bytes: Buffer) => void;
}

/** What the engine sends as frames, as buffers and holes; without `sparse` as bytes alone. */
export function downloadStream(
  { stream: frames, giveBack }: EngineDownload,
  options: { readonly sparse: boolean },
): ClientDownload {
  const unpacking = new Unpacking(frames, options.sparse);
  const onSent = (bytes: Buffer) => {
    if (bytes.buffer !== ZEROS.buffer) giveBack(bytes);
  };
  return { duplex: unpacking.duplex, onSent };
}

/** One download on its way from frames to pieces, at the pace of whoever reads `duplex`. */
class Unpacking {
  readonly duplex: Duplex;
  private readonly frames: Duplex;
  private readonly isSparse: boolean;
  private readonly reader = new FrameReader();
  private backlog: (Buffer | Hole)[] = [];
  private isPumping = false;
  private hasEnded = false;

  constructor(frames: Duplex, isSparse: boolean) {
    this.frames = frames;
    this.isSparse = isSparse;
    this.duplex = new Duplex({
      readableObjectMode: true,
      readableHighWaterMark: MAX_WAITING_PIECES,
      read: () => this.pump(),
      write: (_chunk, _encoding, callback) => callback(), // A client has nothing to say here.
      destroy: (error, callback) => {
        frames.destroy();
        callback(error);
      },
    });
    frames.on('data', (chunk: Buffer) => this.take(chunk));
    frames.once('end', () => this.end());
    frames.once('error', (error) => this.duplex.destroy(error));
    frames.once('close', () => this.end());
  }

  private take(chunk: Buffer): void {
    try {
      for (const piece of this.reader.read(chunk)) this.keep(piece);
    } catch (error) {
      this.duplex.destroy(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.pump();
  }

  private keep(piece: Piece): void {
    if (piece.kind === 'data') this.backlog.push(piece.bytes);
    else if (piece.kind === 'hole') this.backlog.push({ holeBytes: piece.length });
    else if (piece.kind === 'error') throw brokeOff(piece.text);
  }

  /** Passes on what has come, until the reader has enough. */
  private pump(): void {
    if (this.isPumping) return;
    this.isPumping = true;
    let wantsMore = true;
    for (let next = this.next(); next !== undefined; next = wantsMore ? this.next() : undefined)
      wantsMore = this.duplex.push(next);
    this.isPumping = false;
    if (this.backlog.length > 0) this.frames.pause();
    else if (this.hasEnded) this.duplex.push(null);
    else this.frames.resume();
  }

  private next(): Buffer | Hole | undefined {
    const first = this.backlog.shift();
    if (first === undefined || first instanceof Uint8Array || this.isSparse) return first;
    const bytes = Math.min(first.holeBytes, ZEROS.length);
    if (first.holeBytes > bytes) this.backlog.unshift({ holeBytes: first.holeBytes - bytes });
    return bytes === 0 ? this.next() : ZEROS.subarray(0, bytes);
  }

  /** No more frames come. */
  private end(): void {
    if (this.hasEnded || this.duplex.destroyed) return;
    this.hasEnded = true;
    if (!this.reader.hasEnded) this.duplex.destroy(brokeOff('the volume could not be read to its end'));
    else if (this.backlog.length === 0) this.duplex.push(null);
  }
}

function brokeOff(reason: string): LibvirtError {
  return new LibvirtError(errorNumber.operationFailed, reason, errorDomain.streams);
}
