/** The QEMU process of one guest: how its end is noticed, and how it is ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import { VirtError } from '../../base/errors.ts';
import type { WaitStatus } from '../../base/ffi.ts';
import { type DetachedProcess, isSameProcess, killProcess, type ProcessId } from '../../base/spawn.ts';

/** How long a process may take to go after SIGKILL before we give up (docs/security.md, limits). */
const KILL_WAIT_MS = 15_000;

/** A QEMU of ours, started by this daemon or by an earlier one. */
export class GuestProcess {
  readonly id: ProcessId;
  /** Settles once, when the process has ended: reaped where it was our child. Never rejects. */
  readonly ended: Promise<WaitStatus>;
  private readonly settle: (status: WaitStatus) => void;
  private readonly isChild: boolean;
  private isEnded = false;
  private isLooking = false;

  private constructor(id: ProcessId, child?: Promise<WaitStatus>) {
    const { promise, resolve } = Promise.withResolvers<WaitStatus>();
    this.id = { pid: id.pid, startTimeTicks: id.startTimeTicks };
    this.ended = promise;
    this.isChild = child !== undefined;
    this.settle = (status) => {
      this.isEnded = true;
      resolve(status);
    };
    void child?.then(this.settle);
  }

  /** A process that this daemon has just started: SIGCHLD tells of its end. */
  static ofChild(child: DetachedProcess): GuestProcess {
    return new GuestProcess(child, child.ended);
  }

  /** A process of an earlier daemon, somebody else's child by now: call `lookForEnd` when its monitor closes. */
  static adopt(id: ProcessId): GuestProcess {
    return new GuestProcess(id);
  }

  /**
   * Looks whether an adopted process has ended, soon and then ever less often (1 ms to 1 s). Started by the closing of
   * the monitor, which comes just before the end, so the loop is a matter of milliseconds.
   */
  lookForEnd(): void {
    if (this.isChild || this.isLooking || this.isEnded) return;
    this.isLooking = true;
    const look = (delayMs: number): void => {
      if (!isSameProcess(this.id)) this.settle({});
      else setTimeout(look, delayMs, Math.min(delayMs * 2, 1000)).unref();
    };
    look(1);
  }

  /**
   * Ends the process and waits until it is gone: SIGTERM, after `graceMs` SIGKILL. With a grace of 0 SIGKILL at once.
   * @throws VirtError domain.busy when `force` is false and the grace is over; operation.timeout when not even SIGKILL
   *   helps (a disk that does not answer holds the process)
   */
  async end(options: { readonly force: boolean; readonly graceMs: number }): Promise<WaitStatus> {
    if (options.graceMs > 0 || !options.force) {
      this.signal('SIGTERM');
      if (await this.endsWithin(options.graceMs)) return this.ended;
      if (!options.force)
        throw new VirtError('domain.busy', {
          wanted: 'end QEMU gracefully',
          reason: `process ${this.id.pid} did not end within ${options.graceMs} ms`,
          hint: 'destroy without the graceful flag',
        });
    }
    this.signal('SIGKILL');
    if (await this.endsWithin(KILL_WAIT_MS)) return this.ended;
    throw new VirtError('operation.timeout', {
      wanted: 'end QEMU',
      reason: `process ${this.id.pid} did not end within ${KILL_WAIT_MS} ms of SIGKILL`,
      hint: 'a disk or network file system that does not answer holds it; it ends when that answers',
    });
  }

  private signal(signal: NodeJS.Signals): void {
    killProcess(this.id, signal);
    this.lookForEnd();
  }

  private async endsWithin(limitMs: number): Promise<boolean> {
    const timer = new AbortController();
    // Aborted below, when it ended in time: nobody looks at it then.
    const late = sleep(limitMs, false, { signal: timer.signal }).catch(() => false);
    const done = await Promise.race([this.ended.then(() => true), late]);
    timer.abort();
    return done;
  }
}
