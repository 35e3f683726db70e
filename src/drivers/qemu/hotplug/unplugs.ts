/** Devices that a guest was asked to let go of: who waits for which, and what became of it. */
import type { Logger } from '../../../base/log.ts';

/** `refused`: the guest said no. `pending`: it has not answered in time; it may yet. */
export type UnplugOutcome = 'removed' | 'refused' | 'pending';

export class Unplugs {
  private readonly log: Logger;
  private clearAway: ((alias: string) => Promise<unknown>) | undefined;
  private readonly waiting = new Map<string, Set<(outcome: UnplugOutcome) => void>>();

  constructor(log: Logger) {
    this.log = log;
  }

  /** What clears away after a device that the guest let go of, before anybody is told. */
  onRemoval(clear: (alias: string) => Promise<unknown>): void {
    this.clearAway = clear;
  }

  /** Clears away what was behind a device; never rejects, since the device is gone whatever becomes of that. */
  async clear(alias: string): Promise<void> {
    try {
      await this.clearAway?.(alias);
    } catch (error) {
      this.log.error({ err: error, alias }, 'a removed device was not cleared away');
    }
  }

  /** Settles with what the guest does, or after that time with `pending`. */
  wait(alias: string, timeoutMs: number): { readonly outcome: Promise<UnplugOutcome>; cancel(): void } {
    const { promise, resolve } = Promise.withResolvers<UnplugOutcome>();
    const settle = (outcome: UnplugOutcome): void => {
      clearTimeout(timer);
      this.waiting.get(alias)?.delete(settle);
      resolve(outcome);
    };
    const timer = setTimeout(settle, timeoutMs, 'pending');
    const all = this.waiting.get(alias) ?? new Set();
    this.waiting.set(alias, all.add(settle));
    return { outcome: promise, cancel: () => settle('pending') };
  }

  settle(alias: string, outcome: UnplugOutcome): void {
    const all = [...(this.waiting.get(alias) ?? [])];
    this.waiting.delete(alias);
    for (const settle of all) settle(outcome);
  }
}
