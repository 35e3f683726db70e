/** Disks that name a pool and a volume: they become the file or device that the volume is, at each start anew. */
import { VirtError } from '../../base/errors.ts';
import type { BackingStore, Disk } from '../../model/domain/devices/disk.ts';
import type { DiskSource } from '../../model/domain/devices/source.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { VolumeFinder, VolumePlace } from '../driver.ts';

type VolumeSource = Extract<DiskSource, { readonly type: 'volume' }>;
type LocalSource = Extract<DiskSource, { readonly type: 'file' | 'block' }>;

interface Way {
  readonly domain: string;
  /** @throws VirtError with what is wrong with the volume */
  readonly find: (source: VolumeSource, purpose: string) => Promise<VolumePlace>;
  readonly onDrop?: (volume: string) => void;
}

/**
 * The definition with paths in place of volumes. `onDrop` is told of each optional one (startupPolicy) that is not there:
 * its drive stays empty, a hard disk is left out. Without it (a disk for a guest that runs) all have to be there.
 * @throws VirtError pool.not-found, pool.inactive, volume.not-found, volume.busy, definition.unsupported
 */
export function withVolumePaths(
  definition: DomainDef,
  finder: VolumeFinder | undefined,
  { wanted, onDrop }: { readonly wanted: string; readonly onDrop?: (volume: string) => void },
): Promise<DomainDef> {
  const find = async (source: VolumeSource, purpose: string): Promise<VolumePlace> => {
    const { pool = '', volume = '' } = source;
    try {
      if (finder === undefined) throw new VirtError('pool.not-found', { reason: 'there are no pools here' });
      return await finder.find({ pool, volume });
    } catch (error) {
      if (!(error instanceof VirtError)) throw error;
      throw new VirtError(error.code, {
        wanted,
        reason: `${purpose}: volume '${pool}/${volume}': ${error.reason}`,
        ...(error.hint !== undefined && { hint: error.hint }),
        details: { ...error.details, pool, volume, problems: [{ path: purpose, message: error.reason }] },
        cause: error,
      });
    }
  };
  return replaced(definition, { domain: definition.name, find, ...(onDrop && { onDrop }) });
}

/** The same for display, and for the check of a definition: a volume that is not there now has a path that says so. */
export function withVolumePathsForDisplay(
  definition: DomainDef,
  finder: VolumeFinder | undefined,
): Promise<DomainDef> {
  const find = async ({ pool = '', volume = '' }: VolumeSource): Promise<VolumePlace> => {
    try {
      if (finder !== undefined) return await finder.find({ pool, volume });
    } catch (error) {
      if (!(error instanceof VirtError)) throw error;
    }
    return { path: `/volume/${pool}/${volume}`, type: 'file', format: undefined };
  };
  return replaced(definition, { domain: definition.name, find });
}

async function replaced(definition: DomainDef, way: Way): Promise<DomainDef> {
  const { devices } = definition;
  if (!devices.disks.some((disk) => namesVolume(disk))) return definition;
  const disks: Disk[] = [];
  for (const [index, disk] of devices.disks.entries()) {
    const found = await replacedDisk(disk, `devices.disk[${index}]`, way);
    if (found !== undefined) disks.push(found);
  }
  return { ...definition, devices: { ...devices, disks } };
}

function namesVolume({ source, backingStore }: Disk): boolean {
  const layers: DiskSource[] = [source];
  for (let below = backingStore; below; below = below.backingStore) layers.push(below.source);
  return layers.some((layer) => layer.type === 'volume');
}

async function replacedDisk(disk: Disk, path: string, way: Way): Promise<Disk | undefined> {
  const backingStore = disk.backingStore && (await replacedStore(disk.backingStore, path, way));
  const lower = disk.backingStore === undefined ? {} : { backingStore: backingStore ?? null };
  const { source } = disk;
  if (source.type !== 'volume' || source.pool === undefined) return { ...disk, ...lower };
  try {
    const place = await way.find(checked(source, way.domain, `${path}.source`), `${path}.source`);
    const type = disk.driver?.type ?? driverType(place);
    return {
      ...disk,
      ...lower,
      source: localSource(source, place),
      ...(type !== undefined && { driver: { ...disk.driver, type } }),
    };
  } catch (error) {
    if (source.startupPolicy !== 'optional' || way.onDrop === undefined || !isMissing(error)) throw error;
    way.onDrop(`${source.pool}/${source.volume ?? ''}`);
    const isDrive = disk.device === 'cdrom' || disk.device === 'floppy';
    return isDrive ? { ...disk, source: { type: 'file', slices: [], seclabels: [] } } : undefined;
  }
}

async function replacedStore(store: BackingStore, path: string, way: Way): Promise<BackingStore> {
  const at = `${path}.backingStore`;
  const below = store.backingStore && (await replacedStore(store.backingStore, at, way));
  const lower = store.backingStore === undefined ? store : { ...store, backingStore: below ?? null };
  const { source } = store;
  if (source.type !== 'volume') return lower;
  const place = await way.find(checked(source, way.domain, `${at}.source`), `${at}.source`);
  return { ...lower, source: localSource(source, place) };
}

/** What QEMU sees as plain bytes: a CD's, and those that LUKS encrypts, which the definition's <encryption> says. */
function driverType({ format }: VolumePlace): NonNullable<Disk['driver']>['type'] {
  return format === 'iso' || format === 'luks' ? 'raw' : format;
}

function isMissing(error: unknown): boolean {
  const codes: readonly string[] = ['pool.not-found', 'pool.inactive', 'volume.not-found'];
  return error instanceof VirtError && codes.includes(error.code);
}

function checked(source: VolumeSource, domain: string, purpose: string): VolumeSource {
  const problem =
    source.mode === 'direct'
      ? "mode 'direct' is not supported: QEMU opens no iSCSI connection by itself here"
      : source.volume === undefined
        ? 'volume is missing'
        : undefined;
  if (problem === undefined) return source;
  throw new VirtError('definition.unsupported', {
    wanted: `use the disks of '${domain}'`,
    reason: `${purpose}: ${problem}`,
    details: { problems: [{ path: purpose, message: problem }] },
  });
}

/** The path keeps all that was said of the volume besides its name. */
function localSource(source: VolumeSource, place: VolumePlace): LocalSource {
  const { type: _type, pool: _pool, volume: _volume, mode: _mode, ...rest } = source;
  return place.type === 'block'
    ? { ...rest, type: 'block', dev: place.path }
    : { ...rest, type: 'file', file: place.path };
}

/** The definition as it runs, with its volumes by name again; `given` is the one before they became paths. */
export function withVolumeNames(live: DomainDef, given: DomainDef): DomainDef {
  const { devices } = live;
  const disks = devices.disks.map((disk): Disk => {
    const before = given.devices.disks.find(({ target }) => target.dev === disk.target.dev);
    return before === undefined ? disk : withVolumeName(disk, before);
  });
  return { ...live, devices: { ...devices, disks } };
}

/** One disk with its volumes by name again; `before` is the one that was given. */
export function withVolumeName(disk: Disk, before: Disk): Disk {
  return namesVolume(before) ? named(disk, before) : disk;
}

function named(disk: Disk, before: Disk): Disk {
  const store = disk.backingStore && namedStore(disk.backingStore, before.backingStore);
  return { ...disk, source: namedSource(disk.source, before.source), ...(store && { backingStore: store }) };
}

function namedStore(store: BackingStore, before: BackingStore | null | undefined): BackingStore {
  if (!before) return store;
  const below = store.backingStore && namedStore(store.backingStore, before.backingStore);
  return {
    ...store,
    source: namedSource(store.source, before.source),
    ...(below && { backingStore: below }),
  };
}

/** Its number as a block node stays. A drive that was left empty stays empty. */
function namedSource(source: DiskSource, before: DiskSource): DiskSource {
  if (before.type !== 'volume') return source;
  if (source.type !== 'file' && source.type !== 'block') return source;
  const isEmpty = source.type === 'file' && source.file === undefined;
  return isEmpty ? source : { ...before, index: source.index };
}
