/** Work that fails for a time, since something does not answer or has no room: tried again until it is done. */
import { setTimeout as sleep } from 'node:timers/promises';

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

export interface Attempts {
  /** Looked at after each pause: false ends it all. */
  readonly isWanted: () => boolean;
  readonly attempt: () => Promise<void>;
  /** Hears of each attempt that failed. */
  readonly onFailure: (error: unknown) => void;
  /** Before the first attempt (default 1 s); each further pause is twice as long, up to 30 s. */
  readonly firstPauseMs?: number;
  /** No attempt is begun after that long; without it there is no end. */
  readonly limitMs?: number;
  /** How a pause is made (default: a timer that does not keep the process alive). */
  readonly pause?: (ms: number) => Promise<void>;
}

const sleepQuietly = (ms: number): Promise<void> => sleep(ms, undefined, { ref: false });

/** Never rejects for an attempt that fails. */
export async function tryAgain(attempts: Attempts): Promise<'done' | 'unwanted' | 'given up'> {
  const { isWanted, attempt, onFailure, pause = sleepQuietly } = attempts;
  const { firstPauseMs = FIRST_PAUSE_MS, limitMs = Infinity } = attempts;
  const until = performance.now() + limitMs;
  for (let pauseMs = firstPauseMs; performance.now() < until; pauseMs = nextPause(pauseMs)) {
    await pause(pauseMs);
    if (!isWanted()) return 'unwanted';
    try {
      await attempt();
      return 'done';
    } catch (error) {
      onFailure(error);
    }
  }
  return 'given up';
}

const nextPause = (pauseMs: number): number =>
  Math.min(Math.max(2 * pauseMs, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);
