/** One piece of work for several who want the same: it is done once, and called off when nobody waits for it any more. */

interface Entry<T> {
  readonly promise: Promise<T>;
  readonly abort: AbortController;
  waiting: number;
}

export class SharedWork<T> {
  private readonly running = new Map<string, Entry<T>>();

  /** Joins the work of that key, or begins it. A caller whose signal aborts leaves; the last one to leave ends the work. */
  async run(
    key: string,
    work: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    signal?.throwIfAborted();
    const entry = this.running.get(key) ?? this.begin(key, work);
    entry.waiting += 1;
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal?.reason);
    signal?.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([entry.promise, left.promise]);
    } finally {
      signal?.removeEventListener('abort', leave);
      entry.waiting -= 1;
      if (entry.waiting === 0) entry.abort.abort();
    }
  }

  private begin(key: string, work: (signal: AbortSignal) => Promise<T>): Entry<T> {
    const abort = new AbortController();
    const promise = work(abort.signal).finally(() => this.running.delete(key));
    promise.catch(() => undefined); // Whoever waits hears of it.
    const entry = { promise, abort, waiting: 0 };
    this.running.set(key, entry);
    return entry;
  }
}
