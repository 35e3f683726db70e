/** What /proc tells of processes: memory, processor time, wake-ups, arguments (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs';

/** Resident memory in KiB. */
export function rssKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Of it, what is this process's own and no page of a file that others may share, in KiB. */
export function privateKiB(pid: number): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Processor time of all threads, in milliseconds; schedstat counts nanoseconds where stat has ticks of 10 ms. */
export function cpuMs(pid: number): number {
  return sumOfTasks(pid, (task) => Number(readFileSync(`${task}/schedstat`, 'utf8').split(' ')[0]) / 1e6);
}

/** How often threads went to sleep and so were woken. */
export function wakeups(pid: number): number {
  return sumOfTasks(pid, (task) =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`${task}/status`, 'utf8'))?.[1]),
  );
}

function sumOfTasks(pid: number, read: (task: string) => number): number {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) sum += read(`/proc/${pid}/task/${task}`);
  return sum;
}

export function commandLine(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
}

/** Processes whose environment names a path below that directory: guests, by VIREO_GUEST. */
export function processesBelow(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => readOrNothing(`/proc/${pid}/environ`).includes(`VIREO_GUEST=${directory}/`));
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // It ended meanwhile, or is another user's.
  }
}
