/** Backups as they go on: what QEMU tells of them becomes entries in the list of jobs, and is cleared away at their end. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { BackupNews, BackupOutcome, BackupRecord, GuestEvent, LiveGuest } from '../../drivers/driver.ts';
import type { Domain } from './domain.ts';
import { saveStatus } from './domain-status.ts';
import type { Transfer, TransferNotes } from './domain-transfers.ts';
import type { DomainWorld } from './world.ts';

/** How often progress is asked for while a backup is in work. */
const POLL_MS = 500;
/** Clearing away comes after whatever else is done to the domain, however long that takes. */
const STORE_WAIT_MS = 24 * 3600 * 1000;

/** How a backup ended. */
export interface BackupEnd {
  readonly outcome: BackupOutcome;
  readonly error: string | undefined;
  readonly record: BackupRecord;
}

interface Watched {
  readonly guest: LiveGuest;
  readonly entry: RunningJob;
  readonly end: PromiseWithResolvers<BackupEnd>;
  readonly timer: NodeJS.Timeout;
}

export class BackupWatch {
  private readonly world: DomainWorld;
  private readonly notes: TransferNotes;
  private readonly watched = new Map<string, Watched>();
  /** How the last of each domain ended that somebody had put a note on. */
  private readonly noted = new Map<string, BackupEnd>();

  constructor(world: DomainWorld, notes: TransferNotes) {
    this.world = world;
    this.notes = notes;
  }

  /** Listens to a guest that has just been started, or found again. */
  readonly follow = (domain: Domain, guest: LiveGuest): void => {
    if (guest.backup.record !== undefined) void this.watch(domain, guest);
    guest.onEvent((event) => this.onEvent(domain, guest, event));
    const gone = () => this.onExit(domain, guest);
    void guest.exited.then(gone, gone);
  };

  /** Enters a backup that has begun; settles when it is over and cleared away, never rejects. */
  watch(domain: Domain, guest: LiveGuest): Promise<BackupEnd> {
    const known = this.watched.get(domain.uuid);
    if (known?.guest === guest) return known.end.promise;
    const entry = this.world.jobs.begin({
      kind: 'backup',
      object: () => ({ type: 'domain', ...domain.identity }),
      unit: 'bytes',
      isCancellable: true,
    });
    entry.signal.addEventListener('abort', () => this.callOff(domain, guest));
    const timer = setInterval(() => void this.tellProgress(domain, guest, entry), POLL_MS);
    timer.unref();
    const end = Promise.withResolvers<BackupEnd>();
    this.watched.set(domain.uuid, { guest, entry, end, timer });
    return end.promise;
  }

  /** The end of the one in work; undefined when there is none. */
  ending({ uuid }: Pick<Domain, 'uuid'>): Promise<BackupEnd> | undefined {
    return this.watched.get(uuid)?.end.promise;
  }

  /** How the one with that note ended, or will end; undefined when nobody knows. */
  async endOf(domain: Domain, note: string): Promise<BackupEnd | undefined> {
    const isInWork = domain.live?.guest.backup.record?.note === note;
    const end = isInWork ? await this.ending(domain) : this.noted.get(domain.uuid);
    return end?.record.note === note ? end : undefined;
  }

  /** The entry of one that did not begin after all. */
  abandon(domain: Domain, error: unknown): void {
    const watched = this.watched.get(domain.uuid);
    if (watched === undefined) return;
    this.watched.delete(domain.uuid);
    clearInterval(watched.timer);
    watched.entry.end(error);
  }

  private callOff(domain: Domain, guest: LiveGuest): void {
    guest.backup
      .cancel()
      .then(() => saveStatus(this.world, domain))
      .catch((error: unknown) =>
        this.world.log.warn({ domain: domain.name, reason: reasonOf(error) }, 'a backup goes on'),
      );
  }

  private async tellProgress(domain: Domain, guest: LiveGuest, entry: RunningJob): Promise<void> {
    try {
      const { doneBytes, totalBytes } = await guest.backup.progress();
      entry.progress({ done: doneBytes, total: totalBytes, step: guest.backup.record?.mode ?? 'ending' });
    } catch (error) {
      // The next look may tell; the end of the guest ends the job.
      this.world.log.debug({ domain: domain.name, reason: reasonOf(error) }, 'no news of a backup');
    }
  }

  private onEvent(domain: Domain, guest: LiveGuest, event: GuestEvent): void {
    if (event.kind !== 'backup') return;
    this.onNews(domain, guest, event).catch((error: unknown) =>
      this.world.log.error({ err: error, domain: domain.name }, 'news of a backup were not handled'),
    );
  }

  private async onNews(domain: Domain, guest: LiveGuest, { status, record }: BackupNews): Promise<void> {
    void this.watch(domain, guest);
    await saveStatus(this.world, domain);
    if (status === 'disk') return;
    await domain.jobs.run('end a backup', () => this.finish(domain, guest, status, record), {
      waitMs: STORE_WAIT_MS,
    });
  }

  private async finish(
    domain: Domain,
    guest: LiveGuest,
    outcome: BackupOutcome,
    record: BackupRecord,
  ): Promise<void> {
    if (domain.live?.guest !== guest) return;
    await guest.backup.clear();
    await saveStatus(this.world, domain);
    this.close(domain, { outcome, error: record.error, record });
  }

  private close(domain: Domain, end: BackupEnd): void {
    const watched = this.watched.get(domain.uuid);
    if (watched === undefined) return;
    this.watched.delete(domain.uuid);
    clearInterval(watched.timer);
    const { outcome, error } = end;
    const transfer = transferOf(end);
    this.notes.finish(domain, transfer);
    const { doneBytes, totalBytes } = transfer.disks;
    watched.entry.progress({ done: doneBytes, total: totalBytes, step: end.record.mode });
    if (end.record.note !== undefined) this.noted.set(domain.uuid, end);
    const failed = new VirtError(outcome === 'cancelled' ? 'operation.aborted' : 'operation.failed', {
      wanted: `back up domain '${domain.name}'`,
      reason: outcome === 'cancelled' ? 'it was cancelled' : (error ?? 'it ended'),
    });
    watched.entry.end(outcome === 'completed' ? undefined : failed);
    watched.end.resolve(end);
  }

  /** A guest that has gone took its backup with it. What it left is removed with the rest of the guest (cleanUp). */
  private onExit(domain: Domain, guest: LiveGuest): void {
    const { record } = guest.backup;
    const watched = this.watched.get(domain.uuid);
    if (watched?.guest !== guest || record === undefined) return;
    this.close(domain, { outcome: 'failed', error: record.error ?? 'the guest has ended', record });
  }
}

function transferOf({ outcome, error, record }: BackupEnd) {
  const sum = (of: (disk: BackupRecord['disks'][number]) => number | undefined) =>
    record.disks.reduce((all, disk) => all + (of(disk) ?? 0), 0);
  return {
    kind: 'backup',
    elapsedMs: Math.max(0, Date.now() - record.startedAtMs),
    progress: undefined,
    disks: {
      doneBytes: sum(({ doneBytes }) => doneBytes),
      totalBytes: sum(({ totalBytes }) => totalBytes),
      isScratch: record.mode === 'pull',
    },
    error,
    outcome,
  } satisfies Transfer;
}
