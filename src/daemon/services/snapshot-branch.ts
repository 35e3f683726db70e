/** What a return to a snapshot needs of images: new ones on top of those that hold its state, and which ones nobody needs then. */
import { VirtError } from '../../base/errors.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { layersOf, pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { locationOf, type Snapshot } from '../../model/snapshot/snapshot.ts';
import type { PendingDisk } from '../state/snapshots.ts';
import type { Domain } from './domain.ts';
import { currentOf, freeOverlayPath, graphOf, withOverlays } from './domain-snapshot-external.ts';
import { type ImageAt, ImageGraph, imageAt } from './snapshot-chains.ts';
import type { SnapshotWorld } from './snapshot-world.ts';

/** A snapshot that one can return to. */
export type Revertible = Snapshot & { readonly domain: DomainDef };

/** New images on top of those that hold the snapshot's state, and those that nobody needs after a return to it. */
export interface Branch {
  readonly external: PendingDisk[];
  readonly discard: string[];
}

/** What a return makes and what it lets go of; nothing is done yet. @throws VirtError file.not-found, definition.unsupported */
export async function planBranch(
  snapshots: SnapshotWorld,
  domain: Domain,
  snapshot: Revertible,
): Promise<Branch> {
  const external: PendingDisk[] = [];
  for (const disk of snapshot.domain.devices.disks) {
    if (locationOf(snapshot, disk.target.dev) !== 'external') continue;
    const below = imageAt(disk);
    const missing = below === undefined ? disk.target.dev : await missingBelow(snapshots, disk, below);
    if (below === undefined || missing !== undefined)
      throw new VirtError('file.not-found', {
        wanted: `return domain '${domain.name}' to snapshot '${snapshot.name}'`,
        reason: `${missing}: the image that holds its state is not there`,
      });
    const file = await freeOverlayPath(snapshots, below, snapshot.name, (path) =>
      external.some((one) => one.file === path),
    );
    const at = { below: below.path, belowFormat: below.format };
    external.push({ target: disk.target.dev, file, format: 'qcow2', isOurs: true, ...at });
  }
  return { external, discard: await unneeded(snapshots, domain, snapshot) };
}

/** The first image of a disk's that is not there, by what the definition says and by the headers. */
async function missingBelow(
  snapshots: SnapshotWorld,
  disk: Disk,
  image: ImageAt,
): Promise<string | undefined> {
  const graph = new ImageGraph();
  await graph.add(image, (one) => snapshots.images.backingOf(one));
  const told = layersOf(disk).flatMap(({ source }) => pathOfSource(source) ?? []);
  for (const path of new Set([...told, ...graph.chainOf(image.path).map((one) => one.path)]))
    if (!(await snapshots.images.isThere(path))) return path;
  return undefined;
}

/** Images that were made for snapshots, and that only the present state of the snapshot's disks needs, which is given up. */
async function unneeded(snapshots: SnapshotWorld, domain: Domain, snapshot: Revertible): Promise<string[]> {
  const graph = await graphOf(snapshots, domain);
  const users = await snapshots.otherUsers(domain, graph);
  const ours = snapshots.oursOf(domain);
  const kept = new Set(
    snapshots
      .treeOf(domain)
      .all.flatMap(
        ({ domain: definition }) => definition?.devices.disks.flatMap((disk) => imageAt(disk) ?? []) ?? [],
      )
      .flatMap(({ path }) => graph.chainOf(path).map((one) => one.path)),
  );
  const tops = currentOf(snapshots, domain).flatMap(({ devices }) =>
    devices.disks.flatMap((disk) =>
      ['internal', 'external'].includes(locationOf(snapshot, disk.target.dev))
        ? (imageAt(disk)?.path ?? [])
        : [],
    ),
  );
  return [...new Set(tops)].filter((path) => ours.has(path) && !kept.has(path) && !users.has(path));
}

/** The snapshot's definitions on the new images. */
export function withBranch(snapshot: Revertible, { external }: Pick<Branch, 'external'>): Revertible {
  const { inactiveDomain } = snapshot;
  return {
    ...snapshot,
    domain: withOverlays(snapshot.domain, external),
    ...(inactiveDomain && { inactiveDomain: withOverlays(inactiveDomain, external) }),
  };
}
