/**
 * Runs plans when they are due. One timer for all, set to the next moment that any is due; without plans there is none, so
 * that an idle daemon sleeps. A run that was missed while no daemon was there, or while the host slept, is made up for once.
 */
import { reasonOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Archive } from './archive.ts';
import type { Plan, PlanStore } from './plans.ts';
import { nextDue } from './schedule.ts';

/** The longest sleep: after it the clock is looked at again, which may have been set. */
const MAX_SLEEP_MS = 3600 * 1000;

export class Planner {
  private readonly plans: PlanStore;
  private readonly run: (plan: Plan) => Promise<Archive>;
  private readonly log: Logger;
  private readonly now: () => number;
  private timer: NodeJS.Timeout | undefined;
  private isStopped = true;
  private readonly running = new Map<string, Promise<Plan>>();

  constructor(parts: {
    readonly plans: PlanStore;
    readonly run: (plan: Plan) => Promise<Archive>;
    readonly log: Logger;
    readonly now?: () => number;
  }) {
    this.plans = parts.plans;
    this.run = parts.run;
    this.log = parts.log;
    this.now = parts.now ?? Date.now;
  }

  start(): void {
    this.isStopped = false;
    this.look();
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** Runs what is due, one after the other, and sets the timer to what comes next. */
  look(): void {
    clearTimeout(this.timer);
    if (this.isStopped) return;
    const due = this.plans.all.filter((plan) => this.dueAt(plan) <= this.now());
    if (due.length > 0) void this.runAll(due);
    const waiting = this.plans.all.filter((plan) => !due.includes(plan)).map((plan) => this.dueAt(plan));
    if (waiting.length === 0) return;
    const sleepMs = Math.max(1000, Math.min(MAX_SLEEP_MS, ...waiting.map((at) => at - this.now())));
    this.timer = setTimeout(() => this.look(), sleepMs);
    // A daemon is not kept alive by a plan.
    this.timer.unref();
  }

  /** When a plan runs next, in milliseconds since 1970; in the past for one that was missed. */
  dueAt({ schedule, lastRun, sinceMs }: Plan): number {
    return nextDue(schedule, Math.max(sinceMs, lastRun?.atMs ?? 0));
  }

  private async runAll(due: readonly Plan[]): Promise<void> {
    for (const { name } of due)
      await this.runNow(name).catch((error: unknown) =>
        this.log.error({ plan: name, reason: reasonOf(error) }, 'a plan of backups could not be run'),
      );
    this.look();
  }

  /** Runs one now; what came of it stands in the plan. @throws VirtError backup.no-plan, file.* */
  runNow(name: string): Promise<Plan> {
    const going = this.running.get(name);
    if (going !== undefined) return going;
    const work = this.runOnce(this.plans.get(name)).finally(() => this.running.delete(name));
    this.running.set(name, work);
    return work;
  }

  private async runOnce(plan: Plan): Promise<Plan> {
    const atMs = this.now();
    // Before it begins: one that kills the daemon is not begun again and again.
    await this.plans.save({ ...plan, lastRun: { atMs } });
    let lastRun: NonNullable<Plan['lastRun']>;
    try {
      lastRun = { atMs, backup: (await this.run(plan)).path };
    } catch (error) {
      lastRun = { atMs, error: reasonOf(error) };
      this.log.error(
        { plan: plan.name, domain: plan.domain.name, reason: reasonOf(error) },
        'a planned backup failed',
      );
    }
    // It may have been changed, or removed, meanwhile.
    const current = this.plans.all.find(({ name }) => name === plan.name);
    if (current === undefined) return { ...plan, lastRun };
    const ended = { ...current, lastRun };
    await this.plans.save(ended);
    return ended;
  }
}
