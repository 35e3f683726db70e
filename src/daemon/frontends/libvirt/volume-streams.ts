/**
 * Uploads of volumes as streams of libvirt: bytes and holes on the client's side, frames (base/sparse-frames.ts) on the
 * engine's, which tell of holes, the end and failures.
 */
import { Duplex } from 'node:stream';
import { endFrame, frameHeader } from '../../../base/sparse-frames.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../libvirt/errors.ts';
import type { Hole } from './context.ts';

/** Packets of a client that wait for the disk at most; each has up to 256 KiB. */
const MAX_WAITING_PACKETS = 8;

export interface EngineUpload {
  /** Takes frames. */
  readonly stream: Duplex;
  /** Settles when all is on disk, or has failed. */
  readonly finished: Promise<unknown>;
}

/**
 * A stream that takes buffers and holes and ends well when the engine has it all on disk. It calls back for a buffer when
 * nobody will look at that again.
 * @param maxBytes what may come, holes counted; undefined for as much as there is room
 */
export function uploadStream(upload: EngineUpload, maxBytes: number | undefined): Duplex {
  const frames = upload.stream;
  let taken = 0;
  frames.on('error', () => undefined); // Told by `finished`.
  frames.resume();
  /** Calls back when all of them are written, so that their buffers can be used again. */
  const write = (pieces: readonly (Buffer | Hole)[], callback: (error?: Error) => void) => {
    for (const piece of pieces) taken += bytesOf(piece);
    if (maxBytes !== undefined && taken > maxBytes) return callback(tooMuch(maxBytes));
    // What fails is told by `finished`.
    const done = () => callback();
    if (frames.destroyed) return done();
    frames.cork();
    for (const [index, piece] of pieces.entries())
      writePiece(frames, piece, index === pieces.length - 1 ? done : undefined);
    frames.uncork();
  };
  const outcome = outcomeOf(upload);
  const end = async (callback: (error?: Error) => void) => {
    if (!frames.destroyed) frames.end(endFrame(undefined));
    callback(await outcome);
  };
  // Closed when the volume is free again, so that what the client does next finds it so.
  const leave = async (error: Error | null, callback: (error: Error | null) => void) => {
    frames.destroy();
    await outcome;
    callback(error);
  };
  const stream = new Duplex({
    writableObjectMode: true,
    writableHighWaterMark: MAX_WAITING_PACKETS,
    read: () => undefined,
    write: (piece: Buffer | Hole, _encoding, callback) => write([piece], callback),
    writev: (pieces, callback) =>
      write(
        pieces.map(({ chunk }) => chunk as Buffer | Hole),
        callback,
      ),
    final: (callback) => void end(callback),
    destroy: (error, callback) => void leave(error, callback),
  });
  // What fails on the way is told at once, not at the end.
  const tell = async () => {
    const failure = await outcome;
    if (failure === undefined) frames.destroy();
    else stream.destroy(failure);
  };
  void tell();
  return stream;
}

const bytesOf = (piece: Buffer | Hole): number =>
  piece instanceof Uint8Array ? piece.length : piece.holeBytes;

/** As a frame; `done` is called when it is taken, or the stream has ended. */
function writePiece(frames: Duplex, piece: Buffer | Hole, done: (() => void) | undefined): void {
  if (!(piece instanceof Uint8Array)) return void frames.write(frameHeader('hole', piece.holeBytes), done);
  frames.write(frameHeader('data', piece.length));
  frames.write(piece, done);
}

/** What came of it: undefined when it is on disk. Never rejects. */
async function outcomeOf({ finished }: EngineUpload): Promise<Error | undefined> {
  try {
    await finished;
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function tooMuch(bytes: number): LibvirtError {
  return new LibvirtError(
    errorNumber.operationFailed,
    `more came than the ${bytes} bytes that were announced`,
    errorDomain.streams,
  );
}
