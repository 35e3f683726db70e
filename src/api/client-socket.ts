/** How the client reaches a daemon: sockets, deadlines, and errors that say what is wrong. */
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, reasonOf, VirtError } from '../base/errors.ts';

export interface ConnectOptions {
  /** The daemon's unix socket. */
  readonly socketPath: string;
  /** Limit for connecting, in milliseconds (default 10 000). */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface CallOptions {
  /** Limit for the answer, in milliseconds; none when not given: a start or a wait may take long. */
  readonly timeoutMs?: number;
  /** Gives up waiting; what the daemon does is not undone. */
  readonly signal?: AbortSignal;
}

const CONNECT_TIMEOUT_MS = 10_000;

/** A time limit and a signal for one wait. */
export class Deadline {
  onExpire: (error: unknown) => void = () => {};
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly signal: AbortSignal | undefined;

  constructor(what: string, options: CallOptions) {
    const { timeoutMs, signal } = options;
    this.signal = signal;
    if (timeoutMs !== undefined)
      this.timer = setTimeout(() => this.onExpire(noAnswer(what, timeoutMs)), timeoutMs);
    signal?.addEventListener('abort', this.onAbort, { once: true });
  }

  stop(): void {
    clearTimeout(this.timer);
    this.signal?.removeEventListener('abort', this.onAbort);
  }

  private readonly onAbort = (): void => {
    this.onExpire(aborted(this.signal));
  };
}

export function aborted(signal: AbortSignal | undefined): VirtError {
  return new VirtError('operation.aborted', { reason: 'cancelled', cause: signal?.reason });
}

function noAnswer(what: string, timeoutMs: number): VirtError {
  return new VirtError('operation.timeout', {
    wanted: what,
    reason: `no answer from the daemon in ${timeoutMs} ms`,
  });
}

/** The error of a connection that broke. */
export function gone(socketPath: string, reason: string, cause?: unknown): VirtError {
  return new VirtError('daemon.unreachable', {
    wanted: `talk to the daemon at ${socketPath}`,
    reason,
    details: { socketPath, errno: errnoOf(cause) },
    cause,
  });
}

/** Between two tries while the daemon's queue of new connections is full. */
const RETRY_MS = 20;

/**
 * Opens a socket to the daemon, with errors that say what is wrong. EAGAIN is the kernel's word for a full queue
 * (unix(7) sockets do not wait when non-blocking), so that is tried again until the time is over.
 */
export async function openSocket(options: ConnectOptions): Promise<Socket> {
  const endsAt = performance.now() + (options.timeoutMs ?? CONNECT_TIMEOUT_MS);
  for (;;) {
    try {
      return await openOnce(options);
    } catch (error) {
      const isFull = error instanceof VirtError && error.details?.['errno'] === 'EAGAIN';
      if (!isFull || performance.now() + RETRY_MS > endsAt) throw error;
    }
    await delay(RETRY_MS);
  }
}

async function openOnce(options: ConnectOptions): Promise<Socket> {
  const { socketPath, signal } = options;
  if (signal?.aborted) throw aborted(signal);
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  const guard = new Deadline(`connect to ${socketPath}`, {
    timeoutMs: options.timeoutMs ?? CONNECT_TIMEOUT_MS,
    ...(signal && { signal }),
  });
  try {
    await new Promise<void>((resolve, reject) => {
      guard.onExpire = reject;
      socket.once('connect', resolve);
      socket.once('error', (error) => reject(connectError(socketPath, error)));
    });
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    guard.stop();
  }
  socket.removeAllListeners('error');
  return socket;
}

function connectError(socketPath: string, error: Error): VirtError {
  const errno = errnoOf(error);
  const wanted = `connect to ${socketPath}`;
  const details = { socketPath, errno };
  if (errno === 'EACCES' || errno === 'EPERM')
    return new VirtError('access.denied', {
      wanted,
      reason: 'permission denied',
      hint: "the socket's group may connect; after joining it, log in again",
      details,
      cause: error,
    });
  const reason =
    errno === 'ENOENT'
      ? 'there is no such socket'
      : errno === 'ECONNREFUSED'
        ? 'nothing listens on the socket'
        : reasonOf(error);
  return new VirtError('daemon.unreachable', { wanted, reason, hint: 'start vireod', details, cause: error });
}
