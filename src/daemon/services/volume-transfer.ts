/** Uploads and downloads of volumes, as many at a time as there is room for. */
import { VirtError } from '../../base/errors.ts';
import type { Pool } from './pool.ts';
import type { PoolRefresh } from './pool-refresh.ts';
import type { PoolWorld } from './pool-world.ts';
import { beginDownload, type DownloadWish, type StartedDownload } from './volume-download.ts';
import { type StartedUpload, type UploadWish, VolumeUploads } from './volume-upload.ts';
import type { FoundVolume, Volumes } from './volumes.ts';

/** Each has buffers of some MiB, a descriptor and a turn in the pool of threads; a client may begin them and then sit still. */
export const MAX_TRANSFERS = 64;

export class VolumeTransfers {
  private readonly volumes: Volumes;
  private readonly uploads: VolumeUploads;
  private underWay = 0;

  constructor(world: PoolWorld, volumes: Volumes, refreshing: PoolRefresh) {
    this.volumes = volumes;
    this.uploads = new VolumeUploads(world, volumes, refreshing);
  }

  /**
   * Begins an upload. Without an offset the volume has its old bytes, or is not there, until all have come.
   * @throws VirtError request.busy, volume.exists, volume.in-use, volume.busy, request.invalid, file.*
   */
  upload(pool: Pool, name: string, wish: UploadWish): Promise<StartedUpload> {
    const begin = () => this.uploads.upload(pool, name, wish);
    return this.count(`upload volume '${name}'`, begin, ({ finished }) => finished);
  }

  /** Begins a download. @throws VirtError request.busy, volume.busy, request.invalid, file.* */
  download(found: FoundVolume, wish: DownloadWish): Promise<StartedDownload> {
    const begin = () => beginDownload(this.volumes, found, wish);
    return this.count(`download volume '${found.volume.name}'`, begin, ({ ended }) => ended);
  }

  /** Begins one if there is room, and has the room back at its end. @throws VirtError request.busy */
  private async count<T>(
    wanted: string,
    begin: () => Promise<T>,
    endOf: (started: T) => Promise<unknown>,
  ): Promise<T> {
    if (this.underWay >= MAX_TRANSFERS)
      throw new VirtError('request.busy', {
        wanted,
        reason: `${MAX_TRANSFERS} uploads and downloads are under way`,
        hint: "wait for one to end, or call one off: 'vireo job list'",
      });
    this.underWay += 1;
    const release = () => {
      this.underWay -= 1;
    };
    try {
      const started = await begin();
      endOf(started).then(release, release);
      return started;
    } catch (error) {
      release();
      throw error;
    }
  }
}
