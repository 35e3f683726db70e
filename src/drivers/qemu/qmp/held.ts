/** A QEMU that a signal holds (SIGSTOP, a debugger): it answers nothing, and whoever waits for long work is told so in time. */
import { VirtError } from '../../../base/errors.ts';
import { isHeld, type ProcessId } from '../../../base/spawn.ts';

/** How often it is looked at. */
const LOOK_MS = 250;

export interface HeldWatch {
  /** What is waited for, in words. */
  readonly wanted: string;
  readonly process: ProcessId;
  /** How long QEMU may be held. */
  readonly limitMs: number;
}

/**
 * Settles as `work` does, however long that takes, unless QEMU is held by a signal for longer than the limit.
 * @throws VirtError qmp.timeout for a QEMU that is held: what becomes of the work is not known then
 */
export async function unlessHeld<T>(work: Promise<T>, { wanted, process, limitMs }: HeldWatch): Promise<T> {
  const givenUp = Promise.withResolvers<never>();
  let heldMs = 0;
  const timer = setInterval(() => {
    heldMs = isHeld(process) ? heldMs + LOOK_MS : 0;
    if (heldMs > limitMs) givenUp.reject(heldError(wanted, process));
  }, LOOK_MS);
  timer.unref();
  try {
    return await Promise.race([work, givenUp.promise]);
  } finally {
    clearInterval(timer);
  }
}

/** What is told of one that is held. */
export function heldError(wanted: string, { pid }: ProcessId): VirtError {
  return new VirtError('qmp.timeout', {
    wanted,
    reason: `QEMU (process ${pid}) is stopped by a signal`,
    hint: `let it go on with 'kill -CONT ${pid}', or destroy the domain`,
    details: { pid },
  });
}
