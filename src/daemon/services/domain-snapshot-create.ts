/** Making snapshots: what is to be kept and where, then doing it; whatever fails leaves the old state. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { Undo } from '../../base/undo.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { type AlignedDisk, alignDisks, checkTogether, isWritten } from '../../model/snapshot/disks.ts';
import {
  type Snapshot,
  type SnapshotDef,
  type SnapshotDisk,
  type SnapshotState,
  snapshotStates,
} from '../../model/snapshot/snapshot.ts';
import { type PendingDisk, storedText } from '../state/snapshots.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import type { Domain } from './domain.ts';
import { chooseOverlays, makeFiles, noteOverlays, putOnTop } from './domain-snapshot-external.ts';
import { chooseMemoryFile, keepMemory, type MemoryFile, thenGoOn } from './domain-snapshot-memory.ts';
import { whileFrozen } from './frozen.ts';
import { hasFirmwareState, refuseUncopied } from './snapshot-firmware.ts';
import { keptForm, type SnapshotWorld } from './snapshot-world.ts';
import { runJob } from './world.ts';

/** How a snapshot is wanted, besides its document. */
export interface CreateOptions {
  /** Without the memory of a running guest, in new images on top of the disks'. */
  readonly diskOnly?: boolean;
  /** The guest agent freezes the file systems meanwhile. */
  readonly quiesce?: boolean;
  /** The guest runs on while its memory is written into a file. */
  readonly live?: boolean;
  /** The new images are there already. */
  readonly reuse?: boolean;
  /** The guest is ended when the snapshot is made. */
  readonly halt?: boolean;
  /** Nothing is remembered of it. */
  readonly noMetadata?: boolean;
}

/** What a snapshot is to be: found out before anything is done. */
export interface CreatePlan {
  readonly snapshot: Snapshot;
  readonly disks: readonly AlignedDisk[];
}

/**
 * Makes a snapshot as one job.
 * @throws VirtError snapshot.exists, definition.unsupported, request.invalid, domain.transient, operation.failed, qmp.*
 */
export async function createSnapshot(
  snapshots: SnapshotWorld,
  domain: Domain,
  wish: SnapshotDef,
  options: CreateOptions,
): Promise<Snapshot> {
  const work = async (job: RunningJob): Promise<Snapshot> => {
    if (options.halt === true && !domain.isPersistent)
      throw new VirtError('domain.transient', {
        wanted: `snapshot domain '${domain.name}'`,
        reason: 'cannot halt after transient domain snapshot',
      });
    const plan = planSnapshot(snapshots, domain, wish, options);
    const snapshot = await perform(snapshots, domain, plan, options, job);
    if (options.halt === true) await snapshots.lifecycle.stopWithin(domain, 'from snapshot');
    return snapshot;
  };
  // Only the writing of memory into a file can be called off, and counts bytes.
  const isLong = wish.memory?.file !== undefined;
  const made = await runJob(snapshots.world, domain, 'snapshot', work, {
    isCancellable: isLong,
    ...(isLong && { unit: 'bytes' }),
  });
  snapshots.world.events.emit('domain.snapshot-created', domain.identity, { snapshot: made.name });
  return made;
}

/** @throws VirtError as createSnapshot; nothing is done */
export function planSnapshot(
  snapshots: SnapshotWorld,
  domain: Domain,
  wish: SnapshotDef,
  options: CreateOptions,
): CreatePlan {
  const wanted = `snapshot domain '${domain.name}'`;
  const tree = snapshots.treeOf(domain);
  const name = wish.name ?? freeName((one) => tree.has(one));
  if (options.noMetadata !== true && tree.has(name))
    throw new VirtError('snapshot.exists', { wanted, reason: `domain snapshot ${name} already exists` });
  refuseBlockJobs(domain, 'snapshot');
  const memory = memoryOf(domain, wish, options, wanted);
  if (options.live === true && memory !== 'external')
    throw new VirtError('request.unsupported', {
      wanted,
      reason: 'the guest runs on only while its memory goes to a file of its own',
      hint: 'name a file for the memory, or leave out that the guest is to run on',
    });
  const own = snapshots.definitions.definition(domain);
  const definition = domain.live === undefined ? own : keptForm(own);
  if (memory === 'no' && options.noMetadata !== true)
    refuseUncopied(definition, {
      ...{ wanted, into: 'a snapshot' },
      instead:
        'put them into a file, or make a snapshot with the memory of the running guest, which has them',
    });
  const fallback = options.diskOnly === true || memory === 'external' ? 'external' : 'internal';
  const disks = alignDisks(definition, wish.disks, { fallback, wanted }).map(withoutReadOnly);
  if (disks.some((one) => one.snapshot === 'external'))
    snapshots.world.managedSaves.refuse(domain, 'put new images on the disks of');
  const state = stateOf(domain, options);
  checkTogether(disks, { memory, isDiskOnly: state === 'disk-snapshot' }, wanted);
  // A stored definition has the form that snapshots keep.
  const stored =
    domain.isActive && domain.isPersistent
      ? snapshots.definitions.definition(domain, { inactive: true })
      : undefined;
  const { current } = tree;
  return {
    disks,
    snapshot: {
      name,
      ...(wish.description !== undefined && { description: wish.description }),
      state,
      ...(current !== undefined && { parent: { name: current } }),
      creationTime: Math.floor(Date.now() / 1000),
      memory: { snapshot: memory, ...(memory === 'external' && { file: wish.memory?.file }) },
      disks: disks.map(diskOf),
      domain: definition,
      ...(stored && { inactiveDomain: stored }),
    },
  };
}

/** What nobody can write needs no snapshot of its own. */
function withoutReadOnly(one: AlignedDisk): AlignedDisk {
  return one.snapshot === 'internal' && !isWritten(one.disk) ? { ...one, snapshot: 'no' } : one;
}

function diskOf({ disk, snapshot }: AlignedDisk): SnapshotDisk {
  return { name: disk.target.dev, snapshot };
}

/** libvirt's default: the time in seconds. */
function freeName(isTaken: (name: string) => boolean): string {
  for (let seconds = Math.floor(Date.now() / 1000); ; seconds++)
    if (!isTaken(String(seconds))) return String(seconds);
}

function memoryOf(
  domain: Domain,
  wish: SnapshotDef,
  { diskOnly, quiesce }: CreateOptions,
  wanted: string,
): 'no' | 'internal' | 'external' {
  const refuse = (reason: string, hint?: string): never => {
    throw new VirtError('request.invalid', { wanted, reason, ...(hint !== undefined && { hint }) });
  };
  const wished = wish.memory?.snapshot ?? (wish.memory?.file === undefined ? undefined : 'external');
  if (quiesce === true && diskOnly !== true) refuse('file systems are frozen for a disk-only snapshot only');
  if (diskOnly === true || !domain.isActive) {
    if (wished !== undefined && wished !== 'no')
      refuse('memory state cannot be saved with offline or disk-only snapshot');
    return 'no';
  }
  if (wished === 'no')
    refuse(
      'internal snapshot of a running VM must include the memory state',
      'leave the memory out with a disk-only snapshot',
    );
  return wished === 'external' ? 'external' : 'internal';
}

function stateOf(domain: Domain, { diskOnly }: CreateOptions): SnapshotState {
  if (!domain.isActive) return 'shutoff';
  if (diskOnly === true) return 'disk-snapshot';
  const { state } = domain.state;
  const known: readonly string[] = snapshotStates;
  return known.includes(state) ? (state as SnapshotState) : 'paused';
}

async function perform(
  snapshots: SnapshotWorld,
  domain: Domain,
  plan: CreatePlan,
  options: CreateOptions,
  job: RunningJob,
): Promise<Snapshot> {
  const wanted = `snapshot domain '${domain.name}'`;
  const tree = snapshots.treeOf(domain);
  const { name } = plan.snapshot;
  const reuse = options.reuse === true;
  const external = await chooseOverlays(snapshots, plan.disks, { name, reuse, wanted });
  const file = await chooseMemoryFile(plan.snapshot, { external, wanted });
  const snapshot = withSources(plan.snapshot, external);
  const internal = plan.disks.filter((one) => one.snapshot === 'internal').map(({ disk }) => disk);
  await using undo = new Undo(snapshots.world.log);
  await snapshots.begin(domain, {
    kind: 'create',
    name,
    internal: internal.map(({ target }) => target.dev),
    external,
    ...(file && { memoryFile: file.path, memoryTemporary: file.temporary }),
    ...(standsStill(domain, snapshot, options) && { standsStill: true }),
    ...(options.noMetadata !== true && { xml: storedText(domain.uuid, snapshot) }),
  });
  undo.add('forget what was begun', () => snapshots.finish(domain, tree.current));
  job.progress({ step: 'saving' });
  await keepInside(snapshots, domain, { snapshot, internal, undo });
  await makeFiles(snapshots, external, undo);
  const late = await takeMoment(snapshots, domain, { snapshot, external, file, options, job, undo });
  await noteOverlays(snapshots, domain, external);
  const made = external.filter(({ isOurs }) => isOurs).map((one) => one.file);
  if (options.noMetadata !== true) await snapshots.save(domain, snapshot);
  await snapshots.finish(domain, options.noMetadata === true ? tree.current : name, { made });
  if (late !== undefined) throw madeBut(late, name, wanted);
  return snapshot;
}

interface Moment {
  readonly snapshot: Snapshot;
  readonly external: readonly PendingDisk[];
  readonly file: MemoryFile | undefined;
  readonly options: CreateOptions;
  readonly job: RunningJob;
  readonly undo: Undo;
}

/**
 * The moment that the snapshot is of. Afterwards the guest writes to the new images, which stay whatever happens; what went
 * wrong since then is what this returns.
 */
async function takeMoment(
  snapshots: SnapshotWorld,
  domain: Domain,
  { snapshot, external, file, options, job, undo }: Moment,
): Promise<unknown> {
  const wanted = `snapshot domain '${domain.name}'`;
  const switchOver = async (): Promise<void> => {
    if (external.length > 0) await orUnknown(undo, wanted, () => putOnTop(snapshots, domain, external));
    undo.keep();
  };
  if (file !== undefined)
    return keepMemory(snapshots, domain, {
      ...{ file, job, undo, switchOver },
      isLive: options.live === true,
    });
  const work = needsCopies(snapshot, options)
    ? () => withFirmware(snapshots, domain, { snapshot, undo, switchOver })
    : () => switchOver();
  if (options.quiesce !== true || domain.live === undefined) return work();
  const { result, late } = await whileFrozen(snapshots.world, domain, domain.live, work);
  // A guest that stands still cannot thaw: that is told first.
  return result ?? late;
}

/** Whether firmware variables and the TPM's state have to be kept beside it: with the memory they are in that. */
function needsCopies({ memory, domain }: Snapshot, { noMetadata }: CreateOptions): boolean {
  return memory?.snapshot === 'no' && noMetadata !== true && domain !== undefined && hasFirmwareState(domain);
}

const standsStill = (domain: Domain, snapshot: Snapshot, options: CreateOptions): boolean =>
  domain.live !== undefined && domain.state.state === 'running' && needsCopies(snapshot, options);

/**
 * Copies the firmware's variables and the TPM's state, then switches the disks. A running guest is paused for both, so that
 * what is copied is of the same moment as its disks. It returns what went wrong after the switch.
 */
async function withFirmware(
  snapshots: SnapshotWorld,
  domain: Domain,
  {
    snapshot,
    undo,
    switchOver,
  }: { readonly snapshot: Snapshot; readonly undo: Undo; readonly switchOver: () => Promise<void> },
): Promise<unknown> {
  const { domain: definition, name } = snapshot;
  if (definition === undefined) return switchOver();
  undo.add('remove copies of firmware state', () => snapshots.store.remove(domain.uuid, name));
  const work = async () => {
    await snapshots.store.makeDirectory(domain.uuid);
    await snapshots.firmware.save(definition, snapshots.store.besides(domain.uuid, name));
    await switchOver();
  };
  const { live } = domain;
  if (live === undefined || domain.state.state !== 'running') return work();
  return thenGoOn(snapshots, domain, live, async () => {
    await live.guest.suspend('creating snapshot');
    await work();
  });
}

/**
 * When QEMU does not answer any more, nobody knows whether it has done what it was told: nothing is taken back then. What was
 * begun stays noted, and is brought to its end or taken back by what QEMU and the images tell (domain-snapshot-recovery.ts).
 */
async function orUnknown<T>(undo: Undo, wanted: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isVirtError(error, 'qmp.timeout') && !isVirtError(error, 'qmp.closed')) throw error;
    undo.keep();
    throw new VirtError(error.code, {
      wanted,
      reason: error.reason,
      hint: "'vireo snapshot list' tells whether it was made when that is known: all of it, or nothing",
      cause: error,
    });
  }
}

/** The snapshot is whole and known, but the guest did not go on as it should. */
function madeBut(error: unknown, name: string, wanted: string): VirtError {
  const reason = reasonOf(error);
  return new VirtError('operation.failed', {
    wanted,
    reason: `snapshot '${name}' is made, but the guest did not go on afterwards: ${reason}`,
    hint: `resume it, or thaw its file systems; the snapshot can be used`,
    cause: error,
  });
}

/** The document says which images are the new ones. */
function withSources(snapshot: Snapshot, external: readonly PendingDisk[]): Snapshot {
  const disks = snapshot.disks.map((disk) => {
    const overlay = external.find(({ target }) => target === disk.name);
    if (overlay === undefined) return disk;
    const source = { type: 'file' as const, file: overlay.file, slices: [], seclabels: [] };
    return { ...disk, driver: { type: 'qcow2' as const }, source };
  });
  return { ...snapshot, disks };
}

async function keepInside(
  snapshots: SnapshotWorld,
  domain: Domain,
  {
    snapshot,
    internal,
    undo,
  }: { readonly snapshot: Snapshot; readonly internal: readonly Disk[]; readonly undo: Undo },
): Promise<void> {
  const { name } = snapshot;
  if (snapshot.memory?.snapshot === 'internal') {
    const { guest } = domain.requireLive('snapshot');
    const disks = internal.map(({ target }) => target.dev);
    const wanted = `snapshot domain '${domain.name}'`;
    await orUnknown(undo, wanted, () => snapshots.world.driver.saveSnapshot(guest, { name, disks }));
    undo.add('take the tags out', () => snapshots.world.driver.deleteSnapshot(guest, { name, disks }));
    return;
  }
  for (const disk of internal) {
    const path = await snapshots.imageOf(disk);
    await snapshots.images.createTag(path, name);
    undo.add(`take the tag out of ${path}`, () => snapshots.images.deleteTag(path, name));
  }
}
