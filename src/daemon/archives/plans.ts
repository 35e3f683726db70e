/** Plans of backups on disk: one file each, by name, with when it ran last and what came of it. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, fileError, reasonOf, VirtError } from '../../base/errors.ts';
import { ensureDirectory, readText, removeDurable, writeDurable } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { weekdays } from './schedule.ts';

const count = z.int().min(1).max(10_000).optional();

const planSchema = z.object({
  format: z.literal(1),
  name: z.string(),
  domain: z.object({ uuid: z.guid(), name: z.string() }),
  directory: z.string(),
  schedule: z.object({
    every: z.enum(['hour', 'day', 'week']),
    minute: z.int().min(0).max(1439),
    weekday: z.enum(weekdays).optional(),
  }),
  keep: z.object({ last: count, daily: count, weekly: count, monthly: count }),
  fullEvery: z.int().min(1).max(1000),
  quiesce: z.boolean(),
  compressed: z.boolean(),
  /** A run that is due before this is not made up for. */
  sinceMs: z.number(),
  lastRun: z
    .object({
      atMs: z.number(),
      /** The backup that was made. */
      backup: z.string().optional(),
      error: z.string().optional(),
    })
    .optional(),
});
export type Plan = z.output<typeof planSchema>;

const nameRule = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$/;
const MAX_BYTES = 1024 * 1024;

export class PlanStore {
  private readonly directory: string;
  private readonly log: Logger;
  private readonly byName = new Map<string, Plan>();

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** Reads what is stored; a file that cannot be read is told in the log, and stays. @throws VirtError file.* */
  async open(): Promise<void> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(error, 'read the plans of backups', this.directory);
    });
    for (const file of names.filter((name) => name.endsWith('.json'))) {
      const path = join(this.directory, file);
      try {
        const plan = planSchema.parse(JSON.parse(await readText(path, MAX_BYTES)));
        this.byName.set(plan.name, plan);
      } catch (error) {
        this.log.error({ file: path, reason: reasonOf(error) }, 'a plan of backups cannot be read');
      }
    }
  }

  /** All, by name. */
  get all(): readonly Plan[] {
    return [...this.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws VirtError backup.no-plan */
  get(name: string): Plan {
    const found = this.byName.get(name);
    if (found !== undefined) return found;
    throw new VirtError('backup.no-plan', {
      reason: `there is no plan '${name}'`,
      hint: "'vireo backup plan list' shows those that are there",
    });
  }

  /** @throws VirtError request.invalid, file.* */
  async save(plan: Plan): Promise<void> {
    if (!nameRule.test(plan.name))
      throw new VirtError('request.invalid', {
        wanted: 'store a plan of backups',
        reason: `'${plan.name}' is no name for one: letters, digits, '_', '-' and '.' (not first)`,
      });
    await ensureDirectory(this.directory, 0o700);
    await writeDurable(this.pathOf(plan.name), `${JSON.stringify(plan, null, 2)}\n`);
    this.byName.set(plan.name, plan);
  }

  /** @throws VirtError backup.no-plan, file.* */
  async remove(name: string): Promise<void> {
    this.get(name);
    await removeDurable(this.pathOf(name));
    this.byName.delete(name);
  }

  private pathOf(name: string): string {
    return join(this.directory, `${name}.json`);
  }
}
