/** After a crash of the daemon: what was begun with snapshots is brought to an end, or taken back. */
import type { Disk } from '../../model/domain/devices/disk.ts';
import { hasMemory, type Snapshot } from '../../model/snapshot/snapshot.ts';
import { type PendingDisk, type PendingWork, readStored } from '../state/snapshots.ts';
import type { Domain } from './domain.ts';
import { forget, removeState } from './domain-snapshot-delete.ts';
import { currentOf, discardImages, noteOverlays, overlayOf } from './domain-snapshot-external.ts';
import { removeMemoryFiles } from './domain-snapshot-memory.ts';
import { applyDisks, defineAsOf, revertible, withBranch } from './domain-snapshot-revert.ts';
import { imageAt } from './snapshot-chains.ts';
import type { SnapshotWorld } from './snapshot-world.ts';
import { runJob } from './world.ts';

/** Goes through all domains with something under way. A failure is logged; the next daemon tries again. */
export async function recoverSnapshots(snapshots: SnapshotWorld): Promise<void> {
  for (const uuid of snapshots.uuids) {
    const domain = snapshots.world.registry.withUuid(uuid);
    if (domain === undefined) continue; // Its definition may be in quarantine, and come back.
    const pending = snapshots.pendingOf(domain);
    if (pending === undefined) continue;
    try {
      await runJob(snapshots.world, domain, 'recover snapshot', () => recover(snapshots, domain, pending));
    } catch (error) {
      snapshots.world.log.error(
        { err: error, domain: domain.name, snapshot: pending.name, work: pending.kind },
        'a snapshot that was under way could not be brought to an end',
      );
    }
  }
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
    await removeState(snapshots, domain, snapshot);
    await discardImages(snapshots, domain, pending.discard);
    return forget(snapshots, domain, snapshot);
  }
  return finishRevert(snapshots, domain, snapshot, pending);
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
  if (!(await isSwitched(snapshots, domain, external))) {
    await takeBack(snapshots, domain, pending);
    for (const { file, isOurs } of external) if (isOurs) await snapshots.images.removeImage(file);
    await removeMemoryFiles([pending.memoryTemporary, pending.memoryFile]);
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
 * then all are.
 */
async function finishRevert(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
  pending: Extract<PendingWork, { kind: 'revert' }>,
): Promise<void> {
  const tree = snapshots.treeOf(domain);
  const { external, discard } = pending;
  if (domain.isActive) {
    if (external.length === 0)
      return snapshots.finish(domain, hasMemory(snapshot) ? snapshot.name : tree.current);
    if (isNamed(snapshots, domain, external, 'live'))
      await defineAsOf(snapshots, domain, withBranch(revertible(domain, snapshot), pending));
  }
  // With new images the definition is what switches: until it does, everything is as it was.
  const isDefined = isNamed(snapshots, domain, external) || external.length === 0;
  if (!isDefined) {
    for (const { file } of external) await snapshots.images.removeImage(file);
    return snapshots.finish(domain, tree.current);
  }
  await applyDisks(snapshots, domain, revertible(domain, snapshot));
  await snapshots.finish(domain, snapshot.name, { made: external.map(({ file }) => file) });
  return discardImages(snapshots, domain, discard);
}
