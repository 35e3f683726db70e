/** The images of a disk from the topmost down, and what block jobs make of them. Pure: nothing here knows of QEMU. */
import type { BackingStore, Disk } from './devices/disk.ts';
import type { DiskSource } from './devices/source.ts';
import type { DomainDef } from './domain.ts';

/** One image of a chain; 0 is the topmost, which the guest writes to. */
export interface Layer {
  readonly source: DiskSource;
  readonly format: BackingStore['format']['type'];
  /** The number by which the image is known while the guest runs; undefined in a stored definition. */
  readonly index: number | undefined;
}

/** All images of a disk, the topmost first. */
export function layersOf({ source, driver, backingStore }: Disk): Layer[] {
  const top = { source, format: formatOf(driver?.type), index: indexOf(source) };
  return [top, ...layersBelow(backingStore)];
}

/** The images of a chain that hangs below something. */
export function layersBelow(first: BackingStore | null | undefined): Layer[] {
  const layers: Layer[] = [];
  for (let below = first; below; below = below.backingStore)
    layers.push({ source: below.source, format: below.format.type, index: below.index });
  return layers;
}

/** The number of an image, where its source can have one. */
export function indexOf(source: DiskSource): number | undefined {
  return source.type === 'vhostuser' ? undefined : source.index;
}

/** The images of the copy that is being made of a disk, or that its top is being merged into. */
export function mirrorLayers({ mirror }: Disk): Layer[] {
  if (mirror === undefined) return [];
  const { source, format, backingStore } = mirror;
  return [
    { source, format: format?.type ?? 'raw', index: indexOf(source) },
    ...layersBelow(mirror.job === 'active-commit' ? null : backingStore),
  ];
}

/** `aio` is an old word of Xen's for raw. */
function formatOf(type: NonNullable<Disk['driver']>['type']): Layer['format'] {
  return type === undefined || type === 'aio' ? 'raw' : type;
}

/** The part of a chain from the image with that number down; null when there is none. */
export function chainFrom(first: BackingStore | null | undefined, index: number | null): BackingStore | null {
  for (let below = first; below; below = below.backingStore) if (below.index === index) return below;
  return null;
}

/** The disk when all between its topmost image and `base` (null: everything) has been copied up into it. */
export function afterPull(disk: Disk, base: number | null): Disk {
  return { ...disk, backingStore: chainFrom(disk.backingStore, base) };
}

/** The disk when the images from `top` down to above `base` have been merged into `base`; `top` is not the topmost. */
export function afterCommit(disk: Disk, top: number, base: number): Disk {
  const kept = chainFrom(disk.backingStore, base);
  const shorten = (store: BackingStore | null | undefined): BackingStore | null => {
    if (!store) return null;
    return store.index === top ? kept : { ...store, backingStore: shorten(store.backingStore) };
  };
  return { ...disk, backingStore: shorten(disk.backingStore) };
}

/** The disk when it has switched to its copy, or its top has been merged away: what `<mirror>` says is the disk now. */
export function afterPivot(disk: Disk): Disk {
  const { mirror, ...rest } = disk;
  if (mirror === undefined) return disk;
  const below =
    mirror.job === 'active-commit'
      ? (chainFrom(disk.backingStore, indexOf(mirror.source) ?? null)?.backingStore ?? null)
      : (mirror.backingStore ?? null);
  return {
    ...rest,
    source: mirror.source,
    driver: { ...disk.driver, type: mirror.format?.type ?? 'raw' },
    backingStore: below,
  };
}

/** The disk without the copy that was given up. */
export function withoutMirror({ mirror: _mirror, ...disk }: Disk): Disk {
  return disk;
}

/** The definition with another description of that disk (`vda`). */
export function withDisk(definition: DomainDef, target: string, change: (disk: Disk) => Disk): DomainDef {
  const disks = definition.devices.disks.map((disk) => (disk.target.dev === target ? change(disk) : disk));
  return { ...definition, devices: { ...definition.devices, disks } };
}

/** A source as a stored definition has it: without the number of a run. */
export function withoutIndex(source: DiskSource): DiskSource {
  if (source.type === 'vhostuser') return source;
  const { index: _index, ...rest } = source;
  return rest;
}

/**
 * What a stored definition says of the images below a disk whose whole chain is known. Nothing while each lies beside
 * the one above it: there a start follows the headers. Else the chain, since names that lead elsewhere are not followed.
 */
export function storedBelow(disk: Disk): BackingStore | null | undefined {
  const paths = layersOf(disk).map(({ source }) => pathOfSource(source));
  const isFollowed = paths.every(
    (path, at) => path === undefined || at === 0 || areBeside(path, paths[at - 1] ?? path),
  );
  const plain = (store: BackingStore | null | undefined): BackingStore | null | undefined => {
    if (!store) return store;
    const { index: _index, backingStore, ...rest } = store;
    return { ...rest, backingStore: plain(backingStore) };
  };
  return isFollowed ? undefined : plain(disk.backingStore);
}

/** Whether two paths are of one directory, as they are written. */
export function areBeside(one: string, other: string): boolean {
  return one.slice(0, one.lastIndexOf('/')) === other.slice(0, other.lastIndexOf('/'));
}

/** True for two sources that name the same place. */
export function isSamePlace(one: DiskSource, other: DiskSource): boolean {
  return JSON.stringify(placeOf(one)) === JSON.stringify(placeOf(other));
}

function placeOf(source: DiskSource): unknown {
  switch (source.type) {
    case 'file':
      return source.fdgroup === undefined ? ['path', source.file] : ['group', source.fdgroup];
    case 'block':
      return ['path', source.dev];
    case 'dir':
      return ['path', source.dir];
    case 'volume':
      return ['volume', source.pool, source.volume];
    case 'network':
      return ['network', source.protocol, source.name, source.hosts];
    default:
      return source;
  }
}

/** The path of an image on this host; undefined for what is none, and for what a client hands over instead. */
export function pathOfSource(source: DiskSource): string | undefined {
  if (source.type === 'file') return source.fdgroup === undefined ? source.file : undefined;
  return source.type === 'block' ? source.dev : undefined;
}

/** The name under which a client hands over an image's descriptors (`fdgroup`); undefined where none does. */
export function groupOfSource(source: DiskSource): string | undefined {
  return source.type === 'file' ? source.fdgroup : undefined;
}
