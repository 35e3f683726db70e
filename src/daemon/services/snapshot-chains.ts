/** The images of a domain's disks and of its snapshots as a graph: what lies on what, and what may go. */
import { dirname, join } from 'node:path';
import { isVirtError } from '../../base/errors.ts';
import type { BackingStore, Disk } from '../../model/domain/devices/disk.ts';
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { pathOf } from '../../model/snapshot/disks.ts';
import type { Snapshot } from '../../model/snapshot/snapshot.ts';

/** An image by its path, in the format that it is known to have (our word). */
export interface ImageAt {
  readonly path: string;
  readonly format: string;
}

/** What an image's header says lies below it. */
export interface BackingName {
  readonly name: string;
  /** QEMU's word. */
  readonly format: string | undefined;
}

/** Images by path, each with the one below it. */
export class ImageGraph {
  private readonly below = new Map<string, ImageAt | undefined>();
  private readonly formats = new Map<string, string>();

  has(path: string): boolean {
    return this.formats.has(path);
  }

  formatOf(path: string): string {
    return this.formats.get(path) ?? 'raw';
  }

  belowOf(path: string): ImageAt | undefined {
    return this.below.get(path);
  }

  /** Images that lie directly on that one. */
  on(path: string): ImageAt[] {
    return [...this.below].flatMap(([upper, lower]) =>
      lower?.path === path ? [{ path: upper, format: this.formatOf(upper) }] : [],
    );
  }

  /** An image and all below it, topmost first. */
  chainOf(path: string): ImageAt[] {
    const chain: ImageAt[] = [];
    let next: ImageAt | undefined = { path, format: this.formatOf(path) };
    while (next !== undefined && !chain.some((one) => one.path === next?.path)) {
      chain.push(next);
      next = this.belowOf(next.path);
    }
    return chain;
  }

  /** The same after an image is gone: what lay on it lies on what was below it. */
  without(path: string): ImageGraph {
    const rest = new ImageGraph();
    const lower = this.belowOf(path);
    for (const [image, format] of this.formats) {
      if (image === path) continue;
      const below = this.belowOf(image);
      rest.formats.set(image, format);
      rest.below.set(image, below?.path === path ? lower : below);
    }
    return rest;
  }

  /** Adds an image with all below it, as `read` tells; one that is not there ends its chain. */
  async add(image: ImageAt, read: (image: ImageAt) => Promise<BackingName | undefined>): Promise<void> {
    let next: ImageAt | undefined = image;
    while (next !== undefined && !this.has(next.path)) {
      const { path, format }: ImageAt = next;
      this.formats.set(path, format);
      next = await lowerOf(next, read);
      this.below.set(path, next);
    }
  }
}

async function lowerOf(
  image: ImageAt,
  read: (image: ImageAt) => Promise<BackingName | undefined>,
): Promise<ImageAt | undefined> {
  if (image.format !== 'qcow2') return undefined;
  try {
    const found = await read(image);
    if (found === undefined) return undefined;
    const path = found.name.startsWith('/') ? found.name : join(dirname(image.path), found.name);
    const format = found.format === 'vhdx' ? 'vhd' : (found.format ?? 'raw');
    return { path, format };
  } catch (error) {
    if (isVirtError(error, 'file.not-found')) return undefined;
    throw error;
  }
}

/** A disk's image, where it is a file or device of this host. */
export function imageAt(disk: Disk): ImageAt | undefined {
  const path = pathOf(disk);
  const type = disk.driver?.type ?? 'raw';
  return path === undefined ? undefined : { path, format: type === 'aio' ? 'raw' : type };
}

/** The images that definitions name as their disks' own. */
export function imagesOf(definitions: readonly DomainDef[]): ImageAt[] {
  return definitions.flatMap(({ devices }) => devices.disks.flatMap((disk) => imageAt(disk) ?? []));
}

/** What becomes of the image that holds a disk's state, when its snapshot goes. */
export type ImageFate = { readonly target: string; readonly image: ImageAt } & (
  | { readonly kind: 'keep'; readonly reason: string }
  /** What `top` holds is written into it; then `top` is not needed any more. */
  | { readonly kind: 'merge'; readonly top: ImageAt }
  | { readonly kind: 'remove' }
);

export interface FateFacts {
  readonly graph: ImageGraph;
  /** The domain's other snapshots. */
  readonly others: readonly Snapshot[];
  /** The definitions of the domain: stored, and as it runs. */
  readonly current: readonly DomainDef[];
  /** Images that were made for snapshots here. */
  readonly ours: ReadonlySet<string>;
  /** Who else needs an image, in words; undefined for nobody. */
  readonly neededBy: (path: string) => string | undefined;
}

/** For each disk that was taken into a new image, what becomes of the one below. */
export function fatesOf(snapshot: Snapshot, facts: FateFacts): ImageFate[] {
  return snapshot.disks
    .filter((one) => one.snapshot === 'external')
    .flatMap(({ name: target }) => {
      const disk = snapshot.domain?.devices.disks.find((one) => one.target.dev === target);
      const image = disk && imageAt(disk);
      return image === undefined ? [] : [{ target, image, ...fateOf(image, target, facts) }];
    });
}

type Fate =
  | { readonly kind: 'keep'; readonly reason: string }
  | { readonly kind: 'merge'; readonly top: ImageAt }
  | { readonly kind: 'remove' };

function fateOf(image: ImageAt, target: string, facts: FateFacts): Fate {
  const { graph, others, current, ours, neededBy } = facts;
  const keep = (reason: string): Fate => ({ kind: 'keep', reason });
  if (!graph.has(image.path)) return keep('it is not there');
  const holder = others.find((other) => holds(other, target, image.path));
  if (holder !== undefined) return keep(`snapshot '${holder.name}' is of the same state`);
  if (imagesOf(current).some(({ path }) => path === image.path)) return keep('the domain writes to it');
  const user = neededBy(image.path);
  if (user !== undefined) return keep(`${user} needs it`);
  const tops = graph.on(image.path);
  const [top] = tops;
  if (top === undefined)
    return ours.has(image.path) ? { kind: 'remove' } : keep('it was not made for a snapshot');
  if (tops.length > 1) return keep(`${tops.length} images lie on it`);
  const inside = others.find((other) => isInside(other, target, top.path));
  if (inside !== undefined) return keep(`snapshot '${inside.name}' is inside what lies on it`);
  const onTop = neededBy(top.path);
  if (onTop !== undefined) return keep(`${onTop} needs what lies on it`);
  return { kind: 'merge', top };
}

/** Whether a snapshot's state is a tag in that image, which would be gone with it. */
function isInside({ disks, domain }: Snapshot, target: string, path: string): boolean {
  const isTag = disks.some(({ name, snapshot }) => name === target && snapshot === 'internal');
  const disk = domain?.devices.disks.find((one) => one.target.dev === target);
  return isTag && disk !== undefined && pathOf(disk) === path;
}

/** Whether that image is what a snapshot keeps of the disk. */
function holds({ disks, domain }: Snapshot, target: string, path: string): boolean {
  const isKept = disks.some(({ name, snapshot }) => name === target && snapshot !== 'no');
  const disk = domain?.devices.disks.find((one) => one.target.dev === target);
  return isKept && disk !== undefined && pathOf(disk) === path;
}

/**
 * The definition with `to` wherever it names `from`, which was merged into it: as a disk's own image, or below one. The same
 * object where it does not.
 */
export function withImageReplaced(definition: DomainDef, from: string, to: ImageAt): DomainDef {
  const disks = definition.devices.disks.map((disk) => replacedIn(disk, from, to));
  if (disks.every((disk, index) => disk === definition.devices.disks[index])) return definition;
  return { ...definition, devices: { ...definition.devices, disks } };
}

function replacedIn(disk: Disk, from: string, to: ImageAt): Disk {
  if (pathOf(disk) === from) return replacedAtTop(disk, to);
  const below = replacedBelow(disk.backingStore, from, to);
  return below === undefined || below === disk.backingStore ? disk : { ...disk, backingStore: below };
}

function replacedAtTop({ backingStore, driver, ...rest }: Disk, to: ImageAt): Disk {
  return {
    ...rest,
    driver: { ...driver, type: to.format as NonNullable<Disk['driver']>['type'] },
    source: backingStore?.source ?? { type: 'file', file: to.path, slices: [], seclabels: [] },
    ...(backingStore?.backingStore !== undefined && { backingStore: backingStore.backingStore }),
  };
}

/** The chain without that image: what it was merged into takes its place. */
function replacedBelow(layer: Disk['backingStore'], from: string, to: ImageAt): Disk['backingStore'] {
  if (layer === undefined || layer === null) return layer;
  if (pathOfSource(layer.source) === from)
    return (
      layer.backingStore ?? {
        format: { type: to.format as BackingStore['format']['type'] },
        source: { type: 'file', file: to.path, slices: [], seclabels: [] },
      }
    );
  const below = replacedBelow(layer.backingStore, from, to);
  return below === undefined || below === layer.backingStore ? layer : { ...layer, backingStore: below };
}
