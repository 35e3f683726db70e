/**
 * The service side of systemd's protocols, without libsystemd: readiness and watchdog messages (sd_notify(3),
 * sd_watchdog_enabled(3)) and inherited sockets (sd_listen_fds(3)). All are no-ops where systemd is not.
 */
import { VirtError } from './errors.ts';
import { close, duplicateAbove, FfiError, sendUnixDatagram } from './ffi.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Assignments of one message, sd_notify(3): READY=1, STATUS=..., WATCHDOG=1, ... */
export type NotifyState = Readonly<Record<string, string | number>>;

/**
 * Tells the service manager something: `notify({ READY: 1, STATUS: 'serving' })`. True when it was handed over, false
 * when nobody asked for it (no $NOTIFY_SOCKET).
 * @throws VirtError system.call when the socket named by the manager does not take the message
 */
export function notify(state: NotifyState, environment: Environment = process.env): boolean {
  const socket = environment['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return false;
  const wanted = 'tell the service manager our state';
  if (!socket.startsWith('/') && !socket.startsWith('@')) {
    throw new VirtError('system.call', { wanted, reason: `NOTIFY_SOCKET '${socket}' is not a unix socket` });
  }
  try {
    sendUnixDatagram(socket, Buffer.from(formatState(state)));
    return true;
  } catch (error) {
    if (!(error instanceof FfiError)) throw error;
    throw new VirtError('system.call', { wanted, reason: error.message, cause: error });
  }
}

/** One assignment a line; a line break in a value would begin another assignment, so it becomes a space. */
function formatState(state: NotifyState): string {
  return Object.entries(state)
    .map(([name, value]) => `${name}=${String(value).replace(/[\r\n]+/g, ' ')}\n`)
    .join('');
}

/** A socket that the service manager opened for us. */
export interface ListenFd {
  readonly fd: number;
  /** FileDescriptorName= of the socket unit, `unknown` when the manager gave none. */
  readonly name: string;
}

/** SD_LISTEN_FDS_START (sd-daemon.h). */
const LISTEN_FDS_START = 3;
/** More than a unit of ours will ever have; a larger count is somebody else's variable. */
const MAX_LISTEN_FDS = 64;

/**
 * The sockets given by socket activation, none when there are none or they are meant for another process. They come
 * without close-on-exec, so each is replaced by a duplicate that has it; call this once, before any program is run.
 * @throws VirtError config.invalid for variables that make no sense, system.call when a descriptor is not open
 */
export function listenFds(environment: Environment = process.env, pid: number = process.pid): ListenFd[] {
  const { LISTEN_PID: target, LISTEN_FDS: countText } = environment;
  if (target === undefined || countText === undefined || Number(target) !== pid) return [];
  const count = Number(countText);
  if (!/^\d+$/.test(countText) || count > MAX_LISTEN_FDS) {
    throw new VirtError('config.invalid', {
      wanted: 'take over the sockets of the service manager',
      reason: `LISTEN_FDS is '${countText.slice(0, 20)}'`,
    });
  }
  const names = environment['LISTEN_FDNAMES']?.split(':') ?? [];
  return Array.from({ length: count }, (_, index) => ({
    fd: replaceByCloseOnExec(LISTEN_FDS_START + index),
    name: names[index] || 'unknown',
  }));
}

function replaceByCloseOnExec(fd: number): number {
  try {
    const copy = duplicateAbove(fd, LISTEN_FDS_START);
    close(fd);
    return copy;
  } catch (error) {
    if (!(error instanceof FfiError)) throw error;
    throw new VirtError('system.call', {
      wanted: 'take over the sockets of the service manager',
      reason: `descriptor ${fd}: ${error.code}`,
      cause: error,
    });
  }
}

/**
 * The time within which the manager wants to see WATCHDOG=1, in milliseconds; undefined when it does not watch this
 * process. Send it twice as often.
 */
export function watchdogMs(
  environment: Environment = process.env,
  pid: number = process.pid,
): number | undefined {
  const { WATCHDOG_USEC: limit, WATCHDOG_PID: target } = environment;
  if (limit === undefined || !/^\d+$/.test(limit)) return undefined;
  if (target !== undefined && Number(target) !== pid) return undefined;
  const ms = Number(limit) / 1000;
  return ms > 0 ? ms : undefined;
}

/**
 * Sends WATCHDOG=1 at half the manager's limit, from the event loop: a loop that stands still is what the watchdog is
 * to find. Returns a function that ends it; without a watchdog nothing is started.
 */
export function keepWatchdogQuiet(
  onError: (error: unknown) => void,
  environment: Environment = process.env,
): () => void {
  const limitMs = watchdogMs(environment);
  if (limitMs === undefined) return () => undefined;
  const timer = setInterval(() => {
    try {
      notify({ WATCHDOG: 1 }, environment);
    } catch (error) {
      onError(error);
    }
  }, limitMs / 2);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}
