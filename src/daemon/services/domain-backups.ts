/** Backups of running guests as the front ends use them: beginning one, looking at it, calling it off. */
import { VirtError } from '../../base/errors.ts';
import { inTime } from '../../base/late-answers.ts';
import type { BackupDiskRequest, BackupRequest, LiveGuest } from '../../drivers/driver.ts';
import { type BackupDef, type BackupServer, formatBackup } from '../../model/backup/backup.ts';
import { alignBackupDisks, takenDisks } from '../../model/backup/disks.ts';
import type { Checkpoint, CheckpointDef } from '../../model/checkpoint/checkpoint.ts';
import { type BackingNames, makeImages, removeFiles, requestFor } from './backup-images.ts';
import { type BackupEnd, BackupWatch } from './backup-watch.ts';
import type { Domain, LiveDomain } from './domain.ts';
import { type DomainCheckpoints, notedDisks } from './domain-checkpoints.ts';
import { saveStatus } from './domain-status.ts';
import type { Transfer, TransferNotes } from './domain-transfers.ts';
import { whileFrozenIf } from './frozen.ts';
import { untilSettled } from './late-changes.ts';
import { type DomainWorld, runJob } from './world.ts';

/** How a backup is wanted, besides its document. */
export interface BeginOptions {
  /** A checkpoint that is made at the same moment. */
  readonly checkpoint?: CheckpointDef;
  /** The images are there already, made by somebody else. */
  readonly reuse?: boolean;
  /** The guest agent freezes the file systems for that moment. */
  readonly quiesce?: boolean;
  /** What is done around the very moment, file systems frozen. It must call `begin` once, or throw before it. */
  readonly around?: (begin: () => Promise<void>) => Promise<void>;
  readonly bytesPerSecond?: number;
  /** Pack the clusters of qcow2 images (push). */
  readonly compressed?: boolean;
  /** What lies below incremental images, in place of the disk. */
  readonly backing?: BackingNames;
  /** Kept with it. */
  readonly note?: string;
}

/** A backup that has begun. `ended` never rejects. */
export interface BegunBackup {
  readonly definition: BackupDef;
  readonly checkpoint: Checkpoint | undefined;
  readonly ended: Promise<BackupEnd>;
}

export class DomainBackups {
  private readonly world: DomainWorld;
  private readonly checkpoints: DomainCheckpoints;
  private readonly watch: BackupWatch;
  /** What QEMU has not answered in time, until nothing of it is there. */
  private readonly takenBack = new WeakMap<LiveGuest, Promise<void>>();
  /** Directory of the certificates for pull backups over TLS. */
  private readonly certificates: string;

  constructor(
    world: DomainWorld,
    parts: {
      readonly checkpoints: DomainCheckpoints;
      readonly notes: TransferNotes;
      readonly certificates: string;
    },
  ) {
    this.world = world;
    this.checkpoints = parts.checkpoints;
    this.certificates = parts.certificates;
    this.watch = new BackupWatch(world, parts.notes);
    world.followers.push(this.watch.follow);
  }

  /**
   * Begins a backup of a running guest: all disks at one moment.
   * @throws VirtError domain.inactive, domain.state when one is in work, checkpoint.*, definition.unsupported,
   *   request.invalid, file.*, agent.*, qmp.*
   */
  async begin(domain: Domain, wish: BackupDef, options: BeginOptions = {}): Promise<BegunBackup> {
    // Before its turn: what is taken back has turns of its own.
    await untilSettled(domain, (live) => this.takenBack.get(live.guest) ?? this.endingSoon(domain, live));
    return runJob(this.world, domain, 'begin backup', () => this.beginHeld(domain, wish, options));
  }

  /** One that has nothing left to do but to go: whoever called it off begins the next at once. */
  private endingSoon(domain: Domain, { guest }: LiveDomain): Promise<unknown> | undefined {
    const { record } = guest.backup;
    const isOver = record?.disks.every(({ outcome }) => outcome !== undefined) ?? false;
    return record?.isCancelling === true || isOver ? this.watch.ending(domain) : undefined;
  }

  private async beginHeld(domain: Domain, wish: BackupDef, options: BeginOptions): Promise<BegunBackup> {
    const wanted = `back up domain '${domain.name}'`;
    const live = domain.requireLive('back up');
    if (live.guest.backup.record !== undefined)
      throw new VirtError('domain.state', {
        wanted,
        reason: 'another backup job is already running',
        hint: `wait for its end, or call it off with 'vireo backup cancel ${domain.name}'`,
      });
    const checkpoint =
      options.checkpoint === undefined ? undefined : this.checkpoints.plan(domain, options.checkpoint);
    const suffix = checkpoint?.name ?? String(Math.floor(Date.now() / 1000));
    const aligned = alignBackupDisks({ ...wish, mode: wish.mode ?? 'push' }, live.guest.definition, {
      suffix,
      wanted,
    });
    const definition = withNames(withServer(aligned, wanted));
    const disks = takenDisks(definition).map((disk) => requestFor(definition.mode, disk, wanted));
    this.check(domain, live, disks, wanted);
    const isPull = definition.mode === 'pull';
    const { reuse = false, backing = new Map() } = options;
    const made = await makeImages(this.world, live, disks, { reuse, isPull, backing, wanted });
    const request = this.requestOf(definition, { disks, checkpoint, made, options });
    return this.start(domain, live, { definition, checkpoint, request, options });
  }

  private check(
    domain: Domain,
    { guest }: LiveDomain,
    disks: readonly BackupDiskRequest[],
    wanted: string,
  ): void {
    if (disks.length === 0)
      throw new VirtError('definition.unsupported', { wanted, reason: 'no disks selected for backup' });
    for (const { disk, since } of disks) {
      if (guest.blockJobs.records.some((job) => job.disk === disk))
        throw new VirtError('domain.state', {
          wanted,
          reason: `disk '${disk}' already in active block job`,
          hint: `wait for its end, or cancel it with 'vireo domain disk cancel ${domain.name} ${disk}'`,
        });
      if (since !== undefined && !this.checkpoints.treeOf(domain).has(since))
        throw new VirtError('checkpoint.not-found', {
          wanted,
          reason: `Checkpoint '${since}' for incremental backup of disk '${disk}' not found`,
        });
    }
  }

  private requestOf(
    definition: BackupDef,
    parts: {
      readonly disks: readonly BackupDiskRequest[];
      readonly checkpoint: Checkpoint | undefined;
      readonly made: readonly string[];
      readonly options: BeginOptions;
    },
  ): BackupRequest {
    const { disks, checkpoint, made, options } = parts;
    const { bytesPerSecond, compressed, note } = options;
    return {
      record: {
        mode: definition.mode ?? 'push',
        startedAtMs: Date.now(),
        xml: formatBackup(definition),
        made,
        ...(checkpoint && { checkpoint: checkpoint.name }),
        ...(note !== undefined && { note }),
      },
      disks,
      checkpointDisks: checkpoint === undefined ? [] : notedDisks(checkpoint),
      ...(definition.server && { server: this.addressOf(definition.server) }),
      ...(bytesPerSecond !== undefined && { bytesPerSecond }),
      ...(compressed === true && { isCompressed: true }),
    };
  }

  private addressOf({
    transport,
    socket,
    name,
    port,
    tls,
  }: BackupServer): NonNullable<BackupRequest['server']> {
    const certificates = tls === true ? { certificates: this.certificates } : {};
    return transport === 'unix'
      ? { transport, socket: socket ?? '', ...certificates }
      : { transport: 'tcp', host: name ?? 'localhost', port: port ?? 0, ...certificates };
  }

  private async start(
    domain: Domain,
    live: LiveDomain,
    what: Omit<BegunBackup, 'ended'> & { readonly request: BackupRequest; readonly options: BeginOptions },
  ): Promise<BegunBackup> {
    const { definition, checkpoint, request, options } = what;
    const { guest } = live;
    const { quiesce = false, around } = options;
    const save = () => saveStatus(this.world, domain);
    let failure: unknown;
    const work = async () => {
      try {
        await whileFrozenIf(this.world, domain, { isWanted: quiesce, live }, () =>
          guest.backup.begin(request, { save, around }),
        );
      } catch (error) {
        // What QEMU has begun ends by itself, and its checkpoint is in the images.
        if (guest.backup.record?.hasBegun !== true) throw error;
        failure = error;
      }
    };
    // Before it begins: it may end at once.
    const ended = this.watch.watch(domain, guest);
    const begin = () =>
      checkpoint === undefined ? work() : this.checkpoints.withDocument(domain, checkpoint, work);
    try {
      await inTime(begin, (end) => {
        const takenBack = this.takeBack(domain, live, checkpoint, end);
        this.takenBack.set(guest, takenBack);
        void takenBack.then(() => this.takenBack.delete(guest));
      });
    } catch (error) {
      this.watch.abandon(domain, error);
      await removeFiles(request.record.made);
      throw error;
    }
    if (checkpoint !== undefined) this.checkpoints.tellCreated(domain, checkpoint.name);
    if (failure !== undefined) throw failure;
    return { definition, checkpoint, ended };
  }

  /**
   * One that was told not to have begun, since QEMU did not answer in time, and that QEMU begins all the same: it is called
   * off, and its checkpoint goes. Never rejects.
   */
  private async takeBack(
    domain: Domain,
    { guest }: LiveDomain,
    checkpoint: Checkpoint | undefined,
    end: Promise<void>,
  ): Promise<void> {
    const hasBegun = await end.then(
      () => true,
      () => false,
    );
    if (!hasBegun) return;
    try {
      if (guest.backup.record !== undefined) {
        const ended = this.watch.watch(domain, guest);
        await guest.backup.cancel();
        await ended;
      }
      if (checkpoint !== undefined && this.checkpoints.treeOf(domain).has(checkpoint.name))
        await this.checkpoints.delete(domain, checkpoint.name, {
          scope: 'one',
          metadataOnly: !domain.isActive,
        });
    } catch (error) {
      const facts = { domain: domain.name, checkpoint: checkpoint?.name };
      this.world.log.error({ err: error, ...facts }, 'a backup that QEMU began late is not taken back');
    }
  }

  /** The document of the one in work. @throws VirtError backup.none */
  xml(domain: Domain): string {
    const record = domain.live?.guest.backup.record;
    if (record !== undefined) return record.xml;
    throw new VirtError('backup.none', {
      wanted: `show the backup of domain '${domain.name}'`,
      reason: 'no domain backup job present',
    });
  }

  /** How far the one in work is; undefined when there is none. @throws VirtError qmp.* */
  async current(domain: Domain): Promise<Transfer | undefined> {
    const backup = domain.live?.guest.backup;
    const record = backup?.record;
    if (backup === undefined || record === undefined) return undefined;
    return {
      kind: 'backup',
      elapsedMs: Math.max(0, Date.now() - record.startedAtMs),
      progress: undefined,
      disks: { ...(await backup.progress()), isScratch: record.mode === 'pull' },
      outcome: undefined,
    };
  }

  /** The end of the one in work; undefined when there is none. */
  ending(domain: Domain): Promise<BackupEnd> | undefined {
    return this.watch.ending(domain);
  }

  /** How the one with that note ended, or will end; undefined when nobody knows. */
  endOf(domain: Domain, note: string): Promise<BackupEnd | undefined> {
    return this.watch.endOf(domain, note);
  }

  /** Calls the one in work off, or finishes a pull; settles with its end. @throws VirtError backup.none, qmp.* */
  async cancel(domain: Domain): Promise<BackupEnd> {
    const ended = this.watch.ending(domain);
    const { live } = domain;
    if (ended === undefined || live === undefined)
      throw new VirtError('backup.none', {
        wanted: `call off the backup of domain '${domain.name}'`,
        reason: 'no backup is in work',
      });
    await live.guest.backup.cancel();
    await saveStatus(this.world, domain);
    return ended;
  }
}

/** A pull serves somewhere. @throws VirtError request.unsupported without a port */
function withServer(definition: BackupDef, wanted: string): BackupDef {
  if (definition.mode !== 'pull') return definition;
  const { server = { name: 'localhost' } } = definition;
  const { transport = 'tcp' } = server;
  if (transport === 'tcp' && (server.port ?? 0) === 0)
    throw new VirtError('request.unsupported', {
      wanted,
      reason: '<domainbackup> must specify TCP port for now',
      hint: "give the server a port='10809', or use transport='unix' with a socket",
    });
  return { ...definition, server: { ...server, transport } };
}

/** What a disk and its bitmap are called on the server. */
function withNames(definition: BackupDef): BackupDef {
  if (definition.mode !== 'pull') return withFormats(definition);
  const disks = definition.disks.map((disk) => {
    if (disk.backup === false) return disk;
    const { name, incremental, exportName = name, exportBitmap } = disk;
    const bitmap = exportBitmap ?? (incremental === undefined ? undefined : `backup-${name}`);
    return { ...disk, exportName, ...(bitmap !== undefined && { exportBitmap: bitmap }) };
  });
  return withFormats({ ...definition, disks });
}

function withFormats(definition: BackupDef): BackupDef {
  const disks = definition.disks.map((disk) =>
    disk.backup === false || disk.format !== undefined ? disk : { ...disk, format: 'qcow2' as const },
  );
  return { ...definition, disks };
}
