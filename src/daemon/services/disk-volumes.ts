/** Volumes as disks of domains: made with a new domain, and deleted with one that goes. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { SpecDisk } from '../../model/domain/profile.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { Pool } from './pool.ts';
import type { StorageService } from './storage-service.ts';
import type { InTrash } from './volume-trash.ts';
import type { FoundVolume } from './volumes.ts';

/** A disk that is to be a volume. */
export interface VolumeDiskRequest {
  /** The new domain's name: a volume that nobody names is called after it. */
  readonly domain: string;
  readonly pool: string;
  readonly volume?: string | undefined;
  readonly format?: VolumeFormat | undefined;
  /** Make it when it is not there. */
  readonly createBytes?: number | undefined;
  /** What opens it, or is to open it; without it, the secret that is for its path. */
  readonly secret?: DiskSecret | undefined;
}

/** As `<secret type='passphrase'>` names one. */
type DiskSecret = NonNullable<SpecDisk['secret']>;

export interface VolumeDisk {
  readonly pool: string;
  readonly volume: string;
  readonly path: string;
  readonly format: VolumeFormat;
  readonly warnings: readonly string[];
  readonly secret: DiskSecret | undefined;
  /** Takes the volume away again, if it was made here. */
  readonly undo: () => Promise<void>;
}

/** What making domains asks of storage. */
export interface DiskVolumes {
  /** @throws VirtError pool.*, volume.not-found, request.invalid, file.no-space */
  prepare(request: VolumeDiskRequest): Promise<VolumeDisk>;
}

export function diskVolumes(storage: StorageService): DiskVolumes {
  return {
    async prepare(request) {
      await storage.whenUp();
      const pool = storage.find(request.pool);
      const live = pool.requireLive(`use a volume of pool '${pool.name}'`);
      const { volume } = request;
      if (volume !== undefined && live.volumes.has(volume))
        return existing(storage, pool, volume, request.secret);
      if (request.createBytes === undefined) {
        if (volume !== undefined) storage.volumes.find(pool, volume); // Tells that there is none.
        throw new VirtError('request.invalid', {
          wanted: `make a disk in pool '${pool.name}'`,
          reason: 'neither a volume nor a size is given',
          hint: 'give a size to make one',
        });
      }
      const format = request.format ?? (filesIn(pool) ? 'qcow2' : 'raw');
      const name = volume ?? freeName(request.domain, format, pool, new Set(live.volumes.keys()));
      return make(storage, pool, {
        name,
        format,
        capacityBytes: request.createBytes,
        secret: request.secret,
      });
    },
  };
}

const filesIn = (pool: Pool): boolean => ['dir', 'fs', 'netfs'].includes(pool.live?.definition.type ?? 'dir');

function existing(
  storage: StorageService,
  pool: Pool,
  name: string,
  secret: DiskSecret | undefined,
): VolumeDisk {
  const volume = storage.volumes.find(pool, name);
  const { path, format, problem } = volume;
  if (problem !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted: `use volume '${pool.name}/${name}'`,
      reason: problem,
      hint: `if you trust it, say what it is with 'vireo volume set-format ${pool.name}/${name}'`,
    });
  const own = storage.volumes.secretOf(volume);
  return {
    ...{ pool: pool.name, volume: name, path, format, warnings: [] },
    secret: secret ?? (own === undefined ? undefined : { uuid: own }),
    undo: () => Promise.resolve(),
  };
}

async function make(
  storage: StorageService,
  pool: Pool,
  wish: {
    readonly name: string;
    readonly format: VolumeFormat;
    readonly capacityBytes: number;
    readonly secret: DiskSecret | undefined;
  },
): Promise<VolumeDisk> {
  const { name, format, capacityBytes, secret } = wish;
  const { volume, warnings } = await storage.volumeCreation.create(pool, {
    name,
    capacityBytes,
    allocationBytes: 0,
    target: {
      format: { type: format },
      ...(secret && { encryption: { format: 'luks', secrets: [{ type: 'passphrase', ...secret }] } }),
    },
  });
  const undo = async () => {
    await storage.volumeChanges.delete({ pool, volume });
  };
  return { pool: pool.name, volume: name, path: volume.path, format: volume.format, warnings, secret, undo };
}

/** `web.qcow2`, then `web-1.qcow2`: the names that virt-install gives. */
function freeName(domain: string, format: string, pool: Pool, taken: ReadonlySet<string>): string {
  const suffix = filesIn(pool) ? `.${format === 'raw' ? 'img' : format}` : '';
  const busy = new Set([...taken, ...(pool.live?.volumeJobs.keys() ?? [])]);
  for (let number = 0; ; number++) {
    const name = `${domain}${number === 0 ? '' : `-${number}`}${suffix}`;
    if (!busy.has(name)) return name;
  }
}

/** What became of the disks of a domain that was forgotten. */
export interface RemovedStorage {
  readonly removed: readonly {
    readonly pool: string;
    readonly volume: string;
    readonly trash: InTrash | undefined;
  }[];
  /** Disks that were left alone, and why. */
  readonly kept: readonly { readonly path: string; readonly reason: string }[];
}

/** The volumes that a domain writes to and nobody shares, and what else its disks are on. */
export function storageOf(storage: StorageService, { devices }: DomainDef) {
  const volumes: FoundVolume[] = [];
  const kept: { path: string; reason: string }[] = [];
  for (const { device, source, readonly, shareable } of devices.disks) {
    if (device !== 'disk') continue;
    const path = textOf(source);
    if (path === undefined) continue;
    const found = volumeOf(storage, source);
    if (readonly || shareable) kept.push({ path, reason: readonly ? 'it is read-only' : 'it is shared' });
    else if (found === undefined) kept.push({ path, reason: 'it is no volume of an active pool' });
    else volumes.push(found);
  }
  return { volumes, kept };
}

function textOf(source: DomainDef['devices']['disks'][number]['source']): string | undefined {
  if (source.type === 'file') return source.file;
  if (source.type === 'block') return source.dev;
  return source.type === 'volume' && source.pool !== undefined
    ? `${source.pool}/${source.volume ?? ''}`
    : undefined;
}

function volumeOf(
  storage: StorageService,
  source: DomainDef['devices']['disks'][number]['source'],
): FoundVolume | undefined {
  if (source.type === 'file' && source.file !== undefined) return storage.volumes.withPath(source.file);
  if (source.type === 'block' && source.dev !== undefined) return storage.volumes.withPath(source.dev);
  if (source.type !== 'volume' || source.pool === undefined) return undefined;
  const pool = storage.withName(source.pool);
  const volume = pool?.live?.volumes.get(source.volume ?? '');
  return pool && volume && { pool, volume };
}

/** Deletes them, into the trash where there is one. What others depend on is kept and told. */
export async function removeStorage(
  storage: StorageService,
  { volumes, kept }: ReturnType<typeof storageOf>,
  options: { readonly keep: boolean },
): Promise<RemovedStorage> {
  const removed: RemovedStorage['removed'][number][] = [];
  const left = [...kept];
  for (const found of volumes) {
    try {
      const trash = await storage.volumeChanges.delete(found, options);
      removed.push({ pool: found.pool.name, volume: found.volume.name, trash });
    } catch (error) {
      if (!isVirtError(error)) throw error;
      left.push({ path: found.volume.path, reason: reasonOf(error) });
    }
  }
  return { removed, kept: left };
}
