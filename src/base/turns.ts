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

let last: Promise<void> = Promise.resolve();

/** One turn of the event loop for each caller, in order: for steps that hold it for milliseconds, such as a fork. */
export function ownTurn(): Promise<void> {
  last = last.then(() => nextTurn());
  return last;
}
