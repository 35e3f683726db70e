/** Which disks a snapshot takes, and how: the wish, the disks' own settings, and libvirt's rules for both together. */
import { VirtError } from '../../base/errors.ts';
import { type Disk, isEmptySource } from '../domain/devices/disk.ts';
import { groupOfSource, layersOf, pathOfSource } from '../domain/disk-chain.ts';
import type { DomainDef } from '../domain/domain.ts';
import type { SnapshotDisk, SnapshotLocation } from './snapshot.ts';

/** A disk of the domain with what becomes of it. */
export interface AlignedDisk {
  readonly disk: Disk;
  readonly snapshot: SnapshotLocation;
  /** What the wish says of the new image on top. */
  readonly wish: SnapshotDisk | undefined;
}

export interface AlignOptions {
  /** `internal` unless memory or disks are to be kept outside. */
  readonly fallback: 'internal' | 'external';
  /** For errors: `snapshot domain 'web'`. */
  readonly wanted: string;
}

/**
 * Every disk of the definition with what becomes of it. A disk that the wish does not name follows its own `snapshot`
 * attribute, then the fallback; an empty drive is left alone. In an internal snapshot all disks are internal.
 * @throws VirtError definition.unsupported
 */
export function alignDisks(
  domain: DomainDef,
  wishes: readonly SnapshotDisk[],
  options: AlignOptions,
): AlignedDisk[] {
  const byTarget = wishesByTarget(domain, wishes, options);
  return domain.devices.disks.map((disk) => {
    const wish = byTarget.get(disk.target.dev);
    const snapshot = locationFor(disk, wish, options);
    if (snapshot !== 'no') refusePassed(disk, options);
    return { disk, wish, snapshot };
  });
}

/** An image that a client hands over has no path by which it could be found again. */
function refusePassed(disk: Disk, { wanted }: AlignOptions): void {
  if (layersOf(disk).every(({ source }) => groupOfSource(source) === undefined)) return;
  throw refused(
    wanted,
    disk.target.dev,
    `an image of disk '${disk.target.dev}' comes from a client as descriptors (fdgroup)`,
    "leave the disk out with snapshot='no'",
  );
}

function wishesByTarget(
  domain: DomainDef,
  wishes: readonly SnapshotDisk[],
  { wanted }: AlignOptions,
): Map<string, SnapshotDisk> {
  const found = new Map<string, SnapshotDisk>();
  for (const [index, wish] of wishes.entries()) {
    const disk = domain.devices.disks.find(
      (one) => one.target.dev === wish.name || pathOf(one) === wish.name,
    );
    const where = `disks.disk[${index}]`;
    if (disk === undefined) throw refused(wanted, where, `no disk named '${wish.name}'`);
    if (found.has(disk.target.dev)) throw refused(wanted, where, `disk '${wish.name}' is named twice`);
    found.set(disk.target.dev, wish);
  }
  return found;
}

function locationFor(
  disk: Disk,
  wish: SnapshotDisk | undefined,
  { fallback, wanted }: AlignOptions,
): SnapshotLocation {
  const { snapshot: own, target } = disk;
  const hasImage = wish?.source !== undefined || wish?.driver?.type !== undefined;
  const wished = wish?.snapshot ?? (hasImage ? 'external' : undefined);
  if (wished === undefined) {
    if (isEmptySource(disk.source)) return 'no';
    const isUniform = wish !== undefined && fallback === 'internal';
    return own !== undefined && (!isUniform || own === 'no') ? own : fallback;
  }
  if (fallback === 'internal' && wished !== 'internal' && !(wished === 'no' && own === 'no'))
    throw refused(
      wanted,
      target.dev,
      `disk '${target.dev}' must use snapshot mode 'internal', as the others do`,
      'take the memory into a file, or leave it out, to choose disks one by one',
    );
  if (wish?.source !== undefined && wished !== 'external')
    throw refused(wanted, target.dev, `a new image for disk '${target.dev}' needs an external snapshot`);
  return wished;
}

/** The file or device of a disk's image. */
export function pathOf({ source }: Pick<Disk, 'source'>): string | undefined {
  return pathOfSource(source);
}

/** True for a disk that the guest can change. */
export function isWritten(disk: Disk): boolean {
  return disk.device !== 'cdrom' && disk.readonly !== true && !isEmptySource(disk.source);
}

/** What a snapshot takes as a whole. */
export interface Kept {
  readonly memory: 'no' | 'internal' | 'external';
  /** The guest runs, and its memory is left out. */
  readonly isDiskOnly: boolean;
}

/**
 * libvirt's rules for all disks together: nothing mixed, nothing left out of an internal one, something chosen at all.
 * @throws VirtError definition.unsupported
 */
export function checkTogether(disks: readonly AlignedDisk[], kept: Kept, wanted: string): void {
  const of = (location: SnapshotLocation) => disks.filter(({ snapshot }) => snapshot === location);
  const internal = of('internal').filter(({ disk }) => isWritten(disk));
  const external = of('external');
  const leftOut = of('no').filter(({ disk }) => isWritten(disk));
  const refuse = (reason: string, hint?: string): never => {
    throw refused(wanted, 'disks', reason, hint);
  };
  for (const { disk } of internal) refuseInternal(disk, wanted);
  if (internal.length === 0 && external.length === 0 && kept.memory === 'no')
    refuse('nothing was selected for the snapshot');
  const isWhole = kept.memory === 'internal' || internal.length > 0;
  if (kept.memory === 'internal' && internal.length === 0)
    refuse(
      'internal and full system snapshots require all disks to be selected for snapshot',
      'the memory goes into a qcow2 disk; where there is none it can have a file of its own (--memory-file)',
    );
  if (isWhole && (leftOut.length > 0 || of('manual').length > 0))
    refuse('internal and full system snapshots require all disks to be selected for snapshot');
  if (kept.isDiskOnly && external.length === 0)
    refuse('disk-only snapshots require at least one disk to be selected for snapshot');
  if ((internal.length > 0 || kept.memory === 'internal') && external.length > 0)
    refuse('mixing internal and external targets for a snapshot is not supported');
  if (kept.memory === 'external' && internal.length > 0)
    refuse('mixing internal and external targets for a snapshot is not supported');
}

function refuseInternal(disk: Disk, wanted: string): void {
  const format = disk.driver?.type ?? 'raw';
  const { dev } = disk.target;
  if (format !== 'qcow2')
    throw refused(
      wanted,
      dev,
      `internal snapshot for disk ${dev} unsupported for storage type ${format}`,
      'use an external snapshot (--disk-only, or --memory-file), or convert the disk to qcow2',
    );
  if (disk.source.type !== 'file' && disk.source.type !== 'block' && disk.source.type !== 'volume')
    throw refused(wanted, dev, `an internal snapshot of disk ${dev} needs a file or device of this host`);
}

function refused(wanted: string, path: string, message: string, hint?: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: message,
    ...(hint !== undefined && { hint }),
    details: { problems: [{ path, message }] },
  });
}
