/**
 * Merging images when snapshots go: by QEMU where the running guest has them open, else by qemu-img. The bytes come first,
 * then everybody who names the one image names the other, then the file goes: broken off anywhere, all images that
 * something names are whole.
 */
import { VirtError } from '../../base/errors.ts';
import type { BlockJobRecord } from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { layersOf, pathOfSource } from '../../model/domain/disk-chain.ts';
import type { Snapshot } from '../../model/snapshot/snapshot.ts';
import type { Domain } from './domain.ts';
import { discardImages, fateFacts, graphOf, replaceImage } from './domain-snapshot-external.ts';
import { fatesOf, type ImageAt, type ImageGraph } from './snapshot-chains.ts';
import type { SnapshotWorld } from './snapshot-world.ts';

/**
 * What the images below an external snapshot's new ones become when it goes: they get what lies on them, or go, or stay
 * since somebody needs them. Done twice, it is the same.
 * @throws VirtError operation.failed, operation.aborted, file.*, program.*, qmp.*
 */
export async function dissolve(snapshots: SnapshotWorld, domain: Domain, snapshot: Snapshot): Promise<void> {
  const fates = fatesOf(snapshot, await fateFacts(snapshots, domain, snapshot));
  const tops = fates.flatMap((fate) => (fate.kind === 'merge' ? [fate.top.path] : []));
  // A daemon that finds this removes what nothing names any more, however far the merging came.
  if (tops.length > 0) await snapshots.begin(domain, { kind: 'delete', name: snapshot.name, discard: tops });
  for (const fate of fates) {
    if (fate.kind === 'remove') await snapshots.images.removeImage(fate.image.path);
    if (fate.kind === 'merge') await mergeOne(snapshots, domain, snapshot, fate);
  }
  await discardImages(snapshots, domain, tops);
}

async function mergeOne(
  snapshots: SnapshotWorld,
  domain: Domain,
  { name }: Snapshot,
  { top, image: into }: { readonly top: ImageAt; readonly image: ImageAt },
): Promise<void> {
  const graph = await graphOf(snapshots, domain);
  const disk = domain.live?.guest.definition.devices.disks.find((one) => pathsOf(one).includes(top.path));
  if (disk === undefined) {
    await snapshots.images.mergeDown(graph.chainOf(top.path));
  } else {
    const merge = {
      top: top.path,
      into: into.path,
      wanted: `delete snapshot '${name}' of domain '${domain.name}'`,
    };
    await mergeLive(snapshots, domain, disk, merge);
  }
  await renameAbove(snapshots, graph, { top, into, known: disk === undefined ? [] : pathsOf(disk) });
  await replaceImage(snapshots, domain, top.path, into);
}

/** Images that lie on the merged one name the other in their headers. QEMU has done that to those that it has open (`known`). */
async function renameAbove(
  snapshots: SnapshotWorld,
  graph: ImageGraph,
  { top, into, known }: { readonly top: ImageAt; readonly into: ImageAt; readonly known: readonly string[] },
): Promise<void> {
  for (const upper of graph.on(top.path))
    if (!known.includes(upper.path)) await snapshots.images.renameBacking(upper, into);
}

/** The files of a disk's images, topmost first. */
function pathsOf(disk: Disk): string[] {
  return layersOf(disk).flatMap(({ source }) => pathOfSource(source) ?? []);
}

interface LiveMerge {
  readonly top: string;
  readonly into: string;
  readonly wanted: string;
}

/** By a block job of the running guest, which the caller's job of the domain holds; one of an earlier daemon is gone on with. */
async function mergeLive(
  snapshots: SnapshotWorld,
  domain: Domain,
  disk: Disk,
  { top, into, wanted }: LiveMerge,
): Promise<void> {
  const { blockJobs } = snapshots;
  const { dev } = disk.target;
  const held = { isHeld: true } as const;
  const found = domain.live?.guest.blockJobs.records.find((job) => job.disk === dev);
  try {
    if (found === undefined) await blockJobs.commit(domain, { disk: dev, top, base: into }, held);
    else refuseOther(found, disk, { top, into, wanted });
    if (pathsOf(disk)[0] !== top) return await blockJobs.wait(domain, dev, 'end', held);
    await blockJobs.wait(domain, dev, 'ready', held);
    if (found?.ending === 'pivot') return await blockJobs.wait(domain, dev, 'end', held);
    return await blockJobs.end(domain, dev, { pivot: true, ...held });
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    throw new VirtError(error.code, {
      wanted,
      reason: `${top} could not be merged into ${into}: ${error.reason}`,
      hint: 'nothing is lost: the domain has its state; delete the snapshot again to go on',
      cause: error,
    });
  }
}

/**
 * After a crash: merges of an earlier daemon that come to their end by themselves, or have, are waited for and stored first,
 * since what they change decides what is left to do. The caller holds the domain, and its block jobs (`DomainBlockJobs.hold`).
 */
export async function awaitMerges(snapshots: SnapshotWorld, domain: Domain): Promise<void> {
  for (const { job, before } of snapshots.blockJobs.unfinished(domain)) {
    if (job.kind !== 'commit' && job.ending !== 'pivot') continue;
    const ends = endsOf(job, before);
    const graph = await graphOf(snapshots, domain);
    await snapshots.blockJobs.wait(domain, job.disk, 'end', { isHeld: true });
    if (ends === undefined || !graph.has(ends.into)) continue;
    const top = { path: ends.top, format: graph.formatOf(ends.top) };
    const into = { path: ends.into, format: graph.formatOf(ends.into) };
    await renameAbove(snapshots, graph, { top, into, known: pathsOf(before) });
    await replaceImage(snapshots, domain, ends.top, into);
  }
}

/** The files that a merge is of; undefined for another job, and when the disk has them no more. */
function endsOf(
  { kind, top, base }: BlockJobRecord,
  disk: Disk,
): { readonly top: string; readonly into: string } | undefined {
  const layers = layersOf(disk);
  const pathOf = (index: number | null | undefined): string | undefined => {
    const layer = layers.find((one) => one.index === index);
    return layer && pathOfSource(layer.source);
  };
  const from = pathOf(top);
  const into = pathOf(base);
  if ((kind !== 'commit' && kind !== 'active-commit') || from === undefined || into === undefined)
    return undefined;
  return { top: from, into };
}

/** @throws VirtError domain.state for a job that is not this merge */
function refuseOther(job: BlockJobRecord, disk: Disk, merge: LiveMerge): void {
  const ends = endsOf(job, disk);
  const { disk: dev } = job;
  if (ends?.top === merge.top && ends.into === merge.into) return;
  throw new VirtError('domain.state', {
    wanted: merge.wanted,
    reason: `disk '${dev}' already in active block job`,
    hint: 'wait for its end, or cancel it',
  });
}
