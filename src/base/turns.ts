/** Sharing the event loop: nobody waits long because one request has much to do. */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** A piece of work that runs longer than this lets others in at its next opportunity. */
const SLICE_MS = 5;

/** Long work in pieces. Between two of them it awaits `share`, which costs nothing as long as little time has passed. */
export class Turns {
  private startedAt = performance.now();

  /** Lets the event loop serve others, when this work has held it for some milliseconds. */
  async share(): Promise<void> {
    if (performance.now() - this.startedAt < SLICE_MS) return;
    await nextTurn();
    this.startedAt = performance.now();
  }
}

/**
 * One client's part of a turn of the event loop. When it is used up, what else the client has sent waits for the next turn, so
 * that whoever sends a hundred requests at once does not have the daemon for itself until all are answered.
 */
export class TurnShare {
  private readonly onNext: () => void;
  private startedAt: number | undefined;
  private isWaitedFor = false;

  /** @param onNext called in the next turn, when somebody was told that the part of this one is used up */
  constructor(onNext: () => void) {
    this.onNext = onNext;
  }

  /** The first question in a turn begins its part. */
  isSpent(): boolean {
    if (this.startedAt === undefined) {
      this.startedAt = performance.now();
      setImmediate(() => this.endTurn());
      return false;
    }
    if (performance.now() - this.startedAt < SLICE_MS) return false;
    this.isWaitedFor = true;
    return true;
  }

  private endTurn(): void {
    this.startedAt = undefined;
    if (!this.isWaitedFor) return;
    this.isWaitedFor = false;
    this.onNext();
  }
}

let last: Promise<void> = Promise.resolve();

/** One turn of the event loop for each caller, in order: for steps that hold it for milliseconds, such as a fork. */
export function ownTurn(): Promise<void> {
  last = last.then(() => nextTurn());
  return last;
}
