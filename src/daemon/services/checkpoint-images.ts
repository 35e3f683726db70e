/** Checkpoints in the images of a guest that is off. */
import type { VolumeFinder } from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type BackingName, type ImageAt, ImageGraph } from './snapshot-chains.ts';

/** What is done to images that nobody has open. */
export interface CheckpointImages {
  readonly volumes: Pick<VolumeFinder, 'find'>;
  /** What an image's header says lies below it. */
  backingOf(image: ImageAt): Promise<BackingName | undefined>;
  /** Takes a bitmap away; false when the image has none of that name. @throws VirtError file.*, program.* */
  deleteBitmap(path: string, name: string): Promise<boolean>;
}

/**
 * Takes the bitmap of a checkpoint out of all images of these disks; images without it, and disks that are no qcow2 image
 * of this host, are passed over.
 * @throws VirtError file.*, program.*, pool.*, volume.*
 */
export async function removeFromImages(
  images: CheckpointImages,
  { devices }: DomainDef,
  name: string,
  targets: readonly string[],
): Promise<void> {
  for (const disk of devices.disks) {
    if (!targets.includes(disk.target.dev) || disk.driver?.type !== 'qcow2') continue;
    const path = await pathOfDisk(images, disk);
    if (path === undefined) continue;
    const graph = new ImageGraph();
    await graph.add({ path, format: 'qcow2' }, (image) => images.backingOf(image));
    for (const image of graph.chainOf(path))
      if (image.format === 'qcow2') await images.deleteBitmap(image.path, name);
  }
}

async function pathOfDisk({ volumes }: CheckpointImages, { source }: Disk): Promise<string | undefined> {
  if (source.type !== 'volume') return pathOfSource(source);
  const { pool, volume } = source;
  return pool === undefined || volume === undefined ? undefined : (await volumes.find({ pool, volume })).path;
}
