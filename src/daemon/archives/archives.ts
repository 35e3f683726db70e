/** Backups in directories as the front ends use them: making, listing, verifying, restoring, deleting, and plans. */
import { dirname } from 'node:path';
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { Domain } from '../services/domain.ts';
import {
  type Archive,
  type Finding,
  filesOf,
  type Listing,
  listArchives,
  openArchive,
  removeArchive,
  verifyArchive,
} from './archive.ts';
import { type Created, type CreateWish, createArchive, dropPending, finishLive } from './create.ts';
import { Planner } from './planner.ts';
import { type Plan, PlanStore } from './plans.ts';
import { type RestoreWish, restoreArchive } from './restore.ts';
import { expired } from './retention.ts';
import type { ArchiveWorld } from './world.ts';

export class BackupArchives {
  readonly plans: PlanStore;
  readonly planner: Planner;
  private readonly world: ArchiveWorld;
  /** Domains that one is being made of. */
  private readonly making = new Set<string>();

  constructor(world: ArchiveWorld, options: { readonly planDirectory: string }) {
    this.world = world;
    this.plans = new PlanStore({ directory: options.planDirectory, log: world.log });
    this.planner = new Planner({ plans: this.plans, run: (plan) => this.runPlan(plan), log: world.log });
  }

  /** Reads the plans, and brings to an end, or takes back, what an earlier daemon was at. After guests were found again. */
  async open(): Promise<void> {
    await this.plans.open();
    for (const uuid of await this.world.pending.uuids())
      this.resume(uuid).catch((error: unknown) =>
        this.world.log.error(
          { uuid, reason: reasonOf(error) },
          'a backup of an earlier daemon came to nothing',
        ),
      );
  }

  private async resume(uuid: string): Promise<void> {
    const domain = this.world.domains.registry.withUuid(uuid);
    const draft = await this.world.pending.load(uuid);
    const end = domain && draft && (await this.world.backups.endOf(domain, draft.path));
    if (domain === undefined || end === undefined) return dropPending(this.world, domain, uuid);
    this.making.add(uuid);
    try {
      await finishLive(this.world, domain, end);
    } catch (error) {
      await dropPending(this.world, domain);
      throw error;
    } finally {
      this.making.delete(uuid);
    }
  }

  /** @throws VirtError domain.busy while another is being made, and as createArchive */
  async create(domain: Domain, wish: CreateWish): Promise<Created> {
    requireAbsolute(wish.directory);
    if (this.making.has(domain.uuid))
      throw new VirtError('domain.busy', {
        wanted: `back up domain '${domain.name}'`,
        reason: 'another backup of it is being made',
      });
    this.making.add(domain.uuid);
    try {
      return await createArchive(this.world, domain, wish);
    } finally {
      this.making.delete(domain.uuid);
    }
  }

  /** @throws VirtError file.* */
  list(directory: string): Promise<Listing> {
    requireAbsolute(directory);
    return listArchives(directory);
  }

  /** Reads all files of a backup and of those below; nothing is found wrong with a good one. @throws VirtError backup.not-found */
  async verify(path: string): Promise<{ readonly archive: Archive; readonly findings: readonly Finding[] }> {
    requireAbsolute(path);
    const archive = await openArchive(path);
    const total = filesOf(archive.manifest).reduce((sum, { bytes }) => sum + bytes, 0);
    const findings = await this.world.jobs.run(
      { kind: 'verify backup', object: objectOf(archive), total, unit: 'bytes', isCancellable: true },
      (job) => verifyArchive(archive, { signal: job.signal, onBytes: (done) => job.progress({ done }) }),
    );
    return { archive, findings };
  }

  /** @throws VirtError backup.*, domain.*, file.*, definition.unsupported, operation.aborted */
  async restore(path: string, wish: RestoreWish): Promise<Domain> {
    requireAbsolute(path);
    if (wish.directory !== undefined) requireAbsolute(wish.directory);
    const archive = await openArchive(path);
    return this.world.jobs.run(
      { kind: 'restore backup', object: objectOf(archive), unit: 'bytes', isCancellable: true },
      (job) => restoreArchive(this.world, archive, wish, job),
    );
  }

  /**
   * Deletes a backup, with `dependents` those that lie on it too; the paths of those that went.
   * @throws VirtError backup.not-found, backup.needed, file.*
   */
  async delete(path: string, { dependents }: { readonly dependents: boolean }): Promise<string[]> {
    requireAbsolute(path);
    const archive = await openArchive(path);
    const { archives } = await listArchives(dirname(dirname(path)));
    const beside = archives.filter((one) => dirname(one.path) === dirname(path));
    const on = dependentsOf(archive, beside);
    if (on.length > 0 && !dependents)
      throw new VirtError('backup.needed', {
        wanted: `delete the backup ${path}`,
        reason: `${on.length} others lie on it, the first is '${on[0]?.id}'`,
        hint: 'delete those first, or all together (--dependents)',
      });
    const gone = [...on.toReversed(), archive];
    for (const one of gone) await removeArchive(one.path);
    return gone.map((one) => one.path);
  }

  /** Backup and retention of one plan. */
  private async runPlan(plan: Plan): Promise<Archive> {
    const domain = this.world.domains.registry.find({ uuid: plan.domain.uuid });
    const { directory, quiesce, compressed, fullEvery, keep, name } = plan;
    const wish = { directory, mode: 'auto', quiesce, compressed, fullEvery, plan: name } as const;
    const { archive } = await this.create(domain, wish);
    const { archives } = await listArchives(directory);
    const own = archives.filter(
      ({ manifest }) => manifest.domain.uuid === domain.uuid && manifest.plan === name,
    );
    for (const { path } of expired(own, keep)) await removeArchive(path);
    return archive;
  }

  /** Stores a plan, new or in place of the one of its name. @throws VirtError request.invalid, file.* */
  async setPlan(plan: Omit<Plan, 'format' | 'sinceMs' | 'lastRun'>): Promise<Plan> {
    requireAbsolute(plan.directory);
    const known = this.plans.all.find(({ name }) => name === plan.name);
    const { lastRun } = known ?? {};
    const stored = { ...plan, format: 1 as const, sinceMs: Date.now(), ...(lastRun && { lastRun }) };
    await this.plans.save(stored);
    this.planner.look();
    return stored;
  }

  async removePlan(name: string): Promise<void> {
    await this.plans.remove(name);
    this.planner.look();
  }
}

const objectOf = ({ manifest }: Archive) =>
  ({ type: 'domain', uuid: manifest.domain.uuid, name: manifest.domain.name, id: null }) as const;

/** All that lie on it, each after the one that it lies on. */
function dependentsOf({ id }: Archive, beside: readonly Archive[]): Archive[] {
  return beside
    .filter(({ manifest }) => manifest.parent === id)
    .flatMap((one) => [one, ...dependentsOf(one, beside)]);
}

/** @throws VirtError request.invalid */
function requireAbsolute(path: string): void {
  if (path.startsWith('/') && !path.split('/').includes('..')) return;
  throw new VirtError('request.invalid', { reason: `'${path}' is not an absolute path` });
}
