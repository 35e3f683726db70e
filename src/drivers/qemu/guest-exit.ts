/** How a guest ended: its process's status, and what it said last. */
import { reasonOf } from '../../base/errors.ts';
import type { WaitStatus } from '../../base/ffi.ts';
import type { Logger } from '../../base/log.ts';
import { signalName } from '../../base/spawn.ts';
import type { GuestExit } from '../driver.ts';
import { readTail, sinceStart } from './log-file.ts';

/** How much of QEMU's log an exit quotes. */
const TAIL_BYTES = 4096;

/** Told whatever happens to the log: one that cannot be read is quoted as empty. */
export async function exitOf(status: WaitStatus, logPath: string, log: Logger): Promise<GuestExit> {
  const tail = await readTail(logPath, TAIL_BYTES).catch((error: unknown) => {
    log.warn({ reason: reasonOf(error) }, 'the log of an ended guest cannot be read');
    return '';
  });
  return {
    ...(status.exitCode !== undefined && { exitCode: status.exitCode }),
    ...(status.signal !== undefined && { signal: signalName(status.signal) }),
    stderrTail: sinceStart(tail),
  };
}
