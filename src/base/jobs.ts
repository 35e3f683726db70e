/** One named job at a time per object; others wait in line, with a limit. What is in work: job-registry.ts. */
import { type ErrorCode, VirtError } from './errors.ts';

export interface JobInfo {
  readonly name: string;
  readonly startedAtMs: number;
}

export interface JobOptions {
  /** How long to wait for the jobs before this one. */
  readonly waitMs: number;
  readonly signal?: AbortSignal;
}

interface Waiter {
  readonly name: string;
  readonly start: () => void;
}

/** The line of jobs of one object. Queries don't pass through here. */
export class JobQueue {
  private running: JobInfo | undefined;
  private readonly waiting: Waiter[] = [];
  private readonly idleListeners = new Set<() => void>();
  private readonly owner: string;
  private readonly busyCode: ErrorCode;

  /** `owner` names the object in errors: `domain 'web'`; `busyCode` is thrown when the wait was too long. */
  constructor(owner: string, busyCode: ErrorCode = 'domain.busy') {
    this.owner = owner;
    this.busyCode = busyCode;
  }

  /** The job in work now. */
  get current(): JobInfo | undefined {
    return this.running;
  }

  /** Waits until no job is in work and none is in line, `limitMs` at most; says nothing of how they ended. */
  async idle(limitMs: number): Promise<void> {
    if (this.running === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((done) => {
      timer = setTimeout(done, limitMs);
    });
    const rest = new Promise<void>((done) => this.idleListeners.add(done));
    await Promise.race([rest, limit]);
    clearTimeout(timer);
  }

  /**
   * Runs `work` when all jobs before it have ended.
   * @throws VirtError domain.busy (or the code given) after `waitMs`, operation.aborted
   */
  async run<T>(name: string, work: () => Promise<T>, options: JobOptions): Promise<T> {
    await this.enter(name, options);
    this.running = { name, startedAtMs: Date.now() };
    try {
      return await work();
    } finally {
      this.running = undefined;
      this.waiting.shift()?.start();
      if (this.running === undefined) this.tellIdle();
    }
  }

  private tellIdle(): void {
    for (const listener of this.idleListeners) listener();
    this.idleListeners.clear();
  }

  private enter(name: string, options: JobOptions): Promise<void> {
    const aborted = () => new VirtError('operation.aborted', { wanted: name, reason: 'cancelled' });
    if (options.signal?.aborted) return Promise.reject(aborted());
    if (this.running === undefined && this.waiting.length === 0) {
      // Taken at once, so that a second caller in the same tick lines up behind.
      this.running = { name, startedAtMs: Date.now() };
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const leave = (error: unknown) => {
        const index = this.waiting.indexOf(waiter);
        if (index !== -1) this.waiting.splice(index, 1);
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
        reject(error);
      };
      const onAbort = () => leave(aborted());
      const timer = setTimeout(() => leave(this.busy(name)), options.waitMs);
      const waiter: Waiter = {
        name,
        start: () => {
          clearTimeout(timer);
          options.signal?.removeEventListener('abort', onAbort);
          this.running = { name, startedAtMs: Date.now() };
          resolve();
        },
      };
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.waiting.push(waiter);
    });
  }

  private busy(name: string): VirtError {
    const holder = this.running;
    const seconds = holder ? Math.round((Date.now() - holder.startedAtMs) / 1000) : 0;
    return new VirtError(this.busyCode, {
      wanted: `${name} ${this.owner}`,
      reason: `${this.owner} is busy with '${holder?.name ?? 'another job'}' since ${seconds} s`,
      hint: 'wait for it, or abort that job',
      details: { job: holder?.name },
    });
  }
}
