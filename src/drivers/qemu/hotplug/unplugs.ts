/** Devices that a guest was asked to let go of: who waits for which, and what became of it. */

/** `refused`: the guest said no. `pending`: it has not answered in time; it may yet. */
export type UnplugOutcome = 'removed' | 'refused' | 'pending';

export class Unplugs {
  private readonly waiting = new Map<string, Set<(outcome: UnplugOutcome) => void>>();

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
