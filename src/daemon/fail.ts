/** The end of a daemon that cannot start or go on. */
import { exitFailed, exitGaveWay } from '../base/daemon-exit.ts';
import { isVirtError } from '../base/errors.ts';

/**
 * Says why on stderr, with the repair where one is known, and ends with exit code 1, or 3 where another daemon has the paths.
 * Of a bug that `isLogged` it says no more.
 */
export function fail(error: unknown, isLogged = false): never {
  if (isVirtError(error)) {
    process.stderr.write(`vireod: ${error.message}\n`);
    if (error.hint !== undefined) process.stderr.write(`repair: ${error.hint}\n`);
  } else if (!isLogged)
    process.stderr.write(`vireod: ${String(error instanceof Error ? error.stack : error)}\n`);
  process.exit(isVirtError(error, 'daemon.running') ? exitGaveWay : exitFailed);
}
