/** The backup of one guest: how it begins, what QEMU says of it, and its end. */
import { rm, unlink } from 'node:fs/promises';
import { errnoOf, isVirtError, reasonOf, VirtError } from '../../../base/errors.ts';
import { inTime, patiently, toTheEnd } from '../../../base/late-answers.ts';
import type { Logger } from '../../../base/log.ts';
import { Undo } from '../../../base/undo.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type {
  BackupBeginning,
  BackupDiskRecord,
  BackupDiskRequest,
  BackupNews,
  BackupOutcome,
  BackupProgress,
  BackupRecord,
  BackupRequest,
  LiveBackup,
} from '../../driver/backups.ts';
import type { GuestEvent, GuestRecord } from '../../driver.ts';
import type { QmpClient } from '../qmp/client.ts';
import { ignoringRefusal } from '../qmp/refusal.ts';
import type { MonitorEvent } from '../run-state.ts';
import { topNode } from '../snapshots/internal.ts';
import {
  addBitmap,
  bitmapOn,
  mergeInto,
  type NodeBitmaps,
  nodesOfDisk,
  readBitmaps,
  removeBitmap,
  type TransactionAction,
  wholeChain,
} from './bitmaps.ts';
import { transaction } from './checkpoints.ts';
import { addImage, backupJob, backupNode, jobPrefix, removeImage } from './images.ts';
import { exportDisk, startServer, stopServer, tlsDirectoryOf } from './server.ts';

/** What the backup needs of its guest. */
export interface BackupGuest {
  readonly record: GuestRecord;
  readonly definition: DomainDef;
  setRecord(record: GuestRecord): void;
  /** @throws VirtError qmp.closed */
  monitorClient(): QmpClient;
  replay(event: GuestEvent): void;
}

/** What a backup's steps share. */
interface Beginning {
  readonly qmp: QmpClient;
  readonly request: BackupRequest;
  readonly wanted: string;
  readonly bitmaps: NodeBitmaps;
}

/** What is told of a disk besides its outcome. */
interface JobEnd {
  readonly error?: string | undefined;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export class QemuBackup implements LiveBackup {
  private readonly guest: BackupGuest;
  private readonly log: Logger;
  /** Steps of all disks, one after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(guest: BackupGuest, log: Logger) {
    this.guest = guest;
    this.log = log;
  }

  get record(): BackupRecord | undefined {
    return this.guest.record.backup;
  }

  private set(backup: BackupRecord | undefined): void {
    const { backup: _old, ...rest } = this.guest.record;
    this.guest.setRecord({ ...rest, ...(backup && { backup }) });
  }

  async begin(request: BackupRequest, { save, around = (begin) => begin() }: BackupBeginning): Promise<void> {
    const wanted = `back up domain '${this.guest.definition.name}'`;
    if (this.record !== undefined)
      throw new VirtError('domain.state', { wanted, reason: 'another backup job is already running' });
    const qmp = this.guest.monitorClient();
    await using undo = new Undo(this.log);
    const { server } = request;
    const tlsDirectory = tlsDirectoryOf(this.guest.record.directory);
    this.set({
      ...request.record,
      disks: request.disks.map(({ disk, file, format }) => ({ disk, file, format })),
      ...(server?.transport === 'unix' && { socket: server.socket }),
      ...(server?.certificates !== undefined && { tlsDirectory }),
    });
    undo.add('forget the backup', async () => {
      this.set(undefined);
      await save();
    });
    await save();
    const actions = await this.prepare({ qmp, request, wanted, bitmaps: await readBitmaps(qmp) }, undo);
    if (server !== undefined)
      await startServer(qmp, server, { tlsDirectory, uid: this.guest.record.uid, undo });
    await around(async () => {
      // Before QEMU begins: what ends at once is found by its record.
      this.change({ hasBegun: true });
      await transaction(qmp, actions);
    });
    undo.keep();
    if (request.record.mode === 'pull') await this.serve(qmp, request);
    await save();
  }

  /** Images first; the answer is what all disks do at one moment. */
  private async prepare(beginning: Beginning, undo: Undo): Promise<TransactionAction[]> {
    const { qmp, request, bitmaps } = beginning;
    const isPull = request.record.mode === 'pull';
    const { checkpoint } = request.record;
    const actions: TransactionAction[] = [];
    for (const target of checkpoint === undefined ? [] : request.checkpointDisks)
      actions.push(addBitmap(topNode(this.disk(target)), checkpoint ?? ''));
    for (const one of request.disks) {
      const disk = this.disk(one.disk);
      undo.add(`take the image of ${one.disk} away`, () => removeImage(qmp, one.disk));
      const isOnTop = isPull || one.since !== undefined;
      await addImage(qmp, { ...one, backing: isOnTop ? topNode(disk) : undefined });
      actions.push(...this.sinceActions(beginning, one, disk, bitmaps));
      actions.push({ type: 'blockdev-backup', data: jobOptions(one, disk, request) });
    }
    return actions;
  }

  /** What has changed, as a bitmap where the job, or the server, looks for it. @throws VirtError checkpoint.inconsistent */
  private sinceActions(
    { request, wanted }: Beginning,
    one: BackupDiskRequest,
    disk: Disk,
    bitmaps: NodeBitmaps,
  ): TransactionAction[] {
    if (one.since === undefined) return [];
    const chain = wholeChain(nodesOfDisk(disk), one.since, bitmaps);
    if (chain === undefined)
      throw new VirtError('checkpoint.inconsistent', {
        wanted,
        reason: `missing or broken bitmap '${one.since}' for disk '${one.disk}'`,
        hint: 'make a full backup: what was written since is not known (QEMU was killed, or the image was changed)',
      });
    const top = topNode(disk);
    const node = request.record.mode === 'pull' ? backupNode(one.disk) : top;
    const target = bitmapOfBackup(one);
    const stale = bitmapOn(bitmaps, node, target) === undefined ? [] : [removeBitmap(node, target)];
    return [...stale, ...mergeInto({ node, target }, chain, one.since, bitmaps)];
  }

  /** The checkpoint is made by then, so a failure ends the backup as one that failed. */
  private async serve(qmp: QmpClient, { disks }: BackupRequest): Promise<void> {
    try {
      for (const one of disks)
        await exportDisk(qmp, {
          disk: one.disk,
          name: one.exportName ?? one.disk,
          bitmap: one.since === undefined ? undefined : bitmapOfBackup(one),
        });
    } catch (error) {
      this.change({ error: reasonOf(error) });
      await this.cancel();
      throw error;
    }
  }

  private disk(target: string): Disk {
    const disk = this.guest.definition.devices.disks.find((one) => one.target.dev === target);
    if (disk !== undefined) return disk;
    throw new VirtError('domain.no-device', {
      wanted: `back up domain '${this.guest.definition.name}'`,
      reason: `it has no disk '${target}'`,
    });
  }

  private change(news: Partial<BackupRecord>): void {
    if (this.record !== undefined) this.set({ ...this.record, ...news });
  }

  async progress(): Promise<BackupProgress> {
    const { record } = this;
    if (record === undefined) return { doneBytes: 0, totalBytes: 0 };
    const jobs = await this.guest.monitorClient().execute('query-jobs');
    const parts = record.disks.map((disk) => {
      if (disk.outcome !== undefined) return { done: disk.doneBytes ?? 0, total: disk.totalBytes ?? 0 };
      const job = jobs.find(({ id }) => id === backupJob(disk.disk));
      return { done: job?.['current-progress'] ?? 0, total: job?.['total-progress'] ?? 0 };
    });
    return {
      doneBytes: parts.reduce((sum, { done }) => sum + done, 0),
      totalBytes: parts.reduce((sum, { total }) => sum + total, 0),
    };
  }

  async cancel(): Promise<void> {
    const { record } = this;
    if (record === undefined) return;
    if (record.isCancelling === true) {
      // It was told already, and obeys when it answers: whether it does is what there is to tell.
      await this.guest.monitorClient().execute('query-jobs');
      return;
    }
    this.change({ isCancelling: true });
    await inTime(
      () => toTheEnd(() => this.endJobs()),
      (end) => {
        end.catch((error: unknown) =>
          this.log.error({ reason: reasonOf(error) }, 'a backup that was called off is not ended'),
        );
      },
    );
  }

  /** Clients of a pull are cut off before what they read goes. */
  private async endJobs(): Promise<void> {
    const { record } = this;
    const qmp = this.guest.monitorClient();
    if (record?.mode === 'pull') await stopServer(qmp);
    for (const { disk, outcome } of record?.disks ?? [])
      if (outcome === undefined)
        await ignoringRefusal(qmp.execute('block-job-cancel', { device: backupJob(disk), force: true }));
  }

  /** Takes an event of the monitor that is about one of its jobs. */
  take({ name, data }: MonitorEvent): void {
    const { id, status } = data;
    if (name !== 'JOB_STATUS_CHANGE' || typeof id !== 'string' || status !== 'concluded') return;
    if (this.record === undefined || !id.startsWith(jobPrefix)) return;
    this.step(id.slice(jobPrefix.length));
  }

  private step(disk: string): void {
    this.turn = this.turn
      // Nobody asks a second time: a QEMU that is held answers when it goes on.
      .then(() => patiently(() => this.onConcluded(disk)))
      .catch((error: unknown) => {
        // A guest that has ended took its backup with it; whoever follows it says so.
        const isGone = isVirtError(error, 'qmp.closed');
        const facts = { disk, reason: reasonOf(error) };
        this.log[isGone ? 'debug' : 'error'](facts, 'the end of a backup was not handled');
      });
  }

  private async onConcluded(disk: string): Promise<void> {
    const job = (await this.guest.monitorClient().execute('query-jobs')).find(
      ({ id }) => id === backupJob(disk),
    );
    await this.onEnd(disk, {
      error: job?.error,
      doneBytes: job?.['current-progress'] ?? 0,
      totalBytes: job?.['total-progress'] ?? 0,
    });
  }

  private async onEnd(disk: string, { error, doneBytes, totalBytes }: JobEnd): Promise<void> {
    const { record } = this;
    const own = record?.disks.find((one) => one.disk === disk);
    if (record === undefined || own === undefined || own.outcome !== undefined) return;
    // QEMU gives a job that was called off an error too ("Operation canceled").
    const outcome: BackupOutcome =
      record.isCancelling === true ? 'cancelled' : error === undefined ? 'completed' : 'failed';
    const disks = record.disks.map(
      (one): BackupDiskRecord => (one.disk === disk ? { ...one, outcome, doneBytes, totalBytes } : one),
    );
    const why = outcome === 'failed' ? (record.error ?? error) : record.error;
    this.set({ ...record, disks, ...(why !== undefined && { error: why }) });
    if (disks.some((one) => one.outcome === undefined)) {
      this.tell('disk');
      // A backup lacks nothing, or is none.
      if (outcome === 'failed') await this.endRest();
      return;
    }
    this.conclude();
  }

  private async endRest(): Promise<void> {
    this.change({ isCancelling: true });
    await this.endJobs();
  }

  private conclude(): void {
    const { record } = this;
    if (record === undefined) return;
    const outcome = outcomeOf(record);
    // What was written stays: from here on nobody takes it for the rest of one that was cut off.
    if (outcome === 'completed' && record.mode === 'push') this.change({ made: [] });
    this.tell(outcome);
  }

  private tell(status: BackupNews['status']): void {
    const { record } = this;
    if (record === undefined) return;
    this.guest.replay({ kind: 'backup', seconds: Date.now() / 1000, record, status });
  }

  clear(): Promise<void> {
    return patiently(() => this.clearAway());
  }

  private async clearAway(): Promise<void> {
    const { record } = this;
    if (record === undefined) return;
    const qmp = this.guest.monitorClient();
    if (record.mode === 'pull') await stopServer(qmp);
    for (const { disk } of record.disks) {
      await ignoringRefusal(qmp.execute('job-dismiss', { id: backupJob(disk) }));
      await this.removeBitmap(qmp, disk);
      await removeImage(qmp, disk);
    }
    await removeBackupFiles(record);
    this.set(undefined);
  }

  /** A push has what has changed on the disk itself; a pull on its scratch image, with which it goes. */
  private async removeBitmap(qmp: QmpClient, target: string): Promise<void> {
    const disk = this.guest.definition.devices.disks.find((one) => one.target.dev === target);
    if (disk === undefined || this.record?.mode === 'pull') return;
    const data = { node: topNode(disk), name: defaultBitmap(target) };
    await ignoringRefusal(qmp.executeRaw('block-dirty-bitmap-remove', data));
  }

  /**
   * After a restart of the daemon: what ended meanwhile is told as if it happened now; one that QEMU never began has
   * failed.
   */
  async recover(qmp: QmpClient): Promise<void> {
    const { record } = this;
    if (record === undefined) return;
    const jobs = new Map((await qmp.execute('query-jobs')).map((job) => [job.id, job.status]));
    if (record.disks.every(({ outcome }) => outcome !== undefined)) return this.conclude();
    for (const { disk, outcome } of record.disks) {
      if (outcome !== undefined) continue;
      const status = jobs.get(backupJob(disk));
      if (status === 'concluded') this.step(disk);
      else if (status === undefined)
        await this.onEnd(disk, { error: 'the daemon ended before it began', doneBytes: 0, totalBytes: 0 });
    }
    await this.turn;
    if (this.record?.isCancelling === true) await this.endJobs();
    return undefined;
  }
}

/** A pull that was called off is one that its client is done with (libvirt: VIR_DOMAIN_JOB_COMPLETED). */
function outcomeOf({ disks, mode, error }: BackupRecord): BackupOutcome {
  if (error !== undefined || disks.some(({ outcome }) => outcome === 'failed')) return 'failed';
  if (mode === 'push' && disks.some(({ outcome }) => outcome === 'cancelled')) return 'cancelled';
  return 'completed';
}

const defaultBitmap = (disk: string): string => `backup-${disk}`;
const bitmapOfBackup = ({ disk, exportBitmap }: BackupDiskRequest): string =>
  exportBitmap ?? defaultBitmap(disk);

function jobOptions(one: BackupDiskRequest, disk: Disk, request: BackupRequest) {
  const { record, bytesPerSecond = 0, isCompressed = false } = request;
  const isPull = record.mode === 'pull';
  const isIncremental = !isPull && one.since !== undefined;
  return {
    'job-id': backupJob(one.disk),
    device: topNode(disk),
    target: backupNode(one.disk),
    sync: isPull ? 'none' : isIncremental ? 'incremental' : 'full',
    ...(isIncremental && { bitmap: bitmapOfBackup(one) }),
    ...(bytesPerSecond > 0 && { speed: bytesPerSecond }),
    ...(isCompressed && { compress: true }),
    'auto-finalize': true,
    'auto-dismiss': false,
  };
}

/** Files that a backup leaves when it is over, or when its guest is: what was not finished, scratch images, the socket. */
export async function removeBackupFiles({ made, socket, tlsDirectory }: BackupRecord): Promise<void> {
  for (const path of [...made, ...(socket === undefined ? [] : [socket])])
    await unlink(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  if (tlsDirectory !== undefined) await rm(tlsDirectory, { recursive: true, force: true });
}
