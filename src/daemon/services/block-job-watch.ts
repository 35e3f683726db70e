/**
 * Block jobs as they go on: what QEMU tells of them becomes stored definitions, events and entries in the list of jobs.
 * Jobs of an earlier daemon are followed like those of this one.
 */
import { unlink } from 'node:fs/promises';
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type {
  BlockJobNews,
  BlockJobOutcome,
  BlockJobRecord,
  GuestEvent,
  LiveGuest,
} from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import {
  isSamePlace,
  layersOf,
  pathOfSource,
  storedBelow,
  withDisk,
  withoutIndex,
} from '../../model/domain/disk-chain.ts';
import { usersOfPaths } from './disk-paths-in-use.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import type { DomainWorld } from './world.ts';

/** How often progress is asked for while a job is in work. */
const POLL_MS = 500;
/** Storing what a job has changed comes after whatever else is done to the domain, however long that takes. */
const STORE_WAIT_MS = 24 * 3600 * 1000;

/** How a job ended. */
export interface BlockJobEnd {
  readonly outcome: BlockJobOutcome;
  readonly error: string | undefined;
}

/** A job that goes on, or whose outcome is being stored. `before`: its disk, as it was before the job's end. */
export interface UnfinishedJob {
  readonly job: BlockJobRecord;
  readonly before: Disk;
}

interface Watched {
  readonly id: string;
  readonly disk: string;
  readonly guest: LiveGuest;
  readonly entry: RunningJob;
  readonly ready: PromiseWithResolvers<void>;
  readonly end: PromiseWithResolvers<BlockJobEnd>;
  readonly timer: NodeJS.Timeout;
  /** Its end, while that is being stored. */
  ended?: UnfinishedJob;
}

/** What a job has changed, which waits for its turn to be stored. Called again, it is the same storing. */
type Outcome = () => Promise<void>;

export class BlockJobWatch {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly watched = new Map<string, Watched>();
  /** How the last job of each disk ended, as long as its guest runs. */
  private readonly last = new WeakMap<LiveGuest, Map<string, BlockJobEnd>>();
  /** How many callers hold a domain and wait for a block job. */
  private readonly held = new WeakMap<Domain, number>();
  /** Outcomes that wait until the domain is free. */
  private readonly waiting = new WeakMap<Domain, Set<Outcome>>();

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** Listens to a guest that has just been started, or found again. */
  readonly follow = (domain: Domain, guest: LiveGuest): void => {
    for (const record of guest.blockJobs.records) this.watch(domain, guest, record);
    guest.onEvent((event) => this.onEvent(domain, guest, event));
    void guest.exited.then(
      () => this.onExit(domain, guest),
      () => this.onExit(domain, guest),
    );
  };

  /** Enters a job that has begun; the front ends see it from now on. */
  watch(domain: Domain, guest: LiveGuest, record: BlockJobRecord): Watched {
    const known = this.watched.get(keyOf(domain, record.id));
    if (known !== undefined) return known;
    const kind = `block ${record.kind === 'active-commit' ? 'commit' : record.kind}`;
    const entry = this.world.jobs.begin({
      kind,
      object: () => ({ type: 'domain', ...domain.identity }),
      unit: 'bytes',
      isCancellable: true,
    });
    entry.progress({ step: record.disk });
    entry.signal.addEventListener('abort', () => this.callOff(domain, guest, record));
    const timer = setInterval(() => void this.tellProgress(domain, guest, record.id, entry), POLL_MS);
    timer.unref();
    const ready = Promise.withResolvers<void>();
    const end = Promise.withResolvers<BlockJobEnd>();
    ready.promise.catch(() => undefined); // Whoever waits hears of it.
    const watched = { id: record.id, disk: record.disk, guest, entry, ready, end, timer };
    if (record.isReady === true) ready.resolve();
    this.watched.set(keyOf(domain, record.id), watched);
    return watched;
  }

  /** The job of a disk that goes on, or whose outcome is being stored. */
  jobOn(domain: Domain, disk: string): string | undefined {
    const guest = domain.live?.guest;
    return [...this.watched.values()].find((one) => one.guest === guest && one.disk === disk)?.id;
  }

  /** Those of a domain's running guest. */
  unfinished(domain: Domain): UnfinishedJob[] {
    const { live } = domain;
    return [...this.watched.values()].flatMap(({ guest, id, disk, ended }) => {
      if (guest !== live?.guest) return [];
      const job = guest.blockJobs.records.find((record) => record.id === id);
      const before = guest.definition.devices.disks.find(({ target }) => target.dev === disk);
      return ended ?? (job === undefined || before === undefined ? [] : { job, before });
    });
  }

  /** How the last job of a disk ended that this daemon has seen, in this run of the guest. */
  lastEnd(domain: Domain, disk: string): BlockJobEnd | undefined {
    return domain.live && this.last.get(domain.live.guest)?.get(disk);
  }

  /** Settles when both images are the same. @throws VirtError operation.failed when the job ends before */
  async whenReady(domain: Domain, id: string): Promise<void> {
    await this.watched.get(keyOf(domain, id))?.ready.promise;
  }

  /** Settles with how the job ended, when all it changed is stored; undefined for one that is not in work. */
  async whenEnded(domain: Domain, id: string): Promise<BlockJobEnd | undefined> {
    return this.watched.get(keyOf(domain, id))?.end.promise;
  }

  /**
   * Says that the caller has the domain's job and waits for a block job in it: what such jobs change, or have changed
   * already, is stored without waiting for that, until the function is called that this returns.
   */
  hold(domain: Domain): () => void {
    this.held.set(domain, (this.held.get(domain) ?? 0) + 1);
    for (const outcome of this.waiting.get(domain) ?? []) outcome().catch(() => undefined); // Whoever let it wait says so.
    return () => void this.held.set(domain, (this.held.get(domain) ?? 1) - 1);
  }

  private callOff(domain: Domain, guest: LiveGuest, { id }: BlockJobRecord): void {
    guest.blockJobs
      .cancel(id)
      .catch((error: unknown) =>
        this.world.log.warn({ domain: domain.name, job: id, reason: reasonOf(error) }, 'a block job goes on'),
      );
  }

  private async tellProgress(domain: Domain, guest: LiveGuest, id: string, entry: RunningJob): Promise<void> {
    try {
      const found = (await guest.blockJobs.list()).find((job) => job.id === id);
      if (found === undefined) return;
      const step = found.isReady === true ? `${found.disk} is ready` : found.disk;
      entry.progress({ done: found.doneBytes, total: found.totalBytes, step });
    } catch (error) {
      // The next look may tell; the end of the guest ends the job.
      this.world.log.debug(
        { domain: domain.name, job: id, reason: reasonOf(error) },
        'no news of a block job',
      );
    }
  }

  private onEvent(domain: Domain, guest: LiveGuest, event: GuestEvent): void {
    if (event.kind !== 'block-job') return;
    this.onNews(domain, guest, event).catch((error: unknown) =>
      this.world.log.error({ err: error, domain: domain.name }, 'a block job was not handled'),
    );
  }

  private async onNews(domain: Domain, guest: LiveGuest, news: BlockJobNews): Promise<void> {
    const watched = this.watch(domain, guest, news.job);
    switch (news.status) {
      case 'ready':
        await saveStatus(this.world, domain);
        this.watched.get(keyOf(domain, news.job.id))?.ready.resolve();
        return this.tell(domain, news, 'ready');
      case 'switching':
        return this.storing(domain, () => this.switch(domain, guest, news));
      default: {
        const { status, job, before } = news;
        watched.ended = { job, before };
        return this.storing(domain, () => this.finish(domain, guest, { ...news, status }));
      }
    }
  }

  /** In the domain's turn, or as soon as whoever has it waits for this. */
  private async storing(domain: Domain, work: () => Promise<void>): Promise<void> {
    if ((this.held.get(domain) ?? 0) > 0) return work();
    let stored: Promise<void> | undefined;
    const outcome = () => (stored ??= work());
    const waiting = this.waiting.get(domain) ?? new Set();
    this.waiting.set(domain, waiting.add(outcome));
    try {
      await domain.jobs.run('store the outcome of a block job', outcome, { waitMs: STORE_WAIT_MS });
    } finally {
      waiting.delete(outcome);
    }
  }

  /** The guest's writes are held: the definition that is stored now names where they go next. */
  private async switch(
    domain: Domain,
    guest: LiveGuest,
    { job, before, after }: BlockJobNews,
  ): Promise<void> {
    try {
      await saveStatus(this.world, domain);
      if (job.kind !== 'pull') await this.replaceSource(domain, job.disk, before, after);
    } catch (error) {
      this.world.log.error(
        { domain: domain.name, disk: job.disk, reason: reasonOf(error) },
        'a disk does not switch: its new definition could not be stored',
      );
      // What is stored is most likely the old one still.
      if (job.kind !== 'pull')
        await this.replaceSource(domain, job.disk, after, before).catch((failure: unknown) =>
          this.world.log.error(
            { domain: domain.name, disk: job.disk, reason: reasonOf(failure) },
            'the stored definition could not be put back: it may name the image that the disk did not switch to',
          ),
        );
      return guest.blockJobs.giveUp(job.id);
    }
    return guest.blockJobs.goOn(job.id);
  }

  private async finish(
    domain: Domain,
    guest: LiveGuest,
    news: BlockJobNews & { readonly status: BlockJobOutcome },
  ): Promise<void> {
    const { job, status, before, after, error } = news;
    if (domain.live?.guest !== guest) return;
    if (status === 'completed') await this.storeCompleted(domain, news);
    else if (before.mirror !== undefined && job.ending === 'pivot')
      await this.replaceSource(domain, job.disk, { ...before, source: before.mirror.source }, before);
    await saveStatus(this.world, domain);
    await guest.blockJobs.clear(job.id);
    if (status === 'completed' && job.isDeleting === true) await this.removeMerged(domain, before, after);
    this.close(domain, job.id, { outcome: status, error });
    this.tell(domain, news, status);
  }

  private async storeCompleted(domain: Domain, { job, before, after }: BlockJobNews): Promise<void> {
    if (job.kind === 'copy' || job.kind === 'active-commit')
      return this.replaceSource(domain, job.disk, before, after);
    // The chain in the stored definition is not the one in the headers any more.
    return this.changeStored(domain, job.disk, before, (disk) => withStoredBelow(disk, after));
  }

  /** The stored disk that is on the image of `from` is on that of `to`; what lies below is read from its header where that may be. */
  private replaceSource(domain: Domain, target: string, from: Disk, to: Disk): Promise<void> {
    return this.changeStored(domain, target, from, (disk) => ({
      ...withStoredBelow(disk, to),
      source: withoutIndex(to.source),
      driver: { ...disk.driver, type: to.driver?.type ?? 'raw' },
    }));
  }

  private async changeStored(
    domain: Domain,
    target: string,
    from: Disk,
    change: (disk: Disk) => Disk,
  ): Promise<void> {
    if (!domain.isPersistent) return;
    const stored = this.definitions.definition(domain, { inactive: true });
    const disk = stored.devices.disks.find((one) => one.target.dev === target);
    // Another disk by now, which was changed for the next start.
    if (disk === undefined || !isSamePlace(disk.source, from.source)) return;
    await this.definitions.replaceStored(domain, withDisk(stored, target, change));
  }

  /** Removes images that were merged away, but for those that somebody else uses. */
  private async removeMerged(domain: Domain, before: Disk, after: Disk): Promise<void> {
    const left = new Set(layersOf(after).map(({ source }) => pathOfSource(source)));
    const gone = layersOf(before).flatMap(({ source }) =>
      source.type === 'file' && source.file !== undefined && !left.has(source.file) ? [source.file] : [],
    );
    const used = usersOfPaths(this.world, gone);
    for (const path of gone) {
      const user = used.get(path);
      if (user !== undefined)
        this.world.log.warn({ domain: domain.name, path, user }, 'a merged image stays: it is in use');
      else
        await unlink(path).catch((error: unknown) =>
          this.world.log.warn({ domain: domain.name, path, reason: reasonOf(error) }, 'a merged image stays'),
        );
    }
  }

  private close(domain: Domain, id: string, end: BlockJobEnd): void {
    const key = keyOf(domain, id);
    const watched = this.watched.get(key);
    if (watched === undefined) return;
    this.watched.delete(key);
    const ends = this.last.get(watched.guest) ?? new Map<string, BlockJobEnd>();
    this.last.set(watched.guest, ends.set(watched.disk, end));
    clearInterval(watched.timer);
    const { outcome, error = 'it ended' } = end;
    const failed = new VirtError(outcome === 'cancelled' ? 'operation.aborted' : 'operation.failed', {
      wanted: `finish a block job of domain '${domain.name}'`,
      reason: outcome === 'cancelled' ? 'it was cancelled' : error,
    });
    watched.ready.reject(failed);
    watched.entry.end(outcome === 'completed' ? undefined : failed);
    watched.end.resolve(end);
  }

  /** A guest that has gone took its jobs with it. */
  private onExit(domain: Domain, guest: LiveGuest): void {
    const gone = [...this.watched].filter(([, watched]) => watched.guest === guest);
    for (const [key] of gone)
      this.close(domain, key.slice(domain.uuid.length + 1), {
        outcome: 'failed',
        error: 'the guest has ended',
      });
  }

  private tell(domain: Domain, news: BlockJobNews, status: 'ready' | BlockJobOutcome): void {
    const { job, after, error } = news;
    this.world.events.emit('domain.block-job', domain.identity, {
      disk: job.disk,
      path: pathOfSource(after.source) ?? null,
      job: job.kind,
      status,
      error: error ?? null,
    });
  }
}

const keyOf = (domain: Domain, id: string): string => `${domain.uuid} ${id}`;

/** The stored disk, with what it has to say of the images below it when the running one is `live`. */
function withStoredBelow({ backingStore: _old, ...disk }: Disk, live: Disk): Disk {
  const backingStore = storedBelow(live);
  return { ...disk, ...(backingStore !== undefined && { backingStore }) };
}
