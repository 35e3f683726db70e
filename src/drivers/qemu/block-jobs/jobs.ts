/** The jobs on images of one guest: what QEMU says of them, what they make of the running definition, and their end. */
import { isVirtError, reasonOf, VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import {
  afterCommit,
  afterPivot,
  afterPull,
  indexOf,
  layersOf,
  mirrorLayers,
  withDisk,
  withoutMirror,
} from '../../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { BlockJobInfo, BlockJobNews, BlockJobRecord, LiveBlockJobs } from '../../driver/block-jobs.ts';
import type { GuestEvent, GuestRecord } from '../../driver.ts';
import { nodesOfDisk } from '../backups/bitmaps.ts';
import { carryCheckpoints } from '../backups/carry.ts';
import type { QmpClient } from '../qmp/client.ts';
import { ignoringRefusal } from '../qmp/refusal.ts';
import type { MonitorEvent } from '../run-state.ts';
import { formatNode, isInUse, presentImages, removeImages, revokeWriting } from './nodes.ts';

/** What the jobs need of their guest. */
export interface JobGuest {
  readonly record: GuestRecord;
  readonly definition: DomainDef;
  setRecord(record: GuestRecord): void;
  setDefinition(definition: DomainDef): void;
  /** @throws VirtError qmp.closed */
  monitorClient(): QmpClient;
  replay(event: GuestEvent): void;
}

/** A job that has ended, until it is cleared: what goes with it. */
interface Ended {
  readonly images: readonly number[];
  /** QEMU has forgotten it already. */
  readonly isDismissed: boolean;
  readonly grants: NonNullable<BlockJobRecord['grants']>;
}

/** Jobs that switch the disk at their end wait for a word before they do (`auto-finalize: false`). */
export const isSwitching = ({ kind }: Pick<BlockJobRecord, 'kind'>): boolean =>
  kind === 'active-commit' || kind === 'copy';

export class QemuBlockJobs implements LiveBlockJobs {
  private readonly guest: JobGuest;
  private readonly log: Logger;
  private readonly ended = new Map<string, Ended>();
  /** Steps of all jobs, one after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(guest: JobGuest, log: Logger) {
    this.guest = guest;
    this.log = log;
  }

  get records(): readonly BlockJobRecord[] {
    return this.guest.record.blockJobs ?? [];
  }

  /** @throws VirtError domain.no-block-job */
  private find(id: string): BlockJobRecord {
    const found = this.records.find((record) => record.id === id);
    if (found !== undefined) return found;
    throw new VirtError('domain.no-block-job', {
      wanted: `find block job '${id}' of domain '${this.guest.definition.name}'`,
      reason: 'there is none, or it has ended',
    });
  }

  /** Notes a job that is about to begin. */
  add(record: BlockJobRecord): void {
    this.guest.setRecord({ ...this.guest.record, blockJobs: [...this.records, record] });
  }

  /** Forgets a job that did not begin, or has ended. */
  forget(id: string): void {
    const { blockJobs: _jobs, ...rest } = this.guest.record;
    const left = this.records.filter((record) => record.id !== id);
    this.guest.setRecord({ ...rest, ...(left.length > 0 && { blockJobs: left }) });
  }

  change(id: string, news: Partial<BlockJobRecord>): void {
    const blockJobs = this.records.map((record) => (record.id === id ? { ...record, ...news } : record));
    this.guest.setRecord({ ...this.guest.record, blockJobs });
  }

  async list(): Promise<BlockJobInfo[]> {
    const found = await this.guest.monitorClient().execute('query-block-jobs');
    return this.records.map((record) => {
      const told = found.find(({ device }) => device === record.id);
      return {
        ...record,
        doneBytes: told?.offset ?? 0,
        totalBytes: told?.len ?? 0,
        bytesPerSecond: told?.speed ?? 0,
        isPaused:
          told?.status === 'paused' || told?.['io-status'] === 'failed' || told?.['io-status'] === 'nospace',
      };
    });
  }

  async setSpeed(id: string, speed: number): Promise<void> {
    this.find(id);
    await this.guest.monitorClient().execute('block-job-set-speed', { device: id, speed });
  }

  async cancel(id: string): Promise<void> {
    this.refuseEnding(this.find(id));
    this.change(id, { ending: 'cancel' });
    this.setReady(this.find(id), 'abort');
    try {
      await this.guest.monitorClient().execute('block-job-cancel', { device: id });
    } catch (error) {
      this.takeBack(id, error);
      throw error;
    }
  }

  async pivot(id: string, { save }: { readonly save: () => Promise<void> }): Promise<void> {
    const record = this.find(id);
    this.refuseEnding(record);
    if (!isSwitching(record) || record.isReady !== true)
      throw new VirtError('domain.state', {
        wanted: `switch disk '${record.disk}' of domain '${this.guest.definition.name}'`,
        reason: isSwitching(record)
          ? 'the block job is not ready: both images are not the same yet'
          : `a ${record.kind} job does not switch the disk; it ends by itself`,
        hint: 'wait until it is ready',
      });
    this.change(id, { ending: 'pivot' });
    this.setReady(record, 'pivot');
    try {
      await save();
      await this.guest.monitorClient().execute('job-complete', { id });
    } catch (error) {
      this.takeBack(id, error);
      throw error;
    }
  }

  /** QEMU refused. What it has not answered stands: it waits in its monitor, and is obeyed when QEMU goes on. */
  private takeBack(id: string, error: unknown): void {
    if (isVirtError(error, 'qmp.timeout')) return;
    const { ending: _ending, ...record } = this.find(id);
    this.guest.setRecord({
      ...this.guest.record,
      blockJobs: this.records.map((one) => (one.id === id ? record : one)),
    });
    this.setReady(record, record.isReady === true ? 'yes' : undefined);
  }

  private refuseEnding({ disk, ending }: BlockJobRecord): void {
    if (ending !== undefined)
      throw new VirtError('domain.state', {
        wanted: `end the block job on disk '${disk}' of domain '${this.guest.definition.name}'`,
        reason: 'it is ending already',
      });
  }

  async goOn(id: string): Promise<void> {
    await this.guest.monitorClient().execute('job-finalize', { id });
  }

  async giveUp(id: string): Promise<void> {
    await this.guest.monitorClient().execute('job-cancel', { id });
  }

  async clear(id: string): Promise<void> {
    const ended = this.ended.get(id);
    if (ended === undefined) return;
    const qmp = this.guest.monitorClient();
    // First: as long as QEMU knows a job it keeps the job's images. Those that a daemon leaves that dies here, the next removes.
    if (!ended.isDismissed) await qmp.execute('job-dismiss', { id });
    await removeImages(qmp, ended.images, this.log);
    await revokeWriting(qmp, ended.grants);
    this.ended.delete(id);
  }

  /** Takes an event of the monitor that is about one of these jobs. */
  take({ name, data }: MonitorEvent): void {
    const { id, status } = data;
    if (name !== 'JOB_STATUS_CHANGE' || typeof id !== 'string' || typeof status !== 'string') return;
    if (!this.records.some((record) => record.id === id)) return;
    this.step(id, status);
  }

  private step(id: string, status: string): void {
    this.turn = this.turn
      .then(() => this.onStatus(id, status))
      .catch((error: unknown) => {
        // A guest that has ended took its jobs with it; whoever follows it says so.
        const isGone = isVirtError(error, 'qmp.closed');
        const facts = { job: id, status, reason: reasonOf(error) };
        this.log[isGone ? 'debug' : 'error'](facts, 'news of a block job were not handled');
      });
  }

  private async onStatus(id: string, status: string): Promise<void> {
    const record = this.records.find((one) => one.id === id);
    if (record === undefined) return;
    if (status === 'ready' && record.isReady !== true) this.onReady(record);
    else if (status === 'pending' && record.kind !== 'commit') await this.onPending(record);
    else if (status === 'concluded') await this.onEnd(record);
  }

  private onReady(record: BlockJobRecord): void {
    this.change(record.id, { isReady: true });
    if (record.ending === undefined) this.setReady(record, 'yes');
    const disk = this.disk(record);
    if (disk !== undefined)
      this.tell({ job: this.find(record.id), status: 'ready', before: disk, after: disk });
  }

  /** The guest's writes are held. What was called off goes on at once, since it switches nothing. */
  private async onPending(record: BlockJobRecord): Promise<void> {
    const disk = this.disk(record);
    if (record.kind === 'pull' && disk !== undefined) {
      this.change(record.id, { isFinishing: true });
      return this.tell({ job: this.find(record.id), status: 'switching', before: disk, after: disk });
    }
    if (record.ending !== 'pivot' || disk === undefined) return this.goOn(record.id);
    await this.carry(disk);
    this.tell({ job: record, status: 'switching', before: disk, after: afterPivot(disk) });
    return undefined;
  }

  /** Checkpoints come along; one that cannot is no reason not to switch. */
  private async carry(disk: Disk): Promise<void> {
    const target = indexOf(afterPivot(disk).source);
    if (target === undefined) return;
    const switching = { nodes: nodesOfDisk(disk), target: formatNode(target) };
    await carryCheckpoints(this.guest.monitorClient(), switching, this.log).catch((error: unknown) =>
      this.log.warn({ disk: disk.target.dev, reason: reasonOf(error) }, 'checkpoints are lost'),
    );
  }

  private async onEnd(record: BlockJobRecord): Promise<void> {
    const qmp = this.guest.monitorClient();
    const error = (await qmp.execute('query-jobs')).find(({ id }) => id === record.id)?.error;
    // QEMU 7.2 dies when it is asked for its nodes while it knows a pull that has ended: the filter that copied has lost
    // the image below it. So nobody may ask before this; that it was finished stands in the record.
    if (record.kind === 'pull') await qmp.execute('job-dismiss', { id: record.id });
    return this.conclude(error === undefined ? await this.withEnding(qmp, record) : record, error);
  }

  /** A copy or active merge ends without an error when it switches, and when it is called off: QEMU knows which it was. */
  private async withEnding(qmp: QmpClient, record: BlockJobRecord): Promise<BlockJobRecord> {
    if (!isSwitching(record) || record.ending === 'pivot') return record;
    const disk = this.disk(record);
    const [target] = disk === undefined ? [] : layersOf(afterPivot(disk));
    if (target?.index === undefined) return record;
    return { ...record, ending: (await isInUse(qmp, target.index)) ? 'pivot' : 'cancel' };
  }

  private conclude(record: BlockJobRecord, error: string | undefined): void {
    const status = record.ending === 'cancel' ? 'cancelled' : error === undefined ? 'completed' : 'failed';
    const before = this.disk(record);
    if (before === undefined) return this.forget(record.id);
    const after = status === 'completed' ? diskAfter(before, record) : withoutMirror(before);
    this.guest.setDefinition(withDisk(this.guest.definition, record.disk, () => after));
    this.forget(record.id);
    this.ended.set(record.id, {
      images: goneImages(before, after),
      isDismissed: record.kind === 'pull',
      // The image that the disk is on now keeps what lets QEMU write to it.
      grants: status === 'completed' && record.kind === 'active-commit' ? [] : (record.grants ?? []),
    });
    this.tell({ job: record, status, before, after, ...(error !== undefined && { error }) });
  }

  private disk({ disk }: BlockJobRecord): Disk | undefined {
    return this.guest.definition.devices.disks.find(({ target }) => target.dev === disk);
  }

  /** `<mirror ready='...'>` */
  private setReady({ disk: target }: BlockJobRecord, ready: 'yes' | 'abort' | 'pivot' | undefined): void {
    this.guest.setDefinition(
      withDisk(this.guest.definition, target, (disk) =>
        disk.mirror === undefined ? disk : { ...disk, mirror: { ...disk.mirror, ready } },
      ),
    );
  }

  private tell(news: BlockJobNews): void {
    this.guest.replay({ kind: 'block-job', seconds: Date.now() / 1000, ...news });
  }

  /**
   * After a restart of the daemon: what became of the jobs meanwhile is told as if it happened now; one that QEMU never
   * began is forgotten, and what QEMU has beyond the running definition is taken away.
   */
  async recover(qmp: QmpClient): Promise<void> {
    const known = new Map((await qmp.execute('query-jobs')).map((job) => [job.id, job]));
    for (const record of this.records) {
      const job = known.get(record.id);
      if (job !== undefined) {
        await this.askAgain(qmp, record, job.status);
        this.step(record.id, job.status);
      } else if (record.isFinishing === true) this.conclude(record, undefined);
      else {
        this.forget(record.id);
        this.guest.setDefinition(withDisk(this.guest.definition, record.disk, withoutMirror));
      }
    }
    await this.turn;
    await this.removeStrays(qmp, known);
  }

  /** A daemon may have died after it noted what it was about to ask of a job. Asked twice, it is the same. */
  private async askAgain(qmp: QmpClient, { id, ending }: BlockJobRecord, status: string): Promise<void> {
    if (ending === 'pivot' && status === 'ready') await ignoringRefusal(qmp.execute('job-complete', { id }));
    if (ending === 'cancel' && status !== 'concluded' && status !== 'pending')
      await ignoringRefusal(qmp.execute('block-job-cancel', { device: id }));
  }

  /** Jobs that ended, and images that no disk has any more, of a daemon that died before it cleared them away. */
  private async removeStrays(
    qmp: QmpClient,
    known: ReadonlyMap<string, { readonly status: string }>,
  ): Promise<void> {
    for (const [id, { status }] of known)
      if (
        status === 'concluded' &&
        isOurs(id) &&
        !this.ended.has(id) &&
        !this.records.some((one) => one.id === id)
      )
        await qmp.execute('job-dismiss', { id });
    const used = new Set([...this.ended.values()].flatMap(({ images }) => images));
    for (const disk of this.guest.definition.devices.disks)
      for (const { index } of [...layersOf(disk), ...mirrorLayers(disk)])
        if (index !== undefined) used.add(index);
    const strays = (await presentImages(qmp)).filter((number) => !used.has(number));
    await removeImages(qmp, strays, this.log);
  }
}

/** QEMU's name of a job: what it does, and to which disk. */
export const jobId = (kind: BlockJobRecord['kind'], disk: string): string =>
  `vireo-${kind === 'active-commit' ? 'commit' : kind}-${disk}`;
const isOurs = (id: string): boolean => /^vireo-(?:pull|commit|copy)-/.test(id);

function diskAfter(disk: Disk, record: BlockJobRecord): Disk {
  switch (record.kind) {
    case 'pull':
      return afterPull(disk, record.base ?? null);
    case 'commit':
      return afterCommit(disk, record.top ?? 0, record.base ?? 0);
    case 'active-commit':
    case 'copy':
      return afterPivot(disk);
  }
}

/** Images that the disk had, its copy included, and has no more; the uppermost first. */
function goneImages(before: Disk, after: Disk): number[] {
  const left = new Set(layersOf(after).map(({ index }) => index));
  const had = [...layersOf(before), ...mirrorLayers(before)].flatMap(({ index }) => index ?? []);
  return [...new Set(had)].filter((index) => !left.has(index));
}
