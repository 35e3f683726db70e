/** Turns the signals that end a program into an AbortSignal, where something must be put in order first. */

const signals = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const;

/** Exit status after a second signal, as a shell shows it for SIGINT. */
const IMPATIENT = 130;

/**
 * Does `work` with a signal that aborts on SIGINT, SIGTERM, SIGHUP or SIGQUIT; whoever sends a second one doesn't want
 * to wait, and the process ends at once.
 */
export async function withInterrupt<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const handler = () => {
    if (abort.signal.aborted) process.exit(IMPATIENT);
    abort.abort();
  };
  for (const signal of signals) process.on(signal, handler);
  try {
    return await work(abort.signal);
  } finally {
    for (const signal of signals) process.off(signal, handler);
  }
}
