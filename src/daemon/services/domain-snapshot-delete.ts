/** Deleting snapshots: what is kept in images goes, children find another parent, then the document goes. */
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { pathOf } from '../../model/snapshot/disks.ts';
import { isExternal, type Snapshot } from '../../model/snapshot/snapshot.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import type { Domain } from './domain.ts';
import { removeMemory } from './domain-snapshot-memory.ts';
import { dissolve } from './domain-snapshot-merge.ts';
import { taggedDisks } from './domain-snapshot-revert.ts';
import type { Revertible } from './snapshot-branch.ts';
import type { SnapshotWorld } from './snapshot-world.ts';
import { runJob } from './world.ts';

/** What goes: it alone, it with all below, or all below alone. */
export type DeleteScope = 'one' | 'with-children' | 'children-only';

export interface DeleteOptions {
  readonly scope: DeleteScope;
  /** The images stay as they are: the snapshot is only forgotten. */
  readonly metadataOnly: boolean;
}

/**
 * Deletes snapshots as one job, the lowest first; a failure leaves those that were not reached.
 * @throws VirtError snapshot.not-found, definition.unsupported, operation.failed, file.*, program.*, qmp.*
 */
export async function deleteSnapshots(
  snapshots: SnapshotWorld,
  domain: Domain,
  name: string,
  { scope, metadataOnly }: DeleteOptions,
): Promise<string[]> {
  const deleted: string[] = [];
  await runJob(snapshots.world, domain, 'delete snapshot', async (job) => {
    refuseDelete(snapshots, domain, meant(snapshots, domain, name, scope), metadataOnly);
    for (const snapshot of meant(snapshots, domain, name, scope)) {
      await deleteOne(snapshots, domain, snapshot, { metadataOnly, job });
      deleted.push(snapshot.name);
      snapshots.world.events.emit('domain.snapshot-deleted', domain.identity, { snapshot: snapshot.name });
    }
  });
  return deleted;
}

/** Those that go, in the order in which they go: each after all below it. */
export function meant(
  snapshots: SnapshotWorld,
  domain: Domain,
  name: string,
  scope: DeleteScope,
): Snapshot[] {
  const own = snapshots.find(domain, name);
  if (scope === 'one') return [own];
  const below = snapshots.treeOf(domain).descendantsOf(name).toReversed();
  return scope === 'children-only' ? below : [...below, own];
}

/**
 * Images that a saved state names must not be merged away from under it.
 * @throws VirtError domain.state, saved-state.exists
 */
export function refuseDelete(
  { world }: SnapshotWorld,
  domain: Domain,
  going: readonly Snapshot[],
  metadataOnly: boolean,
): void {
  if (metadataOnly) return;
  refuseBlockJobs(domain, 'delete a snapshot of');
  if (going.some(isExternal)) world.managedSaves.refuse(domain, 'merge images of');
}

async function deleteOne(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
  { metadataOnly, job }: { readonly metadataOnly: boolean; readonly job: RunningJob },
): Promise<void> {
  if (!metadataOnly) {
    job.progress({ step: snapshot.name });
    try {
      await removeBegun(snapshots, domain, snapshot);
    } catch (error) {
      // A QEMU that is held takes the tags out when it goes on: then the rest is done, by itself.
      if (isVirtError(error, 'qmp.timeout') && !isExternal(snapshot)) throw goesOn(error);
      // It stays, as one that nobody can return to: whoever wants it gone deletes it again.
      await snapshots.finish(domain, snapshots.treeOf(domain).current);
      throw error;
    }
  }
  await forget(snapshots, domain, snapshot);
}

function goesOn(error: VirtError): VirtError {
  const { code, wanted, reason, hint } = error;
  return new VirtError(code, {
    ...(wanted !== undefined && { wanted }),
    reason,
    hint: `${hint === undefined ? '' : `${hint}; `}the deletion is finished by itself then`,
    cause: error,
  });
}

/** Before images are touched the snapshot is noted as one that nobody can return to. */
async function removeBegun(snapshots: SnapshotWorld, domain: Domain, snapshot: Snapshot): Promise<void> {
  await snapshots.begin(domain, { kind: 'delete', name: snapshot.name, discard: [] });
  if (isExternal(snapshot)) {
    const disks = snapshot.disks.map((disk) =>
      disk.snapshot === 'external' ? { ...disk, deleteInProgress: true as const } : disk,
    );
    await snapshots.save(domain, { ...snapshot, disks });
  }
  await removeState(snapshots, domain, snapshot);
}

/** What images keep of it goes. */
export async function removeState(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
): Promise<void> {
  const { domain: definition } = snapshot;
  if (definition !== undefined) await removeTags(snapshots, domain, { ...snapshot, domain: definition });
  if (isExternal(snapshot)) await dissolve(snapshots, domain, snapshot);
  await removeMemory(domain, snapshot);
}

/** Tags go by QEMU where it has the image open, else by qemu-img. */
async function removeTags(snapshots: SnapshotWorld, domain: Domain, snapshot: Revertible): Promise<void> {
  const { live } = domain;
  const inUse: string[] = [];
  for (const disk of taggedDisks(snapshot)) {
    const path = await snapshots.imageOf(disk);
    const running = live?.guest.definition.devices.disks.find((one) => pathOf(one) === path);
    if (running === undefined) await snapshots.images.deleteTag(path, snapshot.name);
    else inUse.push(running.target.dev);
  }
  if (live !== undefined && inUse.length > 0)
    await snapshots.world.driver.deleteSnapshot(live.guest, { name: snapshot.name, disks: inUse });
}

/** Children get its parent, which becomes the current one where it was; then the document goes. */
export async function forget(snapshots: SnapshotWorld, domain: Domain, snapshot: Snapshot): Promise<void> {
  const tree = snapshots.treeOf(domain);
  const parent = tree.parentOf(snapshot)?.name;
  for (const child of tree.childrenOf(snapshot.name)) {
    const { parent: _gone, ...rest } = child;
    await snapshots.save(domain, parent === undefined ? rest : { ...rest, parent: { name: parent } });
  }
  const current = tree.current === snapshot.name ? parent : tree.current;
  await snapshots.remove(domain, snapshot.name);
  await snapshots.finish(domain, current);
}
