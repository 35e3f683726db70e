/** Counters of a guest's threads by the kernel (perf_event_open(2)), under libvirt's names. */
import { closeSync, readdirSync } from 'node:fs';
import { errnoOf, reasonOf, VirtError } from '../../base/errors.ts';
import { openCounter, type PerfEvent, readCounter } from '../../base/ffi/perf-events.ts';
import type { PerfEventName } from '../../model/domain/perf-events.ts';
import { perfEventProblem } from '../../model/domain/perf-events.ts';

const hardware = (config: number): PerfEvent => ({ type: 0, config }); // PERF_TYPE_HARDWARE
const software = (config: number): PerfEvent => ({ type: 1, config }); // PERF_TYPE_SOFTWARE

/** PERF_COUNT_HW_* and PERF_COUNT_SW_* (linux/perf_event.h). */
const kernelEvents: Readonly<Partial<Record<PerfEventName, PerfEvent>>> = {
  cpu_cycles: hardware(0),
  instructions: hardware(1),
  cache_references: hardware(2),
  cache_misses: hardware(3),
  branch_instructions: hardware(4),
  branch_misses: hardware(5),
  bus_cycles: hardware(6),
  stalled_cycles_frontend: hardware(7),
  stalled_cycles_backend: hardware(8),
  ref_cpu_cycles: hardware(9),
  cpu_clock: software(0),
  task_clock: software(1),
  page_faults: software(2),
  context_switches: software(3),
  cpu_migrations: software(4),
  page_faults_min: software(5),
  page_faults_maj: software(6),
  alignment_faults: software(7),
  emulation_faults: software(8),
};

/** The counters of one guest. */
export class PerfCounters {
  private readonly pid: number;
  /** Descriptors of each event, one for a thread. */
  private readonly counters = new Map<PerfEventName, number[]>();

  constructor(pid: number) {
    this.pid = pid;
  }

  /**
   * Counts an event of all threads from now on; again does nothing.
   * @throws VirtError request.unsupported, naming the event, where this host does not count it
   */
  open(name: PerfEventName): void {
    if (this.counters.has(name)) return;
    const event = eventOf(name);
    const opened: number[] = [];
    try {
      // A thread that one of these starts later is counted with it (inherit).
      for (const thread of threadsOf(this.pid)) openFor(thread, event, opened);
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      throw notCounted(name, error);
    }
    this.counters.set(name, opened);
  }

  /** Counts it no more. */
  close(name: PerfEventName): void {
    for (const fd of this.counters.get(name) ?? []) closeSync(fd);
    this.counters.delete(name);
  }

  closeAll(): void {
    for (const name of [...this.counters.keys()]) this.close(name);
  }

  /** What has been counted since each was opened. */
  read(): Map<PerfEventName, number> {
    const sum = (fds: readonly number[]) => fds.reduce((total, fd) => total + readCounter(fd), 0);
    return new Map([...this.counters].map(([name, fds]) => [name, sum(fds)]));
  }
}

/** @throws VirtError request.unsupported where this host does not count it */
export function requireCountable(name: PerfEventName): void {
  const event = eventOf(name);
  try {
    closeSync(openCounter(0, event)); // of the calling thread
  } catch (error) {
    throw notCounted(name, error);
  }
}

function eventOf(name: PerfEventName): PerfEvent {
  const event = kernelEvents[name];
  if (event !== undefined) return event;
  throw new VirtError('request.unsupported', {
    wanted: `count '${name}'`,
    reason: perfEventProblem(name) ?? 'it is not known',
  });
}

function threadsOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map(Number);
}

function openFor(thread: number, event: PerfEvent, opened: number[]): void {
  try {
    opened.push(openCounter(thread, event));
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error; // it has ended
  }
}

const absent = new Set(['ENOENT', 'ENOTSUP', 'EOPNOTSUPP', 'ENODEV', 'ENOSYS', 'EINVAL']);
const denied = new Set(['EACCES', 'EPERM']);

function notCounted(name: string, error: unknown): unknown {
  const errno = errnoOf(error) ?? '';
  const wanted = `count '${name}' of a guest`;
  if (absent.has(errno))
    return new VirtError('request.unsupported', {
      wanted,
      reason: `perf event '${name}' is not supported here: this host's processor or kernel does not count it`,
      hint: "'vireo domain perf NAME' shows what is counted here",
      cause: error,
    });
  if (denied.has(errno))
    return new VirtError('request.unsupported', {
      wanted,
      reason: `perf event '${name}' is not supported here: the kernel does not let this daemon count it (${reasonOf(error)})`,
      hint: 'lower kernel.perf_event_paranoid, or use the system connection',
      cause: error,
    });
  if (error instanceof VirtError) return error;
  return new VirtError('system.call', { wanted, reason: reasonOf(error), cause: error });
}
