/** Pools and volumes as this API shows them: summaries and details made of the service's objects. */
import type { Result } from '../../../api/index.ts';
import type { VolumeFacts } from '../../../storage/backend.ts';
import type { ImageDetails } from '../../../storage/image-header/details.ts';
import type { Pool } from '../../services/pool.ts';
import { promisedOf, shownFacts } from '../../services/pool-world.ts';
import type { InTrash } from '../../services/volume-trash.ts';
import type { VolumeUser } from '../../services/volume-users.ts';
import type { FoundVolume } from '../../services/volumes.ts';

type PoolSummary = Result<'pool.list'>['pools'][number];
type VolumeSummary = Result<'volume.list'>['volumes'][number];

export function poolSummaryOf(pool: Pool): PoolSummary {
  const { type, path, source } = shownFacts(pool);
  const { live } = pool;
  return {
    ...pool.identity,
    type,
    active: pool.isActive,
    persistent: pool.isPersistent,
    autostart: pool.autostart,
    path: path ?? null,
    source: source ?? null,
    capacityBytes: live?.space.capacityBytes ?? null,
    allocationBytes: live?.space.allocationBytes ?? null,
    availableBytes: live?.space.availableBytes ?? null,
    promisedBytes: live === undefined ? null : promisedOf(live),
    volumes: live?.volumes.size ?? null,
    job: jobOf(pool.jobs.current),
  };
}

function jobOf(job: { readonly name: string; readonly startedAtMs: number } | undefined): PoolSummary['job'] {
  return job === undefined ? null : { name: job.name, startedAt: isoTime(job.startedAtMs) };
}

const isoTime = (ms: number): string => new Date(ms).toISOString();

export function poolDetailsOf(pool: Pool, trash: readonly InTrash[] | undefined): Result<'pool.get'> {
  const { live } = pool;
  return {
    ...poolSummaryOf(pool),
    startedAt: live === undefined ? null : isoTime(live.startedAtMs),
    refreshedAt: live === undefined ? null : isoTime(live.refreshedAtMs),
    trash: trash === undefined ? null : trashSumOf(trash),
  };
}

function trashSumOf(trash: readonly InTrash[]): NonNullable<Result<'pool.get'>['trash']> {
  const allocationBytes = trash.reduce((sum, volume) => sum + volume.allocationBytes, 0);
  return { volumes: trash.length, allocationBytes };
}

export function trashedOf({
  deletedAtMs,
  untilMs,
  ...volume
}: InTrash): Result<'volume.trash-list'>['volumes'][number] {
  return { ...volume, deletedAt: isoTime(deletedAtMs), until: isoTime(untilMs) };
}

export function volumeSummaryOf(pool: Pool, volume: VolumeFacts): VolumeSummary {
  const { name, key, path, type, format, capacityBytes, allocationBytes, problem } = volume;
  return {
    ...{ name, key, path, type, format, capacityBytes, allocationBytes },
    pool: pool.name,
    problem: problem ?? null,
  };
}

export function volumeDetailsOf(
  { pool, volume }: FoundVolume,
  users: readonly VolumeUser[],
  header: ImageDetails | undefined,
): Result<'volume.get'> {
  const { permissions, timestamps, backing } = volume;
  const modified = Number(timestamps?.mtime ?? Number.NaN);
  return {
    ...volumeSummaryOf(pool, volume),
    physicalBytes: volume.physicalBytes,
    mode: permissions?.mode ?? null,
    owner: permissions?.owner ?? null,
    group: permissions?.group ?? null,
    modifiedAt: Number.isFinite(modified) ? isoTime(modified * 1000) : null,
    backing: backing === undefined ? null : { path: backing.path, format: backing.format ?? null },
    encryption: volume.encryption ?? null,
    compat: volume.compat ?? null,
    clusterSizeBytes: volume.clusterSizeBytes ?? null,
    lazyRefcounts: volume.lazyRefcounts === true,
    extendedL2: volume.extendedL2 === true,
    header: header === undefined ? null : headerOf(header),
    usedBy: users.map(({ type, name, pool: of, isActive, as }) => ({
      ...{ type, name, as: [...as] },
      pool: of ?? null,
      active: isActive,
    })),
    job: jobOf(pool.live?.volumeJobs.get(volume.name)?.current),
  };
}

function headerOf(header: ImageDetails): NonNullable<Result<'volume.get'>['header']> {
  const { virtualBytes, backing, encryption, extents = [], features = [], bootsOn, isTruncated } = header;
  return {
    virtualBytes,
    kind: header.kind ?? null,
    clusterBytes: header.clusterBytes ?? null,
    refcountBits: header.refcountBits ?? null,
    backing: backing === undefined ? null : { name: backing.name, format: backing.format ?? null },
    dataFile: header.dataFile ?? null,
    extents: [...extents],
    encryption:
      encryption === undefined ? null : { method: encryption.method, cipher: encryption.cipher ?? null },
    snapshots: header.snapshots ?? null,
    bitmaps: header.bitmaps ?? null,
    compression: header.compression ?? null,
    features: [...features],
    label: header.label ?? null,
    uuid: header.uuid ?? null,
    bootsOn: bootsOn === undefined ? null : [...bootsOn],
    truncated: isTruncated === true,
  };
}
