/** Joins a client's socket and a byte stream (a console), both ways, until both sides have ended. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { reasonOf } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { watchHalfOpen } from './peer-watch.ts';

/** After the stream has ended the client gets this long to read what is left and to close. */
const LINGER_MS = 10_000;

export interface BridgeOptions {
  readonly socket: Socket;
  readonly stream: Duplex;
  /** Bytes of the client that were read already. */
  readonly head: Buffer;
  readonly log: Logger;
}

/**
 * Carries bytes both ways with back-pressure. When one side ends its sending, the other is told and goes on sending
 * (half-close). When the stream breaks, the client still gets what was sent to it; when the client leaves, the stream
 * is destroyed. Settles when the connection has closed, and never rejects.
 */
export function bridge({ socket, stream, head, log }: BridgeOptions): Promise<void> {
  if (head.length > 0) stream.write(head);
  // A guest that ends makes its pty fail with EIO: that is how such a stream usually ends.
  stream.on('error', (error) => log.debug({ reason: reasonOf(error) }, 'byte stream ended'));
  stream.once('end', () => lingerThenDestroy(socket));
  stream.once('close', () => {
    socket.end();
    lingerThenDestroy(socket);
  });
  socket.once('end', () => watchHalfOpen(socket));
  stream.pipe(socket);
  if (socket.readableEnded) stream.end();
  else socket.pipe(stream);
  return new Promise((resolve) => {
    socket.once('close', () => {
      stream.destroy();
      resolve();
    });
  });
}

/** Gives a client that got our end some time to read what is left and to close. */
function lingerThenDestroy(socket: Socket): void {
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
