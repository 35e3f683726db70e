/** Putting the host to sleep for a while (Documentation/admin-guide/pm/sleep-states.rst, drivers/rtc/sysfs.c). */
import { VirtError } from '../base/errors.ts';
import type { HostFiles } from './host-files.ts';
import type { HostWriter } from './host-writer.ts';

/** To memory (S3), to disk (S4), or to disk with memory kept as long as there is power. */
export type SuspendTarget = 'memory' | 'disk' | 'hybrid';

/** Which of them the kernel offers. */
export type SleepStates = Readonly<Record<SuspendTarget, boolean>>;

const statePath = '/sys/power/state';
const diskPath = '/sys/power/disk';
const alarmPath = '/sys/class/rtc/rtc0/wakealarm';

/** Less than that is not worth it, and the clock may ring before the host sleeps (libvirt has the same limit). */
export const LEAST_SUSPEND_SECONDS = 60;
/** How long answers and logs have to get away before the host sleeps. */
const DELAY_MS = 10_000;

export function readSleepStates(files: HostFiles): SleepStates {
  const states = files.read(statePath)?.trim().split(/\s+/) ?? [];
  const ways = files.read(diskPath) ?? '';
  const disk = states.includes('disk') && !ways.includes('[disabled]');
  return { memory: states.includes('mem'), disk, hybrid: disk && /\bsuspend\b/.test(ways) };
}

/** One host that can be put to sleep; one sleep at a time. */
export class HostSuspension {
  private readonly files: HostFiles;
  private readonly write: HostWriter;
  private readonly delayMs: number;
  private timer: NodeJS.Timeout | undefined;

  constructor(host: { readonly files: HostFiles; readonly write: HostWriter; readonly delayMs?: number }) {
    this.files = host.files;
    this.write = host.write;
    this.delayMs = host.delayMs ?? DELAY_MS;
  }

  /**
   * Sets the alarm that wakes the host, and puts it to sleep after some seconds; `onFailure` hears of a kernel that
   * refuses then.
   * @throws VirtError request.unsupported, request.invalid for less than a minute, operation.failed while one is under way, file.*
   */
  suspend(target: SuspendTarget, seconds: number, onFailure: (error: unknown) => void): void {
    const wanted = `suspend the host to ${target}`;
    if (!readSleepStates(this.files)[target] || !this.files.exists(alarmPath))
      throw new VirtError('request.unsupported', {
        wanted,
        reason: 'the host cannot sleep so, or has no clock that wakes it',
      });
    if (seconds < LEAST_SUSPEND_SECONDS)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `suspend duration is too short: at least ${LEAST_SUSPEND_SECONDS} seconds`,
      });
    if (this.timer !== undefined)
      throw new VirtError('operation.failed', { wanted, reason: 'a suspension is under way already' });
    // An alarm that is set refuses another one until it is cleared.
    this.write(alarmPath, '0');
    this.write(alarmPath, `+${seconds}`);
    this.timer = setTimeout(() => {
      try {
        this.sleep(target);
      } catch (error) {
        onFailure(error);
      } finally {
        this.timer = undefined;
      }
    }, this.delayMs);
    this.timer.unref();
  }

  /** Returns when the host is awake again. */
  private sleep(target: SuspendTarget): void {
    if (target === 'hybrid') this.write(diskPath, 'suspend');
    this.write(statePath, target === 'memory' ? 'mem' : 'disk');
  }
}
