/** After a crash of the daemon: what was begun with snapshots is brought to an end, or taken back. */
import type { Disk } from '../../model/domain/devices/disk.ts';
import { hasMemory, type Snapshot } from '../../model/snapshot/snapshot.ts';
import { type PendingWork, readStored } from '../state/snapshots.ts';
import type { Domain } from './domain.ts';
import { forget, removeState } from './domain-snapshot-delete.ts';
import { applyDisks, revertible } from './domain-snapshot-revert.ts';
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
      await takeBack(snapshots, domain, pending);
      return snapshots.finish(domain, tree.current);
    }
    return snapshots.finish(domain, name);
  }
  const snapshot = tree.get(name);
  if (snapshot === undefined) return snapshots.finish(domain, tree.current);
  if (pending.kind === 'delete') {
    await removeState(snapshots, domain, snapshot);
    return forget(snapshots, domain, snapshot);
  }
  return finishRevert(snapshots, domain, snapshot);
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
async function finishRevert(snapshots: SnapshotWorld, domain: Domain, snapshot: Snapshot): Promise<void> {
  const tree = snapshots.treeOf(domain);
  if (domain.isActive) return snapshots.finish(domain, hasMemory(snapshot) ? snapshot.name : tree.current);
  await applyDisks(snapshots, domain, revertible(domain, snapshot));
  return snapshots.finish(domain, snapshot.name);
}
