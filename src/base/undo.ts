/** Steps with their undo: whatever was done before a failure is taken back, newest first. */
import type { Logger } from './log.ts';

interface Step {
  readonly what: string;
  readonly take: () => void | Promise<void>;
}

/**
 * `await using undo = new Undo(log)`: unless `keep()` was called, leaving the scope takes every added step back. A step
 * that fails is logged and the next goes on, so the caller sees the first error, the one that mattered.
 */
export class Undo {
  private steps: Step[] = [];
  private readonly log: Logger;

  constructor(log: Logger) {
    this.log = log;
  }

  add(what: string, take: () => void | Promise<void>): void {
    this.steps.push({ what, take });
  }

  keep(): void {
    this.steps = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const steps = this.steps.toReversed();
    this.steps = [];
    for (const step of steps) {
      try {
        await step.take();
      } catch (error) {
        this.log.error({ err: error }, `undo failed: ${step.what}`);
      }
    }
  }
}
