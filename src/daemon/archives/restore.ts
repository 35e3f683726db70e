/** Making a domain of a backup: a new one beside what is there, or the old one as it was. */
import { mkdir, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { readText, syncDirectory } from '../../base/files.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { Undo } from '../../base/undo.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import { type DomainDef, parseDomain } from '../../model/domain/domain.ts';
import { convertToFile, type SourceImage } from '../../storage/images/convert.ts';
import { usersOfPaths } from '../services/disk-paths-in-use.ts';
import type { Domain } from '../services/domain.ts';
import { runJob } from '../services/world.ts';
import { type Archive, chainOf, type Manifest, verifyArchive } from './archive.ts';
import { putCopiesBack } from './firmware.ts';
import type { ArchiveWorld } from './world.ts';

export interface RestoreWish {
  /** A new domain of that name, with new identities; without it the domain becomes what it was. */
  readonly name?: string | undefined;
  /** Where the disks of a new domain go. */
  readonly directory?: string | undefined;
  /** The domain that is there is written over. */
  readonly over?: boolean | undefined;
  /** Do not compare the files with their manifests first. */
  readonly unverified?: boolean | undefined;
}

/** A disk on its way: written beside its place, then put there. */
interface Placed {
  readonly target: string;
  readonly path: string;
  readonly temporary: string;
}

const MAX_XML = 8 * 1024 * 1024;

/**
 * The domain that was made, or put back; it is off.
 * @throws VirtError backup.damaged, domain.exists, domain.active, domain.state, file.*, definition.unsupported
 */
export async function restoreArchive(
  world: ArchiveWorld,
  archive: Archive,
  wish: RestoreWish,
  job: RunningJob,
): Promise<Domain> {
  if (wish.unverified !== true) await requireWhole(archive, job);
  const xml = await readText(join(archive.path, archive.manifest.definition.name), MAX_XML);
  const { definition } = parseDomain(xml, { mode: 'lenient' });
  if (wish.name !== undefined) return restoreAs(world, archive, { definition, name: wish.name, wish, job });
  return restoreOver(world, archive, { definition, wish, job });
}

async function requireWhole(archive: Archive, job: RunningJob): Promise<void> {
  job.progress({ step: 'verifying' });
  const [first] = await verifyArchive(archive, { signal: job.signal });
  if (first !== undefined)
    throw new VirtError('backup.damaged', {
      wanted: `restore the backup ${archive.path}`,
      reason: `${first.path}: ${first.problem}`,
      hint: 'restore another one',
    });
}

interface Restoring {
  readonly definition: DomainDef;
  readonly wish: RestoreWish;
  readonly job: RunningJob;
}

async function restoreAs(
  world: ArchiveWorld,
  archive: Archive,
  { definition, name, wish, job }: Restoring & { readonly name: string },
): Promise<Domain> {
  if (world.domains.registry.withName(name) !== undefined)
    throw new VirtError('domain.exists', {
      wanted: `restore a backup as '${name}'`,
      reason: `domain '${name}' already exists`,
    });
  const directory = wish.directory ?? world.images;
  await mkdir(directory, { recursive: true });
  const places = archive.manifest.disks.map(({ target, format }): Placed => {
    const path = join(directory, `${name}-${target}.${format === 'qcow2' ? 'qcow2' : 'img'}`);
    return { target, path, temporary: temporaryOf(path) };
  });
  for (const { path } of places) await refuseThere(path);
  await using undo = new Undo(world.log);
  await writeDisks(archive, places, { job, undo });
  for (const { path, temporary } of places) {
    await rename(temporary, path);
    undo.add('remove a restored disk', () => unlink(path));
  }
  await syncDirectory(directory);
  const { domain } = await world.definitions.store(asNew(definition, name, places), { mode: 'lenient' });
  undo.add('forget the restored domain', () =>
    world.definitions.undefine(domain, { nvram: 'remove', tpm: 'remove' }),
  );
  await putFirmware(world, archive, domain);
  undo.keep();
  return domain;
}

/** Identities that two domains must not share go; they are made anew. */
function asNew(definition: DomainDef, name: string, places: readonly Placed[]): DomainDef {
  const { uuid: _uuid, ...rest } = definition;
  const { nvram, ...os } = definition.os;
  const { path: _path, source: _source, ...variables } = nvram ?? {};
  const { devices } = definition;
  return {
    ...rest,
    name,
    os: { ...os, ...(nvram && { nvram: variables }) },
    devices: {
      ...devices,
      disks: devices.disks.map((disk) => onFile(disk, places)),
      interfaces: devices.interfaces.map(
        ({ mac: _mac, target: _target, ...card }) => card as (typeof devices.interfaces)[number],
      ),
    },
  };
}

function onFile(disk: Disk, places: readonly Placed[]): Disk {
  const place = places.find(({ target }) => target === disk.target.dev);
  if (place === undefined) return disk;
  const { backingStore: _below, mirror: _mirror, ...rest } = disk;
  return { ...rest, source: { type: 'file', file: place.path, slices: [], seclabels: [] } };
}

async function restoreOver(
  world: ArchiveWorld,
  archive: Archive,
  { definition, wish, job }: Restoring,
): Promise<Domain> {
  const { uuid, name } = archive.manifest.domain;
  const wanted = `restore the backup ${archive.path}`;
  const known = world.domains.registry.withUuid(uuid);
  if (known !== undefined && wish.over !== true)
    throw new VirtError('domain.exists', {
      wanted,
      reason: `domain '${known.name}' is there`,
      hint: 'give the restored one another name, or say that it is to be written over (--over)',
    });
  const places = archive.manifest.disks.map(({ target }): Placed => {
    const disk = definition.devices.disks.find((one) => one.target.dev === target);
    const path = disk && pathOfSource(disk.source);
    if (path === undefined || disk?.source.type !== 'file')
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `disk '${target}' was no file of this host`,
        hint: 'restore it as a new domain, whose disks are files',
      });
    return { target, path, temporary: temporaryOf(path) };
  });
  if (known === undefined) {
    for (const { path } of places) await refuseThere(path);
    return putBack(world, archive, { definition, places, job });
  }
  if (world.snapshots.treeOf(known).size > 0)
    throw new VirtError('domain.state', {
      wanted,
      reason: `domain '${known.name}' has snapshots, whose images lie on those that would be replaced`,
      hint: 'delete them first, or restore the backup under another name',
    });
  refuseOthers(world, known, places, wanted);
  const work = () => {
    if (known.isActive)
      throw new VirtError('domain.active', {
        wanted,
        reason: `domain '${name}' runs`,
        hint: 'shut it down first',
      });
    if (world.domains.managedSaves.has(known))
      world.domains.managedSaves.refuse(known, 'restore a backup of');
    return putBack(world, archive, { definition, places, job, known });
  };
  return runJob(world.domains, known, 'restore backup', work);
}

/** An image that another domain has, or that lies below one of this domain's, is nobody's to replace. */
function refuseOthers(world: ArchiveWorld, known: Domain, places: readonly Placed[], wanted: string): void {
  const used = usersOfPaths(
    world.domains,
    places.map(({ path }) => path),
  );
  for (const [path, user] of used)
    if (user !== known.name)
      throw new VirtError('domain.state', { wanted, reason: `${path} is a disk of domain '${user}' too` });
}

async function putBack(
  world: ArchiveWorld,
  archive: Archive,
  what: Omit<Restoring, 'wish'> & { readonly places: readonly Placed[]; readonly known?: Domain },
): Promise<Domain> {
  const { definition, places, job, known } = what;
  await using undo = new Undo(world.log);
  for (const { path } of places) await mkdir(dirname(path), { recursive: true });
  await writeDisks(archive, places, { job, undo });
  // All are whole: from here on it goes forward.
  job.progress({ step: 'putting it in place' });
  undo.keep();
  for (const { path, temporary } of places) {
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  }
  // Bitmaps were in the images that are gone.
  if (known !== undefined) await world.checkpoints.forgetAll(known);
  const domain =
    known === undefined
      ? (await world.definitions.store(definition, { mode: 'lenient' })).domain
      : await replaced(world, known, definition);
  await putFirmware(world, archive, domain);
  return domain;
}

async function replaced(world: ArchiveWorld, domain: Domain, definition: DomainDef): Promise<Domain> {
  // Whatever it was renamed to since, that is its name.
  await world.definitions.replaceStored(domain, { ...definition, name: domain.name });
  return domain;
}

/** Firmware variables and TPM state. @throws VirtError file.* */
async function putFirmware(world: ArchiveWorld, archive: Archive, domain: Domain): Promise<void> {
  await putCopiesBack(world, archive, world.definitions.definition(domain, { inactive: true }));
}

async function writeDisks(
  archive: Archive,
  places: readonly Placed[],
  { job, undo }: { readonly job: RunningJob; readonly undo: Undo },
): Promise<void> {
  const chain = await chainOf(archive);
  const total = archive.manifest.disks.reduce((sum, { capacityBytes }) => sum + capacityBytes, 0);
  let before = 0;
  for (const { target, temporary } of places) {
    const disk = diskOf(archive.manifest, target);
    job.progress({ step: `disk ${target}`, done: before, total });
    await unlink(temporary).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT')
        throw fileError(error, 'remove what an earlier restore left', temporary);
    });
    undo.add('remove a disk that was not finished', () => unlink(temporary).catch(() => undefined));
    await convertToFile(
      imagesOf(chain, target),
      temporary,
      { format: disk.format === 'qcow2' ? 'qcow2' : 'raw', capacityBytes: disk.capacityBytes },
      { signal: job.signal, onProgress: (done) => job.progress({ done: before + done }) },
    );
    before += disk.capacityBytes;
  }
}

/** A disk's image with those of the parents below, as far as it lies on them. */
function imagesOf(chain: readonly Archive[], target: string): SourceImage {
  const [own, ...rest] = chain;
  if (own === undefined) throw new Error('a backup without itself');
  const disk = diskOf(own.manifest, target);
  const image = { path: join(own.path, basename(disk.file.name)), format: 'qcow2' };
  return disk.isIncremental ? { ...image, backing: imagesOf(rest, target) } : image;
}

function diskOf({ disks }: Manifest, target: string): Manifest['disks'][number] {
  const disk = disks.find((one) => one.target === target);
  if (disk !== undefined) return disk;
  throw new VirtError('backup.damaged', { reason: `a backup that this one lies on has no disk '${target}'` });
}

const temporaryOf = (path: string): string => `${path}.vireo-restore`;

async function refuseThere(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, 'restore a disk', path);
  }
  throw new VirtError('file.exists', {
    wanted: 'restore a disk',
    reason: `${path}: the file exists already`,
    hint: 'choose another name or directory',
  });
}
