/** Serving: a daemon from its start to the signal that ends it. */
import { keepWatchdogQuiet, notify } from '../base/sd-notify.ts';
import type { DaemonArguments } from './arguments.ts';
import { type RunningDaemon, startDaemon } from './daemon.ts';
import type { EarlyDoor } from './early-door.ts';
import { fail } from './fail.ts';

/** After this a stop doesn't wait any longer for what is in work. */
const STOP_LIMIT_MS = 4500;

const LONG_MS = 3600 * 1000;

/** Starts the daemon and obeys signals; the process ends by them. Clients may wait at the `early` door. */
export async function serve(args: DaemonArguments, early: EarlyDoor | undefined): Promise<void> {
  let running: RunningDaemon | undefined;
  let isStopping = false;
  const stop = () => {
    if (isStopping) return;
    isStopping = true;
    setTimeout(() => process.exit(0), STOP_LIMIT_MS).unref();
    notify({ STOPPING: 1 });
    Promise.resolve(running?.stop()).then(
      () => process.exit(0),
      (error: unknown) => fail(error, running !== undefined),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // An own handler keeps Node from opening its debugger, also where the launcher's flag is missing (docs/security.md, class N).
  process.on('SIGUSR1', () => running?.log.info('SIGUSR1 means nothing here'));
  process.on('SIGHUP', () => {
    running?.reload().catch((error: unknown) => running?.log.error({ err: error }, 'reload failed'));
  });
  // A reader of our output that goes away must not end the daemon.
  process.stdout.on('error', () => undefined);
  process.on('unhandledRejection', (error) =>
    running?.log.error({ err: error }, 'a lost promise failed: a bug'),
  );
  process.on('uncaughtException', (error) => {
    // State on disk is whole at every moment and guests outlive us: a fresh start is the safe way on.
    running?.log.fatal({ err: error }, 'uncaught error: a bug; the daemon ends, guests go on');
    fail(error, running !== undefined);
  });
  // Until a socket is open nothing else may be there that keeps the process: whoever waits for a child alone would end it.
  const alive = setInterval(() => undefined, LONG_MS);
  try {
    running = await startDaemon(args, stop, early);
  } finally {
    clearInterval(alive);
  }
  const { log } = running;
  keepWatchdogQuiet((error) => log.warn({ err: error }, 'the watchdog message was not taken'));
  notify({ READY: 1, STATUS: 'serving' });
  const sockets = Object.entries(running.sockets).map(([frontend, url]) => `${frontend}=${url}`);
  process.stdout.write(`vireod ready ${sockets.join(' ')}\n`);
}
