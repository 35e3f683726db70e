/**
 * Work whose questions may be answered late: whoever waits for it is told so in time, and the work itself goes on when the
 * answer comes after all. What was done by then counts; nothing more is begun, and the work takes back what it did.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

/** How a piece of work gets on, for whoever asks questions on its behalf. */
class Course {
  private readonly giveUp: (error: Error) => void;
  /** Why it was given up. */
  private lateness: Error | undefined;
  private isStopped = false;

  constructor(giveUp: (error: Error) => void) {
    this.giveUp = giveUp;
  }

  tellLate(error: Error): void {
    if (this.lateness !== undefined) return;
    this.lateness = error;
    this.giveUp(error);
  }

  /** Told once: what is asked for after that takes things back. */
  stop(): Error | undefined {
    if (this.isStopped) return undefined;
    this.isStopped = this.lateness !== undefined;
    return this.lateness;
  }
}

/** Who asks a question. */
export interface Asker {
  /** Why the next step of the work is not to be begun: a question before it was not answered in time. Undefined: it is. */
  refusal(): Error | undefined;
  /** The answer is late; it is waited for all the same, without a limit. */
  tellLate(error: Error): void;
}

const askers = new AsyncLocalStorage<Asker>();

/** Who asks, where answers may be late; undefined everywhere else: there an answer that is late is a failure. */
export function currentAsker(): Asker | undefined {
  return askers.getStore();
}

/**
 * Does some work, and rejects as soon as an answer that it waits for is late, with the error that says so. `onLate` gets
 * how the work ends, which is when the answers have come: it may have been done after all.
 */
export async function inTime<T>(work: () => Promise<T>, onLate: (end: Promise<T>) => void): Promise<T> {
  const late = Promise.withResolvers<never>();
  const course = new Course(late.reject);
  const asker: Asker = {
    refusal: () => course.stop(),
    tellLate: (error) => course.tellLate(error),
  };
  const end = askers.run(asker, work);
  late.promise.catch(() => onLate(end));
  return Promise.race([end, late.promise]);
}

/** Steps that belong together, within such work: begun, they are all done, however late. */
export function toTheEnd<T>(work: () => Promise<T>): Promise<T> {
  const asker = currentAsker();
  if (asker === undefined) return work();
  return askers.run({ refusal: () => undefined, tellLate: (error) => asker.tellLate(error) }, work);
}

/** Work that nobody waits for, and that has to be done: its answers may take as long as they like. */
export function patiently<T>(work: () => Promise<T>): Promise<T> {
  return askers.run({ refusal: () => undefined, tellLate: () => undefined }, work);
}
