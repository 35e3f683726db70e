/**
 * Is the client still there? Reading tells, unless the client has ended its sending, or we do not read for now. Then a
 * write of no bytes tells: the kernel answers EPIPE when the peer has closed (net/unix/af_unix.c, unix_stream_sendmsg
 * looks at SEND_SHUTDOWN before it looks at the length), and does nothing else. The socket closes with that error.
 */
import type { Socket } from 'node:net';

const PROBE_MS = 1000;
const nothing = Buffer.alloc(0);

/** Bytes that wait to be written tell by themselves, and an empty piece behind them would only wait too. */
function probe(socket: Socket): void {
  if (socket.writable && socket.writableLength === 0) socket.write(nothing);
}

/** Watches a socket whose client has ended its sending (`nc -N`), at once and then each second until it closes. */
export function watchHalfOpen(socket: Socket): void {
  const timer = setInterval(() => probe(socket), PROBE_MS);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
  probe(socket);
}

/** Watches a socket while it is paused. */
export class PausedWatch {
  private readonly socket: Socket;
  private timer: NodeJS.Timeout | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** To be called at each pause; the timer ends by itself when it finds the socket being read. */
  start(): void {
    this.timer ??= setInterval(() => {
      if (this.socket.isPaused()) probe(this.socket);
      else this.stop();
    }, PROBE_MS).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
