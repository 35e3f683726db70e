/** Returning to snapshots: in the QEMU that runs where it fits, else in a new one, or with the guest off. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { Undo } from '../../base/undo.ts';
import type { InternalSnapshot, LiveGuest } from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { hasMemory, locationOf, type Snapshot, storedDomainOf } from '../../model/snapshot/snapshot.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import type { Domain } from './domain.ts';
import { discardImages, makeFiles } from './domain-snapshot-external.ts';
import { openMemory } from './domain-snapshot-memory.ts';
import { saveStatus } from './domain-status.ts';
import type { StartAs } from './guest-launch.ts';
import type { OpenState } from './saved-state-files.ts';
import { type Branch, planBranch, type Revertible, withBranch } from './snapshot-branch.ts';
import { variablesOf } from './snapshot-firmware.ts';
import type { SnapshotWorld } from './snapshot-world.ts';
import { runJob } from './world.ts';

export interface RevertOptions {
  /** What the guest does afterwards, whatever it did when the snapshot was made. */
  readonly state?: 'running' | 'paused';
  /** The firmware's variables are made anew from their template. */
  readonly resetNvram?: boolean;
  /** A managed save, which fits no other state of the disks, is given up. */
  readonly force?: boolean;
}

/**
 * Returns a domain to a snapshot as one job. What the disks hold that is in no snapshot is lost.
 * @throws VirtError snapshot.not-found, snapshot.risky without a definition in it, definition.unsupported, file.*,
 *   operation.failed, domain.start-failed, qmp.*
 */
export async function revertToSnapshot(
  snapshots: SnapshotWorld,
  domain: Domain,
  name: string,
  options: RevertOptions,
): Promise<void> {
  const work = async (job: RunningJob): Promise<void> => {
    refuseBlockJobs(domain, 'revert');
    const snapshot = revertible(domain, snapshots.find(domain, name));
    refuseRevert(snapshots, domain, snapshot, options);
    // What is to be loaded is looked at before anything is given up.
    const memory = await openMemory(domain, snapshot);
    try {
      await revertBegun(snapshots, domain, snapshot, { ...options, job, memory });
    } finally {
      await memory?.close();
    }
  };
  // Between its end and its new start a transient domain is nothing, and would be forgotten.
  const { registry } = snapshots.world;
  await registry.claim(domain, () => runJob(snapshots.world, domain, 'revert snapshot', work));
  if (domain.isPersistent)
    snapshots.world.events.emit('domain.defined', domain.identity, { isNew: false, fromSnapshot: true });
  snapshots.world.events.emit('domain.snapshot-reverted', domain.identity, { snapshot: name });
}

interface Reverting extends RevertOptions {
  readonly job: RunningJob;
  /** The guest's memory, where it is in a file of its own. */
  readonly memory: OpenState | undefined;
  /** From here on there is no way back: what fails later is tried again until the domain is as of the snapshot. */
  readonly onTouched: () => void;
}

async function revertBegun(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  given: Omit<Reverting, 'onTouched'>,
): Promise<void> {
  const { name } = snapshot;
  const { job, memory, state, resetNvram } = given;
  await refuseUntagged(snapshots, domain, snapshot);
  const branch = await planBranch(snapshots, domain, snapshot);
  const onBranch = withBranch(snapshot, branch);
  const paused = (state ?? snapshot.state) === 'paused';
  await snapshots.begin(domain, { kind: 'revert', name, ...branch, paused, resetNvram: resetNvram === true });
  let isTouched = false;
  const options = {
    ...given,
    onTouched: () => {
      isTouched = true;
    },
  };
  try {
    const { managedSaves } = snapshots.world;
    if (managedSaves.has(domain)) await managedSaves.remove(domain);
    if (memory !== undefined) await toMemoryFile(snapshots, domain, onBranch, { ...options, memory, branch });
    else if (hasMemory(snapshot)) await toMemory(snapshots, domain, snapshot, options);
    else await toDisks(snapshots, domain, onBranch, { ...options, branch });
  } catch (error) {
    if (isTouched) throw halfReturned(domain, snapshot, error);
    await snapshots.finish(domain, snapshots.treeOf(domain).current);
    throw error;
  }
  const made = branch.external.map(({ file }) => file);
  await snapshots.finish(domain, name, { made });
  await discardImages(snapshots, domain, branch.discard);
  if (!hasMemory(snapshot) && state !== undefined)
    await startReturned(snapshots, domain, onBranch, { state, job });
}

/** The work goes on by itself, until all parts of the domain are of one time. */
function halfReturned(domain: Domain, { name }: Snapshot, error: unknown): VirtError {
  return new VirtError(isVirtError(error) ? error.code : 'operation.failed', {
    wanted: `return domain '${domain.name}' to snapshot '${name}'`,
    reason: reasonOf(error),
    hint: `${isVirtError(error, 'qmp.timeout') && error.hint !== undefined ? `${error.hint}; ` : ''}some of it is returned already: the rest is tried again until it is done, and the domain does not start before`,
    cause: error,
  });
}

/** @throws VirtError file.not-found where an image has no such state: nothing is done then */
async function refuseUntagged(snapshots: SnapshotWorld, domain: Domain, snapshot: Revertible): Promise<void> {
  for (const disk of taggedDisks(snapshot)) {
    const path = await snapshots.imageOf(disk);
    if (!(await snapshots.images.hasTag(path, snapshot.name)))
      throw new VirtError('file.not-found', {
        wanted: `return domain '${domain.name}' to snapshot '${snapshot.name}'`,
        reason: `${path}: it has no snapshot '${snapshot.name}'`,
        hint: `nobody can return to it any more: 'vireo snapshot delete ${domain.name} ${snapshot.name} --metadata-only' forgets it`,
      });
  }
}

/** @throws VirtError snapshot.risky for one that libvirt made long ago, without the domain's definition */
export function revertible(domain: Domain, snapshot: Snapshot): Revertible {
  const { domain: definition, name, disks } = snapshot;
  const wanted = `return domain '${domain.name}' to snapshot '${name}'`;
  if (definition === undefined)
    throw new VirtError('snapshot.risky', {
      wanted,
      reason: `snapshot '${name}' lacks domain '${domain.name}' rollback info`,
    });
  if (disks.some(({ deleteInProgress }) => deleteInProgress === true))
    throw new VirtError('operation.failed', {
      wanted,
      reason: `the deletion of snapshot '${name}' was begun: its state is not whole any more`,
      hint: `finish it with 'vireo snapshot delete ${domain.name} ${name}'`,
    });
  return { ...snapshot, domain: definition };
}

/**
 * @throws VirtError domain.transient for one that would be gone, snapshot.risky where a saved state would be lost,
 *   request.invalid for variables that are to be made anew and are in the memory that comes back
 */
export function refuseRevert(
  { world }: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
  { state, resetNvram, force }: RevertOptions,
): void {
  const wanted = `return domain '${domain.name}' to snapshot '${snapshot.name}'`;
  if (!domain.isPersistent && !hasMemory(snapshot) && state === undefined)
    throw new VirtError('domain.transient', {
      wanted,
      reason: 'transient domain needs to request run or pause to revert to inactive snapshot',
    });
  if (force !== true && world.managedSaves.has(domain))
    throw new VirtError('snapshot.risky', {
      wanted,
      reason: 'the domain has a saved state, which goes with the disks as they are and would be lost',
      hint: `start the domain to go on from it, or give it up: 'vireo domain managed-save ${domain.name} --remove', or force the return`,
    });
  if (resetNvram === true && hasMemory(snapshot))
    throw new VirtError('request.invalid', {
      wanted,
      reason:
        "the firmware's variables are part of the guest's memory, which comes back: they cannot be made anew",
      hint: `return without that, shut the guest down, and start it with 'vireo start ${domain.name} --reset-nvram'`,
    });
}

/** The definition as of the snapshot, under the domain's present name. */
export function renamed(domain: Domain, definition: DomainDef): DomainDef {
  return { ...definition, name: domain.name };
}

/** The stored definition is that of the snapshot from then on. */
export async function defineAsOf(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
): Promise<void> {
  if (!domain.isPersistent) return;
  const stored = storedDomainOf(snapshot) ?? snapshot.domain;
  await snapshots.definitions.replaceStored(domain, renamed(domain, stored));
}

/** Disks whose images have the snapshot's tag. */
export function taggedDisks(snapshot: Revertible): Disk[] {
  return snapshot.domain.devices.disks.filter(
    ({ target }) => locationOf(snapshot, target.dev) === 'internal',
  );
}

function internalOf(snapshot: Revertible): InternalSnapshot {
  return { name: snapshot.name, disks: taggedDisks(snapshot).map(({ target }) => target.dev) };
}

/** A snapshot with memory: the guest goes on from there. */
async function toMemory(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  { state, job, onTouched }: Reverting,
): Promise<void> {
  const { driver } = snapshots.world;
  const paused = (state ?? snapshot.state) === 'paused';
  const definition = renamed(domain, snapshot.domain);
  const { live } = domain;
  if (live !== undefined && driver.isSameMachine(live.guest.definition, definition)) {
    job.progress({ step: 'loading' });
    await inPlace(snapshots, domain, live.guest, { snapshot, paused, onTouched });
    return;
  }
  job.progress({ step: 'starting' });
  await snapshots.lifecycle.stopWithin(domain, 'from snapshot');
  await domain.finishing;
  const prepare = async (guest: LiveGuest): Promise<void> => {
    onTouched();
    await driver.loadSnapshot(guest, internalOf(snapshot));
    if (paused) await putVariables(guest);
  };
  const as = { reason: 'from snapshot', prepare } as const;
  await snapshots.lifecycle.startWithin(domain, definition, { paused, as }, job);
  await defineAsOf(snapshots, domain, snapshot);
}

/**
 * A snapshot with its memory in a file: a new QEMU loads it, on new images. When it does not, the domain is off, on the disks
 * that it had.
 */
async function toMemoryFile(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  {
    state,
    branch,
    job,
    memory,
    onTouched,
  }: Reverting & { readonly memory: OpenState; readonly branch: Branch },
): Promise<void> {
  const paused = (state ?? snapshot.state) === 'paused';
  await snapshots.lifecycle.stopWithin(domain, 'from snapshot');
  await domain.finishing;
  job.progress({ step: 'starting' });
  await using undo = new Undo(snapshots.world.log);
  await makeFiles(snapshots, branch.external, undo);
  const { fd, sparse } = memory;
  const as: StartAs = {
    ...{ reason: 'from snapshot', memory: { fd, sparse } },
    ...(paused && { prepare: putVariables }),
  };
  await snapshots.lifecycle.startWithin(domain, renamed(domain, snapshot.domain), { paused, as }, job);
  undo.keep();
  onTouched();
  await defineAsOf(snapshots, domain, snapshot);
}

/** The QEMU that runs gets the state: no device is made anew, no client of a display is lost. */
async function inPlace(
  snapshots: SnapshotWorld,
  domain: Domain,
  guest: LiveGuest,
  {
    snapshot,
    paused,
    onTouched,
  }: { readonly snapshot: Revertible; readonly paused: boolean; readonly onTouched: () => void },
): Promise<void> {
  await standStill(snapshots, domain, guest);
  try {
    onTouched();
    await snapshots.world.driver.loadSnapshot(guest, internalOf(snapshot));
  } catch (error) {
    // One that a signal holds loads when it goes on, and stands still until then: its end is looked at later.
    if (isVirtError(error, 'qmp.timeout')) throw error;
    // Its disks may be of one time and its memory of another: such a guest must not write.
    await snapshots.lifecycle.stopWithin(domain, 'failed');
    throw error;
  }
  await defineAsOf(snapshots, domain, snapshot);
  const { title, description, metadata, currentMemoryKiB } = snapshot.domain;
  Object.assign(guest.definition, { title, description, metadata, currentMemoryKiB });
  await (paused ? putVariables(guest) : guest.resume());
  await saveStatus(snapshots.world, domain);
}

/**
 * A guest that stands still has its firmware's variables in memory, and QEMU writes them into their file when it goes on
 * (hw/block/pflash_cfi01.c, post_load). One that is ended before would leave those of a later time: it goes on for a moment.
 */
async function putVariables(guest: LiveGuest): Promise<void> {
  if (variablesOf(guest.definition) !== undefined) await guest.takeDisksBack();
}

/** One that does not answer has nothing done to it, and goes on when it comes to itself. @throws VirtError qmp.* */
async function standStill(snapshots: SnapshotWorld, domain: Domain, guest: LiveGuest): Promise<void> {
  if (domain.state.state !== 'running') return;
  await guest.suspend('from snapshot').catch(async (error: unknown) => {
    // It hears both in turn, however late.
    await guest
      .resume()
      .catch((failure: unknown) =>
        snapshots.world.log.warn(
          { err: failure, domain: domain.name },
          'a guest that is not returned does not answer',
        ),
      );
    throw error;
  });
}

/**
 * A snapshot without memory: the disks are put back while no guest runs. First what can be taken back, then the disks, then
 * the definition, then what the firmware keeps.
 */
async function toDisks(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  { branch, job, resetNvram, onTouched }: Reverting & { readonly branch: Branch },
): Promise<void> {
  await snapshots.lifecycle.stopWithin(domain, 'from snapshot');
  await domain.finishing;
  job.progress({ step: 'returning the disks' });
  await using undo = new Undo(snapshots.world.log);
  await makeFiles(snapshots, branch.external, undo);
  if (taggedDisks(snapshot).length > 0) onTouched();
  await applyDisks(snapshots, snapshot);
  await defineAsOf(snapshots, domain, snapshot);
  undo.keep();
  onTouched();
  await returnFirmware(snapshots, domain, snapshot, { resetNvram: resetNvram === true });
  domain.state = { state: 'shutoff', reason: 'from snapshot' };
}

/** What the firmware and the TPM keep is that of the snapshot. Done twice, it is the same. */
export async function returnFirmware(
  snapshots: SnapshotWorld,
  { uuid }: Pick<Domain, 'uuid'>,
  snapshot: Revertible,
  { resetNvram }: { readonly resetNvram: boolean },
): Promise<void> {
  if (hasMemory(snapshot)) return;
  await snapshots.firmware.restore(snapshot.domain, snapshots.store.besides(uuid, snapshot.name));
  if (resetNvram) await snapshots.firmware.reset(snapshot.domain);
}

/** The guest runs, or stands still, on the disks that were put back: that is done, whatever becomes of this. */
async function startReturned(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
  { state, job }: { readonly state: 'running' | 'paused'; readonly job: RunningJob },
): Promise<void> {
  job.progress({ step: 'starting' });
  const definition = renamed(domain, storedDomainOf(snapshot) ?? snapshot.domain);
  const as = { reason: 'from snapshot' } as const;
  await snapshots.lifecycle.startWithin(domain, definition, { paused: state === 'paused', as }, job);
}

/** Puts all images back to their tags. Done twice, it is the same: a daemon that finds it begun does it again. */
export async function applyDisks(snapshots: SnapshotWorld, snapshot: Revertible): Promise<void> {
  for (const disk of taggedDisks(snapshot))
    await snapshots.images.applyTag(await snapshots.imageOf(disk), snapshot.name);
}
