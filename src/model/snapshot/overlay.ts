/** A disk with a new image on top of its own. Pure. */
import type { BackingStore, Disk } from '../domain/devices/disk.ts';
import { areBeside, pathOfSource } from '../domain/disk-chain.ts';

/** A new image on top of a disk's. */
export interface OverlayFile {
  readonly file: string;
  readonly format: 'qcow2';
}

/**
 * The disk as it is with the new image: the old one is what lies below. `index` is the number of the new image in a
 * running guest; without it the definition is one that is stored, which names what is below where it did before, or where a start would not follow the header (storedBelow).
 */
export function withOverlay(disk: Disk, { file, format }: OverlayFile, index?: number): Disk {
  const { source: _old, backingStore, driver, ...rest } = disk;
  const old = pathOfSource(disk.source);
  const isFollowed = backingStore === undefined && old !== undefined && areBeside(old, file);
  const below = index === undefined && isFollowed ? undefined : belowOf(disk);
  return {
    ...rest,
    driver: { ...driver, type: format },
    source: { type: 'file', file, ...(index !== undefined && { index }), slices: [], seclabels: [] },
    ...(below && { backingStore: below }),
  };
}

/** A disk's image as one that lies below another. */
function belowOf({ source, driver, backingStore }: Disk): BackingStore {
  const { index, ...image } = source as typeof source & { readonly index?: number };
  const type = driver?.type === 'aio' ? 'raw' : (driver?.type ?? 'raw');
  const { metadataCacheBytes } = driver ?? {};
  return {
    ...(index !== undefined && { index }),
    format: { type, ...(metadataCacheBytes !== undefined && { metadataCacheBytes }) },
    source: image,
    ...(backingStore !== undefined && { backingStore }),
  };
}
