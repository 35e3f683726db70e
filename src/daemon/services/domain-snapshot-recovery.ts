/** After a crash of the daemon, or when QEMU left us in doubt: what was begun with snapshots is brought to an end, or taken back. */
import { tryAgain } from '../../base/try-again.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { hasMemory, type Snapshot } from '../../model/snapshot/snapshot.ts';
import { type PendingDisk, type PendingWork, readStored } from '../state/snapshots.ts';
import type { Domain } from './domain.ts';
import { forget, removeState } from './domain-snapshot-delete.ts';
import { currentOf, discardImages, noteOverlays, overlayOf } from './domain-snapshot-external.ts';
import { removeMemoryFiles } from './domain-snapshot-memory.ts';
import { awaitMerges } from './domain-snapshot-merge.ts';
import { applyDisks, defineAsOf, returnFirmware, revertible } from './domain-snapshot-revert.ts';
import { withBranch } from './snapshot-branch.ts';
import { imageAt } from './snapshot-chains.ts';
import type { SnapshotWorld } from './snapshot-world.ts';
import { runJob } from './world.ts';

/** Goes through all domains with something under way. Failures are logged; `failed` is told what is to be tried again. */
export async function recoverSnapshots(
  snapshots: SnapshotWorld,
  failed: (domain: Domain) => void,
): Promise<void> {
  // A definition that is missing may be in quarantine, and come back.
  const domains = snapshots.uuids.flatMap((uuid) => snapshots.world.registry.withUuid(uuid) ?? []);
  await Promise.all(domains.map((domain) => recoverOne(snapshots, domain, failed)));
}

async function recoverOne(
  snapshots: SnapshotWorld,
  domain: Domain,
  failed: (domain: Domain) => void,
): Promise<void> {
  try {
    await settle(snapshots, domain);
  } catch (error) {
    const { name: snapshot, kind: work } = snapshots.pendingOf(domain) ?? {};
    snapshots.world.log.error(
      { err: error, domain: domain.name, snapshot, work },
      'a snapshot that was under way could not be brought to an end',
    );
    failed(domain);
  }
}

/** Brings to an end, or takes back, what is noted as begun with a domain's snapshots and nobody is at. */
export async function settle(snapshots: SnapshotWorld, domain: Domain): Promise<void> {
  if (snapshots.pendingOf(domain) === undefined) return;
  await runJob(snapshots.world, domain, 'recover snapshot', async () => {
    // Whoever had the domain meanwhile may have been at it, and has brought it to its end.
    const pending = snapshots.pendingOf(domain);
    if (pending !== undefined) await recover(snapshots, domain, pending);
  });
}

/** Tries again and again until what was begun is at an end: QEMU answers again or is gone, the disk has room again. */
export async function settleLater(snapshots: SnapshotWorld, domain: Domain): Promise<void> {
  const { log, registry } = snapshots.world;
  const isKnown = () => registry.withUuid(domain.uuid) === domain;
  await tryAgain({
    isWanted: () => isKnown() && snapshots.pendingOf(domain) !== undefined,
    // What is begun after that has a turn of its own, with short pauses again.
    attempt: () => settle(snapshots, domain),
    onFailure: (error) =>
      log.warn({ err: error, domain: domain.name }, 'what was begun with a snapshot is not at its end yet'),
  });
}

async function recover(snapshots: SnapshotWorld, domain: Domain, pending: PendingWork): Promise<void> {
  const { name, kind } = pending;
  snapshots.world.log.warn({ domain: domain.name, snapshot: name, work: kind }, 'finding what a daemon left');
  const tree = snapshots.treeOf(domain);
  if (pending.kind === 'create') {
    // Nobody was told that it is there.
    if (!tree.has(name)) {
      return finishCreate(snapshots, domain, pending);
    }
    return snapshots.finish(domain, name);
  }
  const snapshot = tree.get(name);
  if (snapshot === undefined) return snapshots.finish(domain, tree.current);
  if (pending.kind === 'delete') {
    return finishDelete(snapshots, domain, snapshot, pending.discard);
  }
  return finishRevert(snapshots, domain, snapshot, pending);
}

async function finishDelete(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
  discard: readonly string[],
): Promise<void> {
  const release = snapshots.blockJobs.hold(domain);
  try {
    await awaitMerges(snapshots, domain);
    await removeState(snapshots, domain, snapshot);
    await discardImages(snapshots, domain, discard);
    await forget(snapshots, domain, snapshot);
  } finally {
    release();
  }
}

/**
 * Nobody was told of it. Where the guest writes to the new images already they stay, and so does the snapshot; else
 * everything is as it was.
 */
async function finishCreate(
  snapshots: SnapshotWorld,
  domain: Domain,
  pending: Extract<PendingWork, { kind: 'create' }>,
): Promise<void> {
  const { external, name, xml } = pending;
  const { current } = snapshots.treeOf(domain);
  if (pending.standsStill === true && domain.live !== undefined && domain.state.state === 'paused')
    await snapshots.lifecycle.goOn(domain, domain.live, 'unpaused');
  if (!(await isSwitched(snapshots, domain, external))) {
    await takeBack(snapshots, domain, pending);
    for (const { file, isOurs } of external) if (isOurs) await snapshots.images.removeImage(file);
    await removeMemoryFiles([pending.memoryTemporary, pending.memoryFile]);
    await snapshots.store.remove(domain.uuid, name);
    return snapshots.finish(domain, current);
  }
  const { live } = domain;
  if (live !== undefined) {
    // What was noted before the daemon died is there already.
    if (!isNamed(snapshots, domain, external, 'live'))
      snapshots.world.driver.adoptOverlays(live.guest, external.map(overlayOf));
  }
  await noteOverlays(snapshots, domain, external);
  if (xml !== undefined) await snapshots.save(domain, readStored(xml, name));
  const made = external.filter(({ isOurs }) => isOurs).map(({ file }) => file);
  return snapshots.finish(domain, xml === undefined ? current : name, { made });
}

/** A guest that runs tells; of one that has ended, the new image has something in it, or a definition names it. */
async function isSwitched(
  snapshots: SnapshotWorld,
  domain: Domain,
  external: readonly PendingDisk[],
): Promise<boolean> {
  const [first] = external;
  if (first === undefined) return false;
  if (isNamed(snapshots, domain, external)) return true;
  if (domain.live !== undefined) return snapshots.world.driver.isOnNewImages(domain.live.guest);
  for (const { file } of external) if (await snapshots.images.hasData(file)) return true;
  return false;
}

/** Whether a definition of the domain names the first of the new images. */
function isNamed(
  snapshots: SnapshotWorld,
  domain: Domain,
  [first]: readonly PendingDisk[],
  where: 'live' | 'anywhere' = 'anywhere',
): boolean {
  const live = domain.live?.guest.definition;
  const looked = where === 'anywhere' ? currentOf(snapshots, domain) : live ? [live] : [];
  return looked.some((one) =>
    one.devices.disks.some((disk) => first !== undefined && imageAt(disk)?.path === first.file),
  );
}

/** Takes the tags out of images that may have them. */
async function takeBack(
  snapshots: SnapshotWorld,
  domain: Domain,
  pending: Extract<PendingWork, { kind: 'create' }>,
): Promise<void> {
  const { live } = domain;
  if (live !== undefined) {
    const { name, internal: disks } = pending;
    if (disks.length > 0) await snapshots.world.driver.deleteSnapshot(live.guest, { name, disks });
    return;
  }
  for (const disk of disksOf(pending))
    if (pending.internal.includes(disk.target.dev))
      await snapshots.images.deleteTag(await snapshots.imageOf(disk), pending.name);
}

function disksOf({ xml, name }: Extract<PendingWork, { kind: 'create' }>): readonly Disk[] {
  return xml === undefined ? [] : (readStored(xml, name).domain?.devices.disks ?? []);
}

/**
 * A guest that runs has the old state or the new one, whole; one that does not may have had some of its disks put back:
 * then all are, and so is all that goes with them.
 */
async function finishRevert(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
  pending: Extract<PendingWork, { kind: 'revert' }>,
): Promise<void> {
  const tree = snapshots.treeOf(domain);
  const { external, discard } = pending;
  if (domain.isActive && external.length === 0 && (await isLoaded(snapshots, domain, pending))) {
    await snapshots.finish(domain, hasMemory(snapshot) ? snapshot.name : tree.current);
    return discardImages(snapshots, domain, discard);
  }
  const whole = withBranch(revertible(domain, snapshot), pending);
  if (isNamed(snapshots, domain, external, 'live')) {
    await defineAsOf(snapshots, domain, whole);
    await goOn(snapshots, domain, pending);
  }
  // With new images the definition is what switches: until it does, everything is as it was.
  const isDefined = isNamed(snapshots, domain, external) || external.length === 0;
  if (!isDefined) {
    for (const { file } of external) await snapshots.images.removeImage(file);
    return snapshots.finish(domain, tree.current);
  }
  if (!domain.isActive) {
    await applyDisks(snapshots, whole);
    await defineAsOf(snapshots, domain, whole);
    await returnFirmware(snapshots, domain, whole, { resetNvram: pending.resetNvram === true });
  }
  await snapshots.finish(domain, snapshot.name, { made: external.map(({ file }) => file) });
  return discardImages(snapshots, domain, discard);
}

/**
 * Whether a guest that runs has the old state or the new one: nobody can tell which, when nobody has begun to load. One whose
 * load has failed may have neither, and is ended. It goes on, unless it was to stand still.
 */
async function isLoaded(
  snapshots: SnapshotWorld,
  domain: Domain,
  { paused }: Extract<PendingWork, { kind: 'revert' }>,
): Promise<boolean> {
  const { live } = domain;
  if (live === undefined) return false;
  if (await snapshots.world.driver.hasFailedToLoad(live.guest)) {
    await snapshots.lifecycle.stopWithin(domain, 'failed');
    await domain.finishing;
    return false;
  }
  await goOn(snapshots, domain, { paused });
  return true;
}

/** The guest has what it is to have, and runs, unless it was to stand still. */
async function goOn(
  snapshots: SnapshotWorld,
  domain: Domain,
  { paused }: Pick<Extract<PendingWork, { kind: 'revert' }>, 'paused'>,
): Promise<void> {
  const { live } = domain;
  if (live !== undefined && paused !== true && domain.state.state === 'paused')
    await snapshots.lifecycle.goOn(domain, live, 'unpaused');
}
