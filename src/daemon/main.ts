/** The program vireod: reads its command line, serves, and obeys signals. */
import { isVirtError } from '../base/errors.ts';
import { keepWatchdogQuiet, notify } from '../base/sd-notify.ts';
import { type DaemonArguments, parseDaemonArguments, usage } from './arguments.ts';
import { type RunningDaemon, startDaemon } from './daemon.ts';
import { version } from './version.ts';

/** After this a stop doesn't wait any longer for what is in work. */
const STOP_LIMIT_MS = 4500;

async function main(): Promise<void> {
  const args = parseDaemonArguments(process.argv.slice(2), process.getuid?.() ?? 0);
  if (args.show !== undefined) {
    process.stdout.write(args.show === 'help' ? usage : `vireod ${version}\n`);
    return;
  }
  await serve(args);
}

async function serve(args: DaemonArguments): Promise<void> {
  let running: RunningDaemon | undefined;
  let isStopping = false;
  const stop = () => {
    if (isStopping) return;
    isStopping = true;
    setTimeout(() => process.exit(0), STOP_LIMIT_MS).unref();
    notify({ STOPPING: 1 });
    Promise.resolve(running?.stop()).then(
      () => process.exit(0),
      (error: unknown) => fail(error, running),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // An own handler keeps Node from opening its debugger, also where the launcher's flag is missing (SECURITY N7).
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
    fail(error, running);
  });
  running = await startDaemon(args, stop);
  const { log } = running;
  keepWatchdogQuiet((error) => log.warn({ err: error }, 'the watchdog message was not taken'));
  notify({ READY: 1, STATUS: 'serving' });
  const sockets = Object.entries(running.sockets).map(([frontend, url]) => `${frontend}=${url}`);
  process.stdout.write(`vireod ready ${sockets.join(' ')}\n`);
}

/** Says why and ends. */
function fail(error: unknown, running?: RunningDaemon): void {
  if (isVirtError(error)) {
    process.stderr.write(`vireod: ${error.message}\n`);
    if (error.hint !== undefined) process.stderr.write(`repair: ${error.hint}\n`);
  } else if (running === undefined)
    process.stderr.write(`vireod: ${String(error instanceof Error ? error.stack : error)}\n`);
  process.exit(1);
}

main().catch((error: unknown) => fail(error));
