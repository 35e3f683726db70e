/** Snapshots outside of the disks' images: new images on top, and what becomes of those below. */
import { extname } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import { Undo } from '../../base/undo.ts';
import type { NewOverlay } from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type AlignedDisk, pathOf } from '../../model/snapshot/disks.ts';
import { withOverlay } from '../../model/snapshot/overlay.ts';
import type { Snapshot } from '../../model/snapshot/snapshot.ts';
import type { PendingDisk } from '../state/snapshots.ts';
import type { Domain } from './domain.ts';
import { saveStatus } from './domain-status.ts';
import {
  type FateFacts,
  type ImageAt,
  ImageGraph,
  imageAt,
  imagesOf,
  withImageReplaced,
} from './snapshot-chains.ts';
import { keptForm, type SnapshotWorld } from './snapshot-world.ts';

/**
 * The new images of the disks that get one: where, and on what. Nothing is made yet.
 * @throws VirtError definition.unsupported, file.exists, file.not-found with `reuse`
 */
export async function chooseOverlays(
  snapshots: SnapshotWorld,
  disks: readonly AlignedDisk[],
  { name, reuse, wanted }: { readonly name: string; readonly reuse: boolean; readonly wanted: string },
): Promise<PendingDisk[]> {
  const chosen: PendingDisk[] = [];
  for (const { disk, snapshot, wish } of disks) {
    if (snapshot !== 'external') continue;
    const below = imageAt(disk);
    const target = disk.target.dev;
    const refuse = (reason: string): VirtError => new VirtError('definition.unsupported', { wanted, reason });
    if (below === undefined) throw refuse(`disk '${target}' is no file or device of this host`);
    if (wish?.driver?.type !== undefined && wish.driver.type !== 'qcow2')
      throw refuse(`external snapshot format for disk ${target} is unsupported: ${wish.driver.type}`);
    const given = wish?.source === undefined ? undefined : pathOf({ source: wish.source });
    if (wish?.source !== undefined && (given === undefined || wish.source.type !== 'file'))
      throw refuse(`the new image of disk '${target}' has to be a file`);
    const file = given ?? defaultPath(disk, below, name, wanted);
    if (chosen.some((other) => other.file === file))
      throw refuse(`cannot generate external snapshot name for disk '${target}': collision`);
    const isThere = await snapshots.images.isThere(file);
    if (reuse && !isThere)
      throw new VirtError('file.not-found', { wanted, reason: `${file}: there is no image to be reused` });
    if (!reuse && isThere)
      throw new VirtError('file.exists', {
        wanted,
        reason: `external snapshot file for disk ${target} already exists and is not a block device: ${file}`,
      });
    chosen.push({
      ...{ target, file, format: 'qcow2', isOurs: !reuse },
      ...{ below: below.path, belowFormat: below.format },
    });
  }
  return chosen;
}

/** As libvirt: the image's name with the snapshot's in place of its ending. */
function defaultPath(disk: Disk, below: ImageAt, name: string, wanted: string): string {
  if (disk.source.type !== 'file')
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `source for disk '${disk.target.dev}' is not a regular file; refusing to generate external snapshot name`,
      hint: `say where: --disk ${disk.target.dev},path=/…`,
    });
  return `${withoutEnding(below.path)}.${name}`;
}

function withoutEnding(path: string): string {
  const ending = extname(path);
  return ending === '' ? path : path.slice(0, -ending.length);
}

/** Makes the files that are ours; those of a failure are taken away again. */
export async function makeFiles(
  snapshots: SnapshotWorld,
  disks: readonly PendingDisk[],
  undo: Undo,
): Promise<void> {
  for (const { file, below, belowFormat, isOurs } of disks) {
    if (!isOurs) continue;
    await snapshots.images.createOverlay(file, { path: below, format: belowFormat });
    undo.add(`remove ${file}`, () => snapshots.images.removeImage(file));
  }
}

export const overlayOf = ({ target, file }: PendingDisk): NewOverlay => ({ target, file, format: 'qcow2' });

/** The stored definition with the new images, where it names those below. */
export function withOverlays(definition: DomainDef, disks: readonly PendingDisk[]): DomainDef {
  const changed = definition.devices.disks.map((disk) => {
    const overlay = disks.find(({ target }) => target === disk.target.dev);
    return overlay !== undefined && pathOf(disk) === overlay.below
      ? withOverlay(disk, { file: overlay.file, format: 'qcow2' })
      : disk;
  });
  return { ...definition, devices: { ...definition.devices, disks: changed } };
}

/**
 * A running guest writes to the new images from now on; of one that does not run the stored definition has them. On failure
 * nothing has changed.
 */
export async function putOnTop(
  snapshots: SnapshotWorld,
  domain: Domain,
  disks: readonly PendingDisk[],
): Promise<void> {
  const { live } = domain;
  if (live === undefined) await storeOverlays(snapshots, domain, disks);
  else await snapshots.world.driver.addOverlays(live.guest, disks.map(overlayOf));
}

/** After the switch: both definitions say so. Done twice, it is the same. */
export async function noteOverlays(
  snapshots: SnapshotWorld,
  domain: Domain,
  disks: readonly PendingDisk[],
): Promise<void> {
  if (disks.length === 0) return;
  await saveStatus(snapshots.world, domain);
  await storeOverlays(snapshots, domain, disks);
}

async function storeOverlays(
  snapshots: SnapshotWorld,
  domain: Domain,
  disks: readonly PendingDisk[],
): Promise<void> {
  if (!domain.isPersistent) return;
  const stored = snapshots.definitions.definition(domain, { inactive: true });
  if (disks.some(({ below }) => imagesOf([stored]).some(({ path }) => path === below)))
    await snapshots.definitions.replaceStored(domain, withOverlays(stored, disks));
}

/** A free name for a new image on top of a snapshot's: a return leaves the other branches as they are. */
export async function freeOverlayPath(
  snapshots: SnapshotWorld,
  below: ImageAt,
  name: string,
  isTaken: (path: string) => boolean,
): Promise<string> {
  for (let number = 1; ; number++) {
    const path = `${withoutEnding(below.path)}.${name}-${number}`;
    if (!isTaken(path) && !(await snapshots.images.isThere(path))) return path;
  }
}

/** All images that the domain's definitions and snapshots name, with what lies below each. */
export async function graphOf(
  snapshots: SnapshotWorld,
  domain: Domain,
  extra: readonly ImageAt[] = [],
): Promise<ImageGraph> {
  const graph = new ImageGraph();
  const read = (image: ImageAt) => snapshots.images.backingOf(image);
  const kept = snapshots.treeOf(domain).all.flatMap((one) => (one.domain ? [one.domain] : []));
  for (const image of [...imagesOf([...currentOf(snapshots, domain), ...kept]), ...extra])
    await graph.add(image, read);
  return graph;
}

/** The domain's definitions: stored, and as it runs. */
export function currentOf(snapshots: SnapshotWorld, domain: Domain): DomainDef[] {
  const live = domain.live?.guest.definition;
  const stored = domain.isPersistent ? [snapshots.definitions.definition(domain, { inactive: true })] : [];
  return [...(live === undefined ? [] : [live]), ...stored];
}

/** What decides which images may go with a snapshot. */
export async function fateFacts(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Snapshot,
): Promise<FateFacts> {
  const graph = await graphOf(snapshots, domain);
  const others = snapshots.treeOf(domain).all.filter(({ name }) => name !== snapshot.name);
  const users = await snapshots.otherUsers(domain, graph);
  return {
    graph,
    others,
    current: currentOf(snapshots, domain),
    ours: snapshots.oursOf(domain),
    neededBy: (path) => users.get(path),
  };
}

/** Every definition and snapshot that names `from` names `to` instead, into which it was merged. */
export async function replaceImage(
  snapshots: SnapshotWorld,
  domain: Domain,
  from: string,
  to: ImageAt,
): Promise<void> {
  for (const one of snapshots.treeOf(domain).all) {
    const changed = {
      ...one,
      ...(one.domain && { domain: withImageReplaced(one.domain, from, to) }),
      ...(one.inactiveDomain && { inactiveDomain: withImageReplaced(one.inactiveDomain, from, to) }),
    };
    if (changed.domain !== one.domain || changed.inactiveDomain !== one.inactiveDomain)
      await snapshots.save(domain, changed);
  }
  if (!domain.isPersistent) return;
  const stored = snapshots.definitions.definition(domain, { inactive: true });
  const changed = withImageReplaced(stored, from, to);
  if (changed !== stored) await snapshots.definitions.replaceStored(domain, keptForm(changed));
}

/** Removes images that no definition and no snapshot names any more. What is under way stays noted. */
export async function discardImages(
  snapshots: SnapshotWorld,
  domain: Domain,
  paths: readonly string[],
): Promise<void> {
  if (paths.length === 0) return;
  const graph = await graphOf(snapshots, domain);
  const gone: string[] = [];
  for (const path of paths) {
    if (graph.has(path)) continue;
    await snapshots.images.removeImage(path);
    gone.push(path);
  }
  await snapshots.forgetImages(domain, gone);
}
