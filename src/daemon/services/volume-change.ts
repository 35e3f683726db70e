/** Changing and deleting volumes. What a guest runs on is left alone. */
import { VirtError } from '../../base/errors.ts';
import type { VolumeFormat, WipeAlgorithm } from '../../model/storage/volume/volume.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import type { PoolRefresh } from './pool-refresh.ts';
import type { PoolWorld } from './pool-world.ts';
import type { InTrash, VolumeTrash } from './volume-trash.ts';
import { runs, runsOrLiesOn } from './volume-users.ts';
import type { FoundVolume, Volumes } from './volumes.ts';

export interface ResizeWish {
  readonly capacityBytes: number;
  readonly relative: 'no' | 'more' | 'less';
  readonly allocate: boolean;
  readonly shrink: boolean;
}

export interface DeleteOptions {
  /** Into the trash where the pool has one. */
  readonly keep?: boolean;
  /** Also what only domains use that do not run. */
  readonly evenOfStopped?: boolean;
}

export class VolumeChanges {
  private readonly world: PoolWorld;
  private readonly volumes: Volumes;
  private readonly refreshing: PoolRefresh;
  private readonly trash: VolumeTrash;

  constructor(world: PoolWorld, volumes: Volumes, refreshing: PoolRefresh, trash: VolumeTrash) {
    this.world = world;
    this.volumes = volumes;
    this.refreshing = refreshing;
    this.trash = trash;
  }

  /**
   * Deletes a volume that nobody depends on: for good, or with `keep` into the trash where the pool has one. With
   * `evenOfStopped`, domains that do not run are no hindrance, and keep a disk that is not there.
   * @throws VirtError volume.in-use, volume.busy, file.*
   */
  async delete(found: FoundVolume, options: DeleteOptions = {}): Promise<InTrash | undefined> {
    const { pool, volume } = found;
    await this.volumes.refuseUsed(
      found,
      'delete',
      options.evenOfStopped === true ? runsOrLiesOn : () => true,
    );
    return this.volumes.runJob(pool, volume.name, 'delete', async (_job, live) => {
      const now = this.volumes.find(pool, volume.name);
      const isKept = options.keep === true && now.type === 'file' && this.trash.keeps(pool);
      const kept = isKept ? await this.trash.put({ pool, volume: now }) : undefined;
      if (kept === undefined) await this.backend(found).deleteVolume(live.definition, now);
      await this.refreshing.look(pool, [volume.name]);
      return kept;
    });
  }

  /** @throws VirtError request.invalid for a smaller size without `shrink`, volume.in-use, file.no-space */
  async resize(found: FoundVolume, wish: ResizeWish): Promise<VolumeFacts> {
    const { pool, volume } = found;
    const wanted = `resize volume '${volume.name}'`;
    const backend = this.backend(found);
    if (!backend.can.resize)
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `volumes of a pool of type ${backend.type} cannot be resized`,
      });
    await this.volumes.refuseUsed(found, 'resize', runsOrLiesOn);
    await this.volumes.runJob(
      pool,
      volume.name,
      'resize',
      async (job, live) => {
        const now = this.volumes.find(pool, volume.name);
        const image = this.volumes.imageOf(now);
        const capacityBytes = newSize(now.capacityBytes, wish);
        refuseWrongSize(now, capacityBytes, wish, wanted);
        const request = { image, capacityBytes, allocate: wish.allocate, shrink: wish.shrink };
        const work = {
          signal: job.signal,
          onProgress: (done: number, total: number) => job.progress({ done, total }),
        };
        await backend.resizeVolume(live.definition, now, request, work);
        await this.refreshing.look(pool, [volume.name]);
      },
      { isCancellable: true, unit: 'bytes' },
    );
    return this.volumes.find(pool, volume.name);
  }

  /** @throws VirtError volume.in-use, operation.aborted, file.* */
  async wipe(found: FoundVolume, algorithm: WipeAlgorithm): Promise<void> {
    const { pool, volume } = found;
    await this.volumes.refuseUsed(found, 'wipe', runsOrLiesOn);
    await this.volumes.runJob(
      pool,
      volume.name,
      'wipe',
      async (job) => {
        await this.world.images.wipe({ path: volume.path }, algorithm, {
          signal: job.signal,
          onProgress: (done, total) => job.progress({ done, total }),
        });
        await this.refreshing.look(pool, [volume.name]);
      },
      { isCancellable: true, unit: 'bytes' },
    );
  }

  /** @throws VirtError volume.in-use, request.invalid */
  async setFormat(found: FoundVolume, format: VolumeFormat): Promise<VolumeFacts> {
    const { pool, volume } = found;
    if (volume.type !== 'file')
      throw new VirtError('request.invalid', {
        wanted: `set the format of volume '${volume.name}'`,
        reason: 'only files have a format that must be remembered',
      });
    await this.volumes.refuseUsed(found, 'set the format of', runs);
    await this.volumes.runJob(pool, volume.name, 'set format', () =>
      this.refreshing.remember(pool, volume.name, format, 'told'),
    );
    return this.volumes.find(pool, volume.name);
  }

  private backend({ pool }: FoundVolume) {
    return this.world.backends(pool.requireLive('change a volume').definition.type);
  }
}

function newSize(nowBytes: number, { capacityBytes, relative }: ResizeWish): number {
  if (relative === 'no') return capacityBytes;
  return relative === 'more' ? nowBytes + capacityBytes : nowBytes - capacityBytes;
}

function refuseWrongSize(volume: VolumeFacts, capacityBytes: number, wish: ResizeWish, wanted: string): void {
  const refuse = (reason: string, hint?: string) => {
    throw new VirtError('request.invalid', { wanted, reason, ...(hint !== undefined && { hint }) });
  };
  if (capacityBytes < 1 || capacityBytes > Number.MAX_SAFE_INTEGER) refuse('the new size is out of range');
  if (capacityBytes < volume.capacityBytes && !wish.shrink)
    refuse(
      `it has ${volume.capacityBytes} bytes, and would lose what lies beyond ${capacityBytes}`,
      "shrink the file system in it first, then say so with 'shrink' (--shrink)",
    );
  if (capacityBytes < volume.capacityBytes && wish.allocate) refuse('a smaller volume takes no more space');
}
