/** Counters of threads by the kernel: what this host counts is counted, and what it does not is told by name. */
import { readdirSync, readlinkSync } from 'node:fs';
import { expect, it } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { PerfCounters, requireCountable } from '../../../src/drivers/host-tuning/perf-counters.ts';
import { perfEventProblem } from '../../../src/model/domain/perf-events.ts';

/** Descriptors of counters that this process has. */
const openCounters = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('perf_event');
    } catch {
      return false; // the directory that was just read
    }
  }).length;

function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

it('a clock that this process used, until it is closed; or the name of what is not counted here', () => {
  const counters = new PerfCounters(process.pid);
  try {
    counters.open('task_clock');
  } catch (error) {
    // A container may keep the call from everybody: then that is what is told.
    if (!isVirtError(error, 'request.unsupported')) throw error;
    expect(error.reason).toContain("perf event 'task_clock' is not supported here");
    return;
  }
  busy(30);
  const first = counters.read().get('task_clock') ?? 0;
  expect(first).toBeGreaterThan(1_000_000);
  busy(30);
  expect(counters.read().get('task_clock')).toBeGreaterThan(first);
  counters.open('task_clock'); // again: it goes on from where it is
  expect(counters.read().get('task_clock')).toBeGreaterThan(first);
  expect(openCounters()).toBeGreaterThan(0);
  counters.closeAll();
  expect(counters.read().size).toBe(0);
  expect(openCounters()).toBe(0);
});

it.each(['cmt', 'mbmt', 'mbml'] as const)('%s, which Linux counts no more', (name) => {
  expect(() => requireCountable(name)).toThrow(
    expect.objectContaining({ code: 'request.unsupported', reason: expect.stringContaining(name) }),
  );
  expect(perfEventProblem(name)).toContain('resctrl');
});

it('names of libvirt only', () => {
  expect(perfEventProblem('cache_misses')).toBeUndefined();
  expect(perfEventProblem('cache_miss')).toBe("there is no perf event 'cache_miss'");
});

it('a process that has ended has no threads to count', () => {
  expect(() => new PerfCounters(2 ** 30).open('task_clock')).toThrow();
  expect(openCounters()).toBe(0);
});
