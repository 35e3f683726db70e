/** Beginning a job on the images of a running guest: what QEMU needs for it first, then the job; all taken back when one fails. */
import { dirname, relative } from 'node:path';
import { fileError, VirtError } from '../../../base/errors.ts';
import { Undo } from '../../../base/undo.ts';
import { noDevices, withDevice, withDevices } from '../../../model/domain/device-list.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import { isEmptySource } from '../../../model/domain/devices/disk.ts';
import {
  chainFrom,
  groupOfSource,
  type Layer,
  layersOf,
  pathOfSource,
  withDisk,
  withoutMirror,
} from '../../../model/domain/disk-chain.ts';
import type { BlockJobRecord, BlockJobRequest } from '../../driver/block-jobs.ts';
import { gatherIntoTop, readBitmaps } from '../backups/bitmaps.ts';
import { transaction } from '../backups/checkpoints.ts';
import { openForReading } from '../descriptors.ts';
import type { QemuGuest } from '../guest.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { StartDeps } from '../starting.ts';
import { topNode } from '../tuning/disks.ts';
import { withVolumePaths } from '../volume-sources.ts';
import { jobId } from './jobs.ts';
import { closeTakenBack, formatNode, grantWriting, ofTakenBack, revokeWriting } from './nodes.ts';
import { addTarget } from './target.ts';

export interface BlockJobStart {
  /** Writes the guest's status: called when the intent is noted, before QEMU begins. */
  readonly save: () => Promise<void>;
}

/** A job that begins: what its steps share. */
export interface Beginning {
  readonly deps: StartDeps;
  readonly guest: QemuGuest;
  readonly qmp: QmpClient;
  readonly undo: Undo;
  readonly wanted: string;
  readonly disk: Disk;
  /** The images with the paths of volumes in place of their names. */
  readonly layers: readonly Layer[];
  /** The disk's topmost node: limits are filters above the images, and commits and copies begin at the top alone. */
  readonly device: string;
}

type Request<K extends BlockJobRequest['kind']> = Extract<BlockJobRequest, { readonly kind: K }>;

/** What a kind of job needs: its record, and the command that begins it. */
interface Prepared {
  readonly record: BlockJobRecord;
  readonly mirror?: NonNullable<Disk['mirror']>;
  readonly begin: () => Promise<unknown>;
}

/** @throws VirtError domain.no-device, domain.state, definition.unsupported, request.invalid, file.*, qmp.* */
export async function startBlockJob(
  deps: StartDeps,
  guest: QemuGuest,
  request: BlockJobRequest,
  { save }: BlockJobStart,
): Promise<BlockJobRecord> {
  const wanted = `${request.kind} disk '${request.disk}' of domain '${guest.definition.name}'`;
  await using undo = new Undo(deps.options.logger);
  const disk = findDisk(guest, request.disk, wanted);
  const layers = await placedLayers(deps, guest, disk, wanted);
  const qmp = guest.monitorClient();
  const { name: device } = await topNode(qmp, disk.alias ?? '');
  const beginning: Beginning = { deps, guest, qmp, undo, wanted, disk, layers, device };
  const { record, mirror, begin } = await prepare(beginning, request);
  const { blockJobs } = guest;
  blockJobs.add(record);
  undo.add('forget the job', () => blockJobs.forget(record.id));
  if (mirror !== undefined) {
    guest.setDefinition(withDisk(guest.definition, request.disk, (one) => ({ ...one, mirror })));
    undo.add('forget the copy', () =>
      guest.setDefinition(withDisk(guest.definition, request.disk, withoutMirror)),
    );
  }
  await save();
  if (record.kind === 'pull' || record.kind === 'commit')
    await transaction(beginning.qmp, gatherIntoTop(disk, await readBitmaps(beginning.qmp)));
  await begin().catch((error: unknown) => {
    throw ofTakenBack(beginning.qmp, error);
  });
  undo.keep();
  return record;
}

function prepare(beginning: Beginning, request: BlockJobRequest): Promise<Prepared> {
  switch (request.kind) {
    case 'pull':
      return preparePull(beginning, request);
    case 'commit':
      return prepareCommit(beginning, request);
    case 'copy':
      return prepareCopy(beginning, request);
  }
}

function findDisk({ definition, blockJobs }: QemuGuest, target: string, wanted: string): Disk {
  const disk = definition.devices.disks.find((one) => one.target.dev === target);
  if (disk === undefined)
    throw new VirtError('domain.no-device', { wanted, reason: `it has no disk '${target}'` });
  const why = whyNot(disk);
  if (why !== undefined) throw new VirtError('definition.unsupported', { wanted, reason: why });
  if (blockJobs.records.some((record) => record.disk === target))
    throw new VirtError('domain.state', {
      wanted,
      reason: `disk '${target}' already in active block job`,
      hint: 'wait for its end, or cancel it',
    });
  return disk;
}

/** Why a disk can have no job; undefined when it can. */
function whyNot(disk: Disk): string | undefined {
  const { device, source, readonly, target } = disk;
  if (layersOf(disk).some((layer) => groupOfSource(layer.source) !== undefined))
    return 'an image of it came from a client as descriptors (fdgroup)';
  if (source.type === 'vhostuser') return 'its data does not pass QEMU';
  if (isEmptySource(source)) return `disk '${target.dev}' has no source`;
  if (device === 'lun') return 'a LUN of the host has no images';
  if (device === 'cdrom' || device === 'floppy' || readonly === true) return 'it is read-only';
  return undefined;
}

/** The images of the disk as QEMU has them open: volumes by their path. */
async function placedLayers(
  { options }: StartDeps,
  guest: QemuGuest,
  disk: Disk,
  wanted: string,
): Promise<Layer[]> {
  const alone = withDevices(
    guest.definition,
    withDevice(noDevices(), { family: 'disks', element: 'disk', device: disk }),
  );
  const placed = await withVolumePaths(alone, options.volumes, { wanted });
  return layersOf(placed.devices.disks[0] ?? disk);
}

/** The image with that number, and its place. @throws VirtError request.invalid */
function layerAt({ layers, wanted }: Beginning, index: number): { layer: Layer; at: number } {
  const at = layers.findIndex((one) => one.index === index);
  const layer = layers[at];
  if (layer !== undefined) return { layer, at };
  throw new VirtError('request.invalid', { wanted, reason: `the disk has no image number ${index}` });
}

const speedOf = ({ bytesPerSecond = 0 }: BlockJobRequest) =>
  bytesPerSecond > 0 ? { speed: bytesPerSecond } : {};

function jobStart({ device }: Beginning, record: BlockJobRecord, request: BlockJobRequest) {
  return {
    'job-id': record.id,
    device,
    ...speedOf(request),
    // Merging below the topmost image needs no word of ours at its end.
    'auto-finalize': record.kind === 'commit',
    'auto-dismiss': false,
  };
}

/** The node of the image that the guest writes to. */
const topImage = ({ disk, layers }: Beginning): string => formatNode(layers[0]?.index ?? indexMissing(disk));

function indexMissing({ target }: Disk): never {
  throw new Error(`an image of disk ${target.dev} of a running guest has no number`);
}

async function preparePull(beginning: Beginning, request: Request<'pull'>): Promise<Prepared> {
  const { qmp, disk } = beginning;
  const { base } = request;
  const record: BlockJobRecord = { id: jobId('pull', request.disk), kind: 'pull', disk: request.disk, base };
  if (chainFrom(disk.backingStore, base) === null && base !== null) layerAt(beginning, base);
  const name = base === null ? undefined : await backingName(beginning, 0, base, request.isRelative);
  return {
    record,
    begin: () =>
      qmp.execute('block-stream', {
        ...jobStart(beginning, record, request),
        // It fills an image, and filters above that are none of its business.
        device: topImage(beginning),
        ...(base !== null && { 'base-node': formatNode(base) }),
        ...(name !== undefined && { 'backing-file': name }),
      }),
  };
}

async function prepareCommit(beginning: Beginning, request: Request<'commit'>): Promise<Prepared> {
  const { qmp, disk, layers, wanted } = beginning;
  const { top, base, isDeleting } = request;
  const from = layerAt(beginning, top);
  const into = layerAt(beginning, base);
  if (into.at <= from.at)
    throw new VirtError('request.invalid', { wanted, reason: 'the base does not lie below the top' });
  const isActive = from.at === 0;
  const kind = isActive ? 'active-commit' : 'commit';
  // The image above the top gets another name of what is below it in its header.
  const written = [into.layer, ...(from.at > 1 ? layers.slice(from.at - 1, from.at) : [])];
  const grants = await grantAll(beginning, written);
  const record: BlockJobRecord = {
    ...{ id: jobId(kind, request.disk), kind, disk: request.disk, top, base, grants },
    ...(isDeleting && { isDeleting }),
  };
  const name = isActive ? undefined : await backingName(beginning, from.at - 1, base, request.isRelative);
  const begin = () =>
    qmp.execute('block-commit', {
      ...jobStart(beginning, record, request),
      'top-node': formatNode(top),
      'base-node': formatNode(base),
      ...(name !== undefined && { 'backing-file': name }),
    });
  if (!isActive) return { record, begin };
  const { source, format } = into.layer;
  const named = chainFrom(disk.backingStore, base);
  const mirror = {
    ...{ job: 'active-commit' as const, format: named?.format ?? { type: format } },
    // Images below have their number beside the source, topmost ones in it.
    source: { ...(named?.source ?? source), index: base },
  };
  return { record, mirror, begin };
}

/** Descriptors for writing to images that are only read so far. */
async function grantAll(
  { qmp, undo, disk }: Beginning,
  layers: readonly Layer[],
): Promise<NonNullable<BlockJobRecord['grants']>> {
  await closeTakenBack(qmp);
  const grants: { set: number; fd: number }[] = [];
  undo.add('take back descriptors', () => revokeWriting(qmp, grants));
  const { cache } = disk.driver ?? {};
  const direct = cache === 'none' || cache === 'directsync';
  for (const { index, source } of layers) {
    const grant =
      index === undefined ? undefined : await grantWriting(qmp, index, pathOfSource(source), { direct });
    if (grant !== undefined) grants.push(grant);
  }
  return grants;
}

async function prepareCopy(beginning: Beginning, request: Request<'copy'>): Promise<Prepared> {
  const { qmp, device } = beginning;
  const top = topImage(beginning);
  const { granularityBytes, bufferBytes, isSynchronous, below } = request;
  const mirror = await addTarget(beginning, request);
  const record: BlockJobRecord = { id: jobId('copy', request.disk), kind: 'copy', disk: request.disk };
  const begin = () =>
    qmp.execute('blockdev-mirror', {
      ...jobStart(beginning, record, request),
      target: formatNode(mirror.source.index),
      // Filters stay where they are, above what takes the image's place.
      ...(device !== top && { replaces: top }),
      sync: below === 'none' ? 'full' : 'top',
      ...(granularityBytes !== undefined && granularityBytes > 0 && { granularity: granularityBytes }),
      ...(bufferBytes !== undefined && bufferBytes > 0 && { 'buf-size': bufferBytes }),
      ...(isSynchronous === true && { 'copy-mode': 'write-blocking' as const }),
    });
  return { record, mirror, begin };
}

/**
 * How the image at place `above` will name the base in its header: by absolute path, or relative to itself where that is
 * asked for. Undefined for a base that is no file here: QEMU knows the name of such.
 * @throws VirtError request.invalid when the chain does not name its images relatively
 */
async function backingName(
  beginning: Beginning,
  above: number,
  base: number,
  isRelative: boolean,
): Promise<string | undefined> {
  const { layer, at } = layerAt(beginning, base);
  const path = pathOfSource(layer.source);
  if (!isRelative) return path;
  const own = pathOfSource(beginning.layers[above]?.source ?? layer.source);
  const between = beginning.layers.slice(above, at);
  for (const one of between) await requireRelative(beginning, one);
  if (path === undefined || own === undefined) throw notRelative(beginning, 'it is no file of this host');
  return relative(dirname(own), path);
}

async function requireRelative(beginning: Beginning, { source, format }: Layer): Promise<void> {
  const path = pathOfSource(source);
  if (path === undefined) throw notRelative(beginning, 'an image of the chain is no file of this host');
  const handle = await openForReading({ path, purpose: 'source', device: source.type === 'block' });
  try {
    const { backing } = await beginning.deps.options.images.readHeader(handle, { format, offsetBytes: 0 });
    if (backing === undefined || backing.name.startsWith('/'))
      throw notRelative(beginning, `${path} does not name the image below it relatively`);
  } catch (error) {
    throw fileError(error, beginning.wanted, path);
  } finally {
    await handle.close();
  }
}

function notRelative({ wanted }: Beginning, reason: string): VirtError {
  return new VirtError('request.invalid', { wanted, reason, hint: 'leave the relative name out' });
}
