/**
 * The work that goes on now: every named job of any object (domain, network, pool, volume), with how far it is, and the
 * way to call it off. `JobQueue` (jobs.ts) decides who is next on one object; this says what runs. Whoever does long
 * work reports here, and clients see it as `job.list`, `job.cancel` and the events `job.started|progress|ended`:
 *
 * ```ts
 * await jobs.run({ kind: 'clone', object, total: sizeBytes, unit: 'bytes', isCancellable: true }, async (job) => {
 *   job.progress({ step: 'copying' });
 *   await copy(from, to, { signal: job.signal, onBytes: (done) => job.progress({ done }) });
 * });
 * ```
 *
 * Without a function to wrap: `const job = jobs.begin(spec)`, later exactly one `job.end()` or `job.end(error)`.
 * `progress` is cheap: call it as often as you like, listeners hear of it four times a second and at every new step.
 */
import { randomBytes } from 'node:crypto';
import { VirtError } from './errors.ts';

/** What `done` and `total` count. */
export type JobUnit = 'bytes' | 'steps';

/** A job that is about to begin. `O` names the object it works on. */
export interface JobSpec<O> {
  /** One word or two, as people say it: `start`, `clone`, `upload`. */
  readonly kind: string;
  /** A function where the object's name changes while the job runs; it is asked for every event. */
  readonly object: O | (() => O);
  /** How much there is to do, in `unit`; may also come, or change, with `progress`. */
  readonly total?: number;
  /** Left out: the job has no measure, only steps by name. */
  readonly unit?: JobUnit;
  /** The work obeys `job.signal`: a client may call it off. */
  readonly isCancellable?: boolean;
}

/** News of a job; what is left out stays as it was. */
export interface JobProgress {
  readonly done?: number;
  readonly total?: number;
  /** What it does now, for people: `copying`, `waiting for QEMU`. */
  readonly step?: string;
}

/** A job as lists and events show it. */
export interface JobState<O> {
  /** Unique among all daemons: a number of an earlier one never names a job of this one. */
  readonly id: string;
  readonly kind: string;
  readonly object: O;
  readonly startedAtMs: number;
  readonly step: string | undefined;
  readonly done: number | undefined;
  readonly total: number | undefined;
  readonly unit: JobUnit | undefined;
  readonly isCancellable: boolean;
  /** Somebody has called it off, and it has not ended yet. */
  readonly isCancelling: boolean;
}

export type JobChange<O> =
  | { readonly what: 'started' | 'progress'; readonly job: JobState<O> }
  /** `error` is what the work threw, undefined when it succeeded. */
  | {
      readonly what: 'ended';
      readonly job: JobState<O>;
      readonly durationMs: number;
      readonly error: unknown;
    };

/** A job in work, in the hands of whoever does it. */
export interface RunningJob {
  readonly id: string;
  /** Aborted when the job is called off; only work that is cancellable needs to look. */
  readonly signal: AbortSignal;
  /** Tells how far it is. After the end it does nothing. */
  progress(news: JobProgress): void;
  /** Ends it, with what went wrong if something did. Only the first call counts. */
  end(error?: unknown): void;
}

/** Progress between two steps is told at most so often. */
const TELL_EVERY_MS = 250;

/** All jobs in work. */
export class JobRegistry<O extends object> {
  private readonly running = new Map<string, Entry<O>>();
  private readonly listeners = new Set<(change: JobChange<O>) => void>();
  private readonly prefix = randomBytes(4).toString('hex');
  private counter = 0;

  /** Enters a job; whoever does must end it, whatever happens. */
  begin(spec: JobSpec<O>): RunningJob {
    this.counter += 1;
    const entry: Entry<O> = new Entry(`${this.prefix}-${this.counter}`, spec, (change) => {
      if (change.what === 'ended') this.running.delete(entry.id);
      this.tell(change);
    });
    this.running.set(entry.id, entry);
    this.tell({ what: 'started', job: entry.state });
    return entry;
  }

  /**
   * Does `work` as a job.
   * @throws VirtError operation.aborted when it gave up because it was called off, else whatever the work throws
   */
  async run<T>(spec: JobSpec<O>, work: (job: RunningJob) => Promise<T>): Promise<T> {
    const job = this.begin(spec);
    try {
      const result = await work(job);
      job.end();
      return result;
    } catch (caught) {
      const error = job.signal.aborted ? abortedFrom(caught, spec.kind) : caught;
      job.end(error);
      throw error;
    }
  }

  /** All jobs in work, the oldest first. */
  list(): JobState<O>[] {
    return [...this.running.values()].map((entry) => entry.state);
  }

  /** A job in work. @throws VirtError job.not-found */
  get(id: string): JobState<O> {
    return this.find(id).state;
  }

  /**
   * Calls a job off. Returns at once; `job.ended` tells when it has given up, or that it was done before.
   * @throws VirtError job.not-found, job.not-cancellable
   */
  cancel(id: string): JobState<O> {
    const entry = this.find(id);
    entry.cancel();
    return entry.state;
  }

  /** Returns the function that ends the subscription. A listener must not throw. */
  subscribe(listener: (change: JobChange<O>) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private find(id: string): Entry<O> {
    const entry = this.running.get(id);
    if (entry !== undefined) return entry;
    throw new VirtError('job.not-found', {
      reason: `no job '${id}' is in work; it may have ended`,
      hint: "'vireo job list' shows those in work",
    });
  }

  private tell(change: JobChange<O>): void {
    for (const listener of [...this.listeners]) listener(change);
  }
}

class Entry<O> implements RunningJob {
  readonly id: string;
  private readonly spec: JobSpec<O>;
  private readonly tell: (change: JobChange<O>) => void;
  private readonly startedAtMs = Date.now();
  private readonly startedAt = performance.now();
  private readonly abort = new AbortController();
  private step: string | undefined;
  private done: number | undefined;
  private total: number | undefined;
  private toldAt = Number.NEGATIVE_INFINITY;
  private hasEnded = false;

  constructor(id: string, spec: JobSpec<O>, tell: (change: JobChange<O>) => void) {
    this.id = id;
    this.spec = spec;
    this.tell = tell;
    this.total = spec.total;
    if (spec.unit !== undefined) this.done = 0;
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  get state(): JobState<O> {
    const { kind, object, unit, isCancellable = false } = this.spec;
    return {
      id: this.id,
      kind,
      object: typeof object === 'function' ? (object as () => O)() : object,
      startedAtMs: this.startedAtMs,
      step: this.step,
      done: this.done,
      total: this.total,
      unit,
      isCancellable,
      isCancelling: this.abort.signal.aborted,
    };
  }

  progress({ done, total, step }: JobProgress): void {
    if (this.hasEnded) return;
    const isNewStep = step !== undefined && step !== this.step;
    if (step !== undefined) this.step = step;
    if (done !== undefined) this.done = Math.max(0, Math.floor(done));
    if (total !== undefined) this.total = Math.max(0, Math.floor(total));
    const now = performance.now();
    if (!isNewStep && now - this.toldAt < TELL_EVERY_MS) return;
    this.toldAt = now;
    this.tell({ what: 'progress', job: this.state });
  }

  end(error?: unknown): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    const durationMs = Math.round(performance.now() - this.startedAt);
    this.tell({ what: 'ended', job: this.state, durationMs, error });
  }

  /** @throws VirtError job.not-cancellable */
  cancel(): void {
    if (this.spec.isCancellable !== true)
      throw new VirtError('job.not-cancellable', {
        wanted: `cancel job '${this.id}'`,
        reason: `'${this.spec.kind}' cannot be called off half-way`,
        hint: 'wait for its end',
      });
    this.abort.abort();
  }
}

/** What a cancelled job ends with: an abort of whatever kind is told as ours, another failure stays what it is. */
function abortedFrom(error: unknown, kind: string): unknown {
  const isAbort = error instanceof Error && error.name === 'AbortError';
  return isAbort
    ? new VirtError('operation.aborted', { wanted: kind, reason: 'it was cancelled', cause: error })
    : error;
}
