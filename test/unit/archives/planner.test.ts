/** Plans run when they are due, once for all that was missed, and not at all once they are gone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { parseSchedule } from '../../../src/cli/commands/backup-plan.ts';
import type { Archive } from '../../../src/daemon/archives/archive.ts';
import { Planner } from '../../../src/daemon/archives/planner.ts';
import { type Plan, PlanStore } from '../../../src/daemon/archives/plans.ts';
import { nextDue } from '../../../src/daemon/archives/schedule.ts';

const at = (text: string) => new Date(text).getTime();
const hour = 3600 * 1000;

describe('a schedule', () => {
  it('is due at the next time that fits, by the clock of the host', () => {
    const due = (text: string, after: string) => new Date(nextDue(parseSchedule(text), at(after)));
    expect(due('day@02:30', '2026-03-01T02:29:59')).toEqual(new Date('2026-03-01T02:30:00'));
    expect(due('day@02:30', '2026-03-01T02:30:00')).toEqual(new Date('2026-03-02T02:30:00'));
    expect(due('hour@15', '2026-03-01T23:20:00')).toEqual(new Date('2026-03-02T00:15:00'));
    expect(due('week@friday@23:00', '2026-03-01T12:00:00')).toEqual(new Date('2026-03-06T23:00:00'));
  });

  it('is refused in words that are none', () => {
    for (const text of ['day', 'day@25:00', 'hour@60', 'week@02:30', 'month@1'])
      expect(() => parseSchedule(text), text).toThrow(/--every/);
  });
});

const plan: Plan = {
  ...{ format: 1, name: 'nightly', directory: '/backup', fullEvery: 7, quiesce: false, compressed: false },
  domain: { uuid: '6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022', name: 'web' },
  schedule: { every: 'day', minute: 150 },
  keep: {},
  sinceMs: at('2026-03-01T12:00:00'),
};

describe('the planner', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: at('2026-03-01T12:00:00') });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  async function rig(stored: readonly Plan[], run: () => Promise<Archive>) {
    const directory = mkdtempSync(join(tmpdir(), 'vireo-plans-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const before = new PlanStore({ directory, log: silentLogger });
    for (const one of stored) await before.save(one);
    // What is stored is what a new daemon finds.
    const plans = new PlanStore({ directory, log: silentLogger });
    await plans.open();
    const ran: number[] = [];
    const planner = new Planner({
      plans,
      log: silentLogger,
      run: () => {
        ran.push(Date.now());
        return run();
      },
    });
    onTestFinished(() => planner.stop());
    return { plans, planner, ran };
  }
  const made = async () => ({ path: '/backup/web/1' }) as Archive;
  const settled = (plans: PlanStore) =>
    vi.waitFor(() => expect(plans.get('nightly').lastRun).toMatchObject({ backup: expect.any(String) }), {
      timeout: 10_000,
    });

  it('runs what is due, and sleeps without a plan', async () => {
    const { planner, plans, ran } = await rig([plan], made);
    planner.start();
    await vi.advanceTimersByTimeAsync(14 * hour);
    expect(ran).toEqual([]);
    await vi.advanceTimersByTimeAsync(hour);
    await vi.waitFor(() => expect(ran).toHaveLength(1), { timeout: 10_000 });
    expect((ran[0] ?? 0) - at('2026-03-02T02:30:00')).toBeLessThan(hour);
    await settled(plans);
    await plans.remove('nightly');
    planner.look();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('makes up once for runs that were missed', async () => {
    const missed = { ...plan, lastRun: { atMs: at('2026-02-20T02:30:00'), backup: '/old' }, sinceMs: 0 };
    const { planner, plans, ran } = await rig([missed], made);
    planner.start();
    expect(ran).toHaveLength(0);
    await vi.waitFor(() => expect(ran).toHaveLength(1), { timeout: 10_000 });
    await settled(plans);
    expect(planner.dueAt(plans.get('nightly'))).toBe(at('2026-03-02T02:30:00'));
  });

  it('notes why one failed, and tries again at the next time only', async () => {
    const { planner, plans, ran } = await rig([plan], () => Promise.reject(new Error('the disk is full')));
    planner.start();
    const ended = await planner.runNow('nightly');
    expect(ended.lastRun).toEqual({ atMs: expect.any(Number), error: 'the disk is full' });
    expect(plans.get('nightly').lastRun?.error).toBe('the disk is full');
    expect(ran).toHaveLength(1);
    expect(planner.dueAt(ended)).toBe(at('2026-03-02T02:30:00'));
    await expect(async () => planner.runNow('other')).rejects.toMatchObject({ code: 'backup.no-plan' });
  });
});
