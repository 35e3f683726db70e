/** Making a backup in a directory: of a running guest at one moment by its QEMU, of one that is off by copying. */
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, fileError, isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { syncDirectory, writeDurable } from '../../base/files.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { isUnwritten } from '../../model/checkpoint/disks.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import { type DomainDef, formatDomain } from '../../model/domain/domain.ts';
import { describeOpenImage } from '../../storage/image-header/details.ts';
import { convertToFile, type SourceImage } from '../../storage/images/convert.ts';
import { backingOf } from '../../storage/images/overlay-files.ts';
import type { BackupEnd } from '../services/backup-watch.ts';
import type { Domain } from '../services/domain.ts';
import { ImageGraph, imageAt } from '../services/snapshot-chains.ts';
import { runJob } from '../services/world.ts';
import {
  type Archive,
  chainOf,
  completeArchive,
  describeFile,
  idOf,
  listArchives,
  type Manifest,
  partialOf,
} from './archive.ts';
import { copiesIn, copyingAround, describeCopies, refuseWithoutVariables } from './firmware.ts';
import type { ArchiveWorld, PendingArchive } from './world.ts';

export interface CreateWish {
  /** Where backups are: this one's directory is made below. */
  readonly directory: string;
  /** `auto`: incremental where that is possible. */
  readonly mode: 'auto' | 'full' | 'incremental';
  /** Targets of the disks; left out, all that can be written. */
  readonly disks?: readonly string[] | undefined;
  /** The guest agent freezes the file systems for the moment. */
  readonly quiesce?: boolean | undefined;
  readonly compressed?: boolean | undefined;
  readonly bytesPerSecond?: number | undefined;
  /** So many backups lie on each other at most; then a full one comes (auto). */
  readonly fullEvery?: number | undefined;
  readonly plan?: string | undefined;
}

/** A backup that was made; `whyFull`: why `auto` did not take changes alone. */
export interface Created {
  readonly archive: Archive;
  readonly whyFull: string | undefined;
}

export const checkpointPrefix = 'vireo-backup-';
const DEFAULT_FULL_EVERY = 14;

/** @throws VirtError backup.*, checkpoint.*, domain.*, file.*, agent.*, operation.*, qmp.* */
export async function createArchive(world: ArchiveWorld, domain: Domain, wish: CreateWish): Promise<Created> {
  const definition = world.definitions.definition(domain);
  const disks = chosenDisks(domain, definition, wish);
  refuseWithoutVariables(domain, definition);
  const { base, why } = await chooseParent(world, domain, disks, wish);
  if (wish.mode === 'incremental' && base === undefined)
    throw new VirtError('checkpoint.inconsistent', {
      wanted: `take an incremental backup of domain '${domain.name}'`,
      reason: why ?? 'there is no backup that it could lie on',
      hint: 'take a full one',
    });
  const takenAtMs = Date.now();
  const path = await freePath(join(wish.directory, domain.name), idOf(takenAtMs));
  const draft: PendingArchive = {
    ...{
      path,
      uuid: domain.uuid,
      name: domain.name,
      takenAtMs,
      disks: disks.map(({ target }) => target.dev),
    },
    ...(base && { parent: base.id }),
    ...(wish.plan !== undefined && { plan: wish.plan }),
    isFrozen: wish.quiesce === true,
  };
  // The intent first: a daemon that finds it takes away what there is.
  await world.pending.save(draft);
  try {
    await makeDirectory(partialOf(path));
    const archive = domain.isActive
      ? await takeLive(world, domain, { wish, draft, disks, base })
      : await takeOff(world, domain, { wish, draft, disks, definition });
    return { archive, whyFull: base === undefined ? why : undefined };
  } catch (error) {
    await dropPending(world, domain);
    throw error;
  }
}

async function makeDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw fileError(error, 'make a directory for a backup', path);
  });
}

function chosenDisks(domain: Domain, definition: DomainDef, { disks }: CreateWish): Disk[] {
  const wanted = `back up domain '${domain.name}'`;
  const all = definition.devices.disks.filter((disk) => !isUnwritten(disk));
  for (const target of disks ?? [])
    if (!all.some((disk) => disk.target.dev === target))
      throw new VirtError('domain.no-device', {
        wanted,
        reason: `it has no disk '${target}' that is written to`,
      });
  const chosen = disks === undefined ? all : all.filter(({ target }) => disks.includes(target.dev));
  if (chosen.length > 0) return chosen;
  throw new VirtError('definition.unsupported', { wanted, reason: 'it has no disk that is written to' });
}

/** The newest backup, where what was written since is known of all its disks; else why not. */
async function chooseParent(
  world: ArchiveWorld,
  domain: Domain,
  disks: readonly Disk[],
  { directory, mode, fullEvery = DEFAULT_FULL_EVERY }: CreateWish,
): Promise<{ readonly base?: Archive; readonly why?: string }> {
  if (mode === 'full') return {};
  if (!domain.isActive) return { why: 'the guest is off: what was written is told by a running one only' };
  const { archives } = await listArchives(directory);
  const base = archives.findLast(
    ({ manifest, path }) =>
      manifest.domain.uuid === domain.uuid && dirname(path) === join(directory, domain.name),
  );
  if (base === undefined) return { why: 'there is no backup yet' };
  const { checkpoint, disks: taken } = base.manifest;
  if (checkpoint === undefined) return { why: 'the last backup has no checkpoint' };
  const known = world.checkpoints.treeOf(domain).get(checkpoint);
  if (known === undefined) return { why: `the checkpoint of the last backup is gone (${checkpoint})` };
  const missing = disks.find(({ target }) => !taken.some((one) => one.target === target.dev));
  if (missing !== undefined) return { why: `disk ${missing.target.dev} is not in the last backup` };
  const [broken] = await world.checkpoints.brokenOf(domain, known);
  if (broken !== undefined) return { why: `what was written to disk ${broken} since is not known` };
  const chain = await chainOf(base);
  if (chain.length >= fullEvery) return { why: `${chain.length} backups lie on each other` };
  return { base };
}

async function freePath(parent: string, id: string): Promise<string> {
  const names = await readdir(parent).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'look for backups', parent);
  });
  for (let count = 1; ; count++) {
    const name = count === 1 ? id : `${id}-${count}`;
    if (!names.some((one) => one === name || one === `.${name}.partial`)) return join(parent, name);
  }
}

interface Taking {
  readonly wish: CreateWish;
  readonly draft: PendingArchive;
  readonly disks: readonly Disk[];
}

async function takeLive(
  world: ArchiveWorld,
  domain: Domain,
  { wish, draft, disks, base }: Taking & { readonly base: Archive | undefined },
): Promise<Archive> {
  const partial = partialOf(draft.path);
  const noted = disks.filter(({ driver }) => driver?.type === 'qcow2');
  const checkpoint = noted.length === 0 ? undefined : `${checkpointPrefix}${draft.path.split('/').at(-1)}`;
  const isIncremental = (disk: Disk) => base !== undefined && noted.includes(disk);
  const firmware = copyingAround(world, domain, partial);
  const full = { ...draft, ...(checkpoint !== undefined && { checkpoint }) };
  const onTop = disks.filter(isIncremental);
  await world.pending.save({ ...full, incremental: onTop.map(({ target }) => target.dev) });
  const document = {
    mode: 'push' as const,
    disks: disks.map((disk) => ({
      ...{ name: disk.target.dev, backup: true, type: 'file' as const, format: 'qcow2' as const },
      ...(isIncremental(disk) && { incremental: base?.manifest.checkpoint ?? '' }),
      target: { file: join(partial, imageName(disk.target.dev)), seclabels: [] },
    })),
  };
  const begun = await world.backups.begin(domain, document, {
    ...(checkpoint !== undefined && {
      checkpoint: {
        name: checkpoint,
        description: `made with the backup ${draft.path}`,
        disks: noted.map(({ target }) => ({ name: target.dev })),
      },
    }),
    backing: base === undefined ? new Map() : backingOn(base, onTop),
    ...(firmware.around && { around: firmware.around }),
    quiesce: wish.quiesce === true,
    compressed: wish.compressed === true,
    ...(wish.bytesPerSecond !== undefined && { bytesPerSecond: wish.bytesPerSecond }),
    note: draft.path,
  });
  const archive = await finishLive(world, domain, await begun.ended);
  if (firmware.late() !== undefined) throw madeBut(firmware.late(), archive, domain);
  return archive;
}

/** The images of the backup before, as the new ones beside it name them. */
function backingOn({ id }: Archive, disks: readonly Disk[]) {
  const imageOf = (dev: string) => ({ name: `../${id}/${imageName(dev)}`, format: 'qcow2' as const });
  return new Map(disks.map(({ target: { dev } }) => [dev, imageOf(dev)]));
}

/** The backup is whole, but the guest did not go on as it should when it began. */
function madeBut(error: unknown, { path }: Archive, domain: Domain): VirtError {
  return new VirtError('operation.failed', {
    wanted: `back up domain '${domain.name}'`,
    reason: `${path} is made, but the guest, which was paused for its moment, did not go on: ${reasonOf(error)}`,
    hint: `'vireo resume ${domain.name}'; the backup can be used`,
    cause: error,
  });
}

export const imageName = (target: string): string => `${target}.qcow2`;

/** The images are written: the rest comes beside them, and the manifest last. @throws VirtError operation.*, file.* */
export async function finishLive(world: ArchiveWorld, domain: Domain, end: BackupEnd): Promise<Archive> {
  const wanted = `back up domain '${domain.name}'`;
  if (end.outcome !== 'completed')
    throw new VirtError(end.outcome === 'cancelled' ? 'operation.aborted' : 'operation.failed', {
      wanted,
      reason: end.outcome === 'cancelled' ? 'it was cancelled' : (end.error ?? 'it failed'),
    });
  const draft = await world.pending.load(domain.uuid);
  if (draft === undefined)
    throw new VirtError('operation.failed', { wanted, reason: 'nothing is known of it any more' });
  const definition = world.definitions.definition(domain);
  const archive = await world.jobs.run(
    { kind: 'complete backup', object: { type: 'domain', ...domain.identity }, isCancellable: false },
    (job) => complete(draft, definition, draft.isFrozen ? 'frozen' : 'running', job),
  );
  await world.pending.remove(domain.uuid);
  await forgetOlder(world, domain, draft.checkpoint);
  return archive;
}

/** Only the newest checkpoint of ours is asked for again. */
async function forgetOlder(world: ArchiveWorld, domain: Domain, newest: string | undefined): Promise<void> {
  for (const { name } of world.checkpoints.treeOf(domain).all) {
    if (!name.startsWith(checkpointPrefix) || name === newest) continue;
    await world.checkpoints
      .delete(domain, name, { scope: 'one', metadataOnly: !domain.isActive })
      .catch((error: unknown) =>
        world.log.warn(
          { domain: domain.name, checkpoint: name, reason: reasonOf(error) },
          'an old checkpoint stays',
        ),
      );
  }
}

/** What came of a backup that failed, or that nobody can tell the end of: nothing is left of it. */
export async function dropPending(
  world: ArchiveWorld,
  domain: Domain | undefined,
  uuid = domain?.uuid ?? '',
): Promise<void> {
  const draft = await world.pending.load(uuid);
  if (draft === undefined) return;
  await rm(partialOf(draft.path), { recursive: true, force: true });
  const { checkpoint } = draft;
  if (domain !== undefined && checkpoint !== undefined && world.checkpoints.treeOf(domain).has(checkpoint))
    await world.checkpoints
      .delete(domain, checkpoint, { scope: 'one', metadataOnly: !domain.isActive })
      .catch((error: unknown) => {
        if (!isVirtError(error)) throw error;
        world.log.warn({ domain: domain.name, checkpoint, reason: error.reason }, 'a checkpoint stays');
      });
  await world.pending.remove(uuid);
}

/** Nobody starts the guest meanwhile: it is a job of the domain. */
function takeOff(
  world: ArchiveWorld,
  domain: Domain,
  { wish, draft, disks, definition }: Taking & { readonly definition: DomainDef },
): Promise<Archive> {
  const work = async (job: RunningJob): Promise<Archive> => {
    if (domain.isActive)
      throw new VirtError('domain.busy', {
        wanted: `back up domain '${domain.name}'`,
        reason: 'it was started just now',
      });
    await world.firmware.save(definition, copiesIn(partialOf(draft.path)));
    for (const disk of disks) {
      const source = await sourceOf(disk);
      await convertToFile(
        source,
        join(partialOf(draft.path), imageName(disk.target.dev)),
        { format: 'qcow2', capacityBytes: 0, compressed: wish.compressed === true },
        { signal: job.signal },
      );
    }
    const archive = await complete(draft, definition, 'off', job);
    await world.pending.remove(domain.uuid);
    return archive;
  };
  return runJob(world.domains, domain, 'backup', work, { isCancellable: true });
}

/** The disk's image with all that its headers name below. */
async function sourceOf(disk: Disk): Promise<SourceImage> {
  const path = pathOfSource(disk.source);
  if (path === undefined)
    throw new VirtError('definition.unsupported', {
      wanted: `copy disk '${disk.target.dev}'`,
      reason: `a source of type '${disk.source.type}' is copied while the guest runs only`,
    });
  const graph = new ImageGraph();
  const top = imageAt(disk) ?? { path, format: 'raw' };
  await graph.add(top, backingOf);
  const below = graph.chainOf(path).slice(1);
  const backing = below.reduceRight<SourceImage | undefined>(
    (lower, image) => ({ ...image, ...(lower && { backing: lower }) }),
    undefined,
  );
  return { ...top, ...(backing && { backing }) };
}

async function complete(
  draft: PendingArchive,
  definition: DomainDef,
  guest: Manifest['guest'],
  job: RunningJob,
): Promise<Archive> {
  const partial = partialOf(draft.path);
  job.progress({ step: 'reading what was written' });
  await writeDurable(join(partial, 'domain.xml'), formatDomain(definition, { inactive: true, secure: true }));
  const disks: Manifest['disks'] = [];
  for (const target of draft.disks) {
    const name = imageName(target);
    await flush(join(partial, name));
    disks.push({
      target,
      capacityBytes: await capacityOf(join(partial, name)),
      format: definition.devices.disks.find((one) => one.target.dev === target)?.driver?.type ?? 'raw',
      isIncremental: draft.incremental?.includes(target) === true,
      file: await describeFile(partial, name),
    });
  }
  await syncDirectory(partial);
  return completeArchive(draft.path, {
    format: 1,
    domain: { uuid: draft.uuid, name: draft.name },
    takenAtMs: draft.takenAtMs,
    kind: draft.parent === undefined ? 'full' : 'incremental',
    ...(draft.parent !== undefined && { parent: draft.parent }),
    ...(draft.checkpoint !== undefined && { checkpoint: draft.checkpoint }),
    guest,
    ...(draft.plan !== undefined && { plan: draft.plan }),
    disks,
    definition: await describeFile(partial, 'domain.xml'),
    ...(await describeCopies(partial)),
  });
}

/** What QEMU wrote is in the page cache. */
async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw fileError(error, 'read an image of a backup', path);
  });
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function capacityOf(path: string): Promise<number> {
  const handle = await open(path, 'r');
  try {
    return (await describeOpenImage(handle, 'qcow2')).virtualBytes;
  } finally {
    await handle.close();
  }
}
