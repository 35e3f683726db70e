/** Processor time and memory of a QEMU process and of its threads, from /proc. */
import { readFileSync } from 'node:fs';
import { errnoOf } from '../../base/errors.ts';
import { parseCpuList } from '../../kvm/cpu-list.ts';

/** USER_HZ is 100 on every Linux (proc(5), sysconf(_SC_CLK_TCK)). */
const NANOSECONDS_PER_TICK = 10_000_000;

export interface ThreadTimes {
  readonly userNs: number;
  readonly systemNs: number;
  /** The host processor it ran on last. */
  readonly cpu: number;
}

/** Times of a process (all its threads), or of one thread; undefined when it is gone. */
export function threadTimes(pid: number, thread?: number): ThreadTimes | undefined {
  const text = read(`/proc/${pid}${thread === undefined ? '' : `/task/${thread}`}/stat`);
  if (text === undefined) return undefined;
  // The name in parentheses may hold anything; field 3 follows the last of them (proc(5)).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const tick = (field: number) => Number(fields[field - 3]) * NANOSECONDS_PER_TICK;
  return { userNs: tick(14), systemNs: tick(15), cpu: Number(fields[39 - 3]) };
}

/** How long a thread waited for a processor although it could run (/proc/PID/schedstat, sched-stats.rst); undefined when unknown. */
export function runDelayNs(pid: number, thread: number): number | undefined {
  const waited = Number((read(`/proc/${pid}/task/${thread}/schedstat`) ?? '').split(' ')[1]);
  return Number.isSafeInteger(waited) ? waited : undefined;
}

/**
 * How long a thread waited in the run queue (wait_sum of /proc/PID/sched, in milliseconds): counted where
 * kernel.sched_schedstats is on. Undefined elsewhere.
 */
export function runWaitNs(pid: number, thread: number): number | undefined {
  return parseWaitSum(read(`/proc/${pid}/task/${thread}/sched`) ?? '');
}

/** Older kernels write se.statistics.wait_sum. */
export function parseWaitSum(text: string): number | undefined {
  const match = /^(?:se\.statistics\.)?wait_sum\s*:\s*(\d+)\.(\d{6})$/m.exec(text);
  return match === null ? undefined : Number(match[1]) * 1_000_000 + Number(match[2]);
}

/** Resident memory of a process in KiB; undefined when it is gone. */
export function residentKiB(pid: number): number | undefined {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? '');
  return match === null ? undefined : Number(match[1]);
}

/** Host processors that a thread may run on; undefined when it is gone. */
export function allowedCpus(pid: number, thread: number): number[] | undefined {
  const match = /^Cpus_allowed_list:\s*(\S+)$/m.exec(read(`/proc/${pid}/task/${thread}/status`) ?? '');
  return match?.[1] === undefined ? undefined : parseCpuList(match[1]);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ESRCH') return undefined;
    throw error;
  }
}
