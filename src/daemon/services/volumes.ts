/** Volumes of active pools: finding them, who depends on them, and what lies below them. */
import { errnoOf, isVirtError, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import { hasHeader } from '../../storage/directory/image-facts.ts';
import { describeOpenImage, type ImageDetails } from '../../storage/image-header/details.ts';
import type { ImageFile } from '../../storage/image-tools.ts';
import { openVolumeFile } from '../../storage/volume-file.ts';
import type { LivePool, Pool } from './pool.ts';
import type { PoolWorld } from './pool-world.ts';
import { type PlacedVolume, searchVolumes, volumeAt } from './volume-places.ts';
import { passphraseOf, secretFor } from './volume-secrets.ts';
import { usersOf, userText, type VolumeUser } from './volume-users.ts';
import { volumeXml } from './volume-view.ts';

/** A volume where it is. */
export type FoundVolume = PlacedVolume;

/** Images on top of each other, at most. */
const MAX_DEPTH = 200;

export class Volumes {
  private readonly world: PoolWorld;

  constructor(world: PoolWorld) {
    this.world = world;
  }

  /** Of an active pool, by name. @throws VirtError pool.inactive */
  list(pool: Pool): VolumeFacts[] {
    return [...pool.requireLive(`list the volumes of pool '${pool.name}'`).volumes.values()];
  }

  /** @throws VirtError pool.inactive, volume.not-found */
  find(pool: Pool, name: string): VolumeFacts {
    const found = pool.requireLive(`find volume '${name}'`).volumes.get(name);
    if (found !== undefined) return found;
    throw new VirtError('volume.not-found', {
      reason: `no storage volume with matching name '${name}' in pool '${pool.name}'`,
      hint: `'vireo volume list ${pool.name}' shows all; 'vireo pool refresh ${pool.name}' looks again`,
    });
  }

  /** By its path, in whatever active pool it is. @throws VirtError volume.not-found */
  findByPath(path: string): FoundVolume {
    const plain = path.replace(/\/{2,}/g, '/');
    return this.lookUp('path', plain, ({ path: its }) => its === plain);
  }

  /** @throws VirtError volume.not-found */
  findByKey(key: string): FoundVolume {
    return this.lookUp('key', key, ({ key: its }) => its === key);
  }

  /** The volume of a path; undefined when it is none of an active pool. */
  withPath(path: string): FoundVolume | undefined {
    return volumeAt(this.world.registry.all, path);
  }

  private lookUp(what: 'path' | 'key', text: string, fits: (volume: VolumeFacts) => boolean): FoundVolume {
    const found = searchVolumes(this.world.registry.all, text, fits);
    if (found !== undefined) return found;
    throw new VirtError('volume.not-found', { reason: `no storage volume with matching ${what} '${text}'` });
  }

  /** The uuid of the secret that is for the path of an encrypted volume. */
  secretOf(volume: VolumeFacts): string | undefined {
    return secretFor(this.world, volume);
  }

  /** As libvirt's document, with the secret that is for its path. */
  xml(volume: VolumeFacts): string {
    return volumeXml(volume, this.secretOf(volume));
  }

  /**
   * What the header of its image says, read now; undefined for formats without one, and where it cannot be read: what is
   * wrong with it is told by its `problem`.
   */
  async header(volume: VolumeFacts): Promise<ImageDetails | undefined> {
    if (!hasHeader(volume.format) && volume.format !== 'iso') return undefined;
    try {
      await using handle = await openVolumeFile(volume, 'read', `read volume '${volume.name}'`);
      return await describeOpenImage(handle, volume.format);
    } catch (error) {
      if (isVirtError(error) || errnoOf(error) !== undefined) return undefined;
      throw error;
    }
  }

  /** Domains that use it in whatever way, also through images on top of it, and volumes that lie on it. */
  async users({ pool, volume }: FoundVolume): Promise<VolumeUser[]> {
    return usersOf({ pool, volume }, this.world.registry.all, await this.world.disks.disks());
  }

  /** @throws VirtError volume.in-use, naming all users that count */
  async refuseUsed(found: FoundVolume, verb: string, counts: (user: VolumeUser) => boolean): Promise<void> {
    const users = (await this.users(found)).filter(counts);
    if (users.length === 0) return;
    const names = users.slice(0, 5).map((user) => userText(user));
    const more = users.length > names.length ? ` and ${users.length - names.length} more` : '';
    throw new VirtError('volume.in-use', {
      wanted: `${verb} volume '${found.volume.name}'`,
      reason: `${names.join(', ')}${more} ${users.length === 1 ? 'depends' : 'depend'} on it`,
      details: { users },
    });
  }

  /**
   * The volume with all layers below it, each a volume of an active pool in its known format: nothing is followed that
   * only a header says.
   * @throws VirtError definition.unsupported
   */
  imageOf(volume: VolumeFacts, depth = 1): ImageFile {
    const isEncrypted = volume.encryption === 'luks';
    const image = {
      ...{ path: volume.path, format: volume.format },
      ...(isEncrypted && { isEncrypted, passphrase: passphraseOf(this.world, volume) }),
    };
    const { backing, problem } = volume;
    if (problem !== undefined)
      throw new VirtError('definition.unsupported', {
        wanted: `read volume '${volume.name}'`,
        reason: problem,
        hint: "if you trust it, say what it is with 'vireo volume set-format'",
      });
    if (backing === undefined) return image;
    const below = this.withPath(backing.path);
    if (below === undefined || depth >= MAX_DEPTH)
      throw new VirtError('definition.unsupported', {
        wanted: `read volume '${volume.name}'`,
        reason:
          below === undefined
            ? `the image below it, ${backing.path}, is in no active pool`
            : 'too many images lie on top of each other',
        hint: 'start the pool of that image, or define one for its directory',
      });
    return { ...image, backing: this.imageOf(below.volume, depth + 1) };
  }

  /** Does `work` as the only job on a volume; it is told as events and can be called off. */
  async runJob<T>(
    pool: Pool,
    name: string,
    kind: string,
    work: (job: RunningJob, live: LivePool) => Promise<T>,
    options: { readonly isCancellable?: boolean; readonly unit?: 'bytes' } = {},
  ): Promise<T> {
    const live = pool.requireLive(`${kind} volume '${name}'`);
    const queue = live.volumeJobs.get(name) ?? new JobQueue(`volume '${name}'`, 'volume.busy');
    live.volumeJobs.set(name, queue);
    try {
      return await queue.run(
        kind,
        () => {
          if (pool.live !== live) pool.requireLive(`${kind} volume '${name}'`);
          const object = { type: 'volume', name, pool: pool.name } as const;
          return this.world.jobs.run({ kind, object, ...options }, (job) => work(job, live));
        },
        { waitMs: this.world.jobWaitMs },
      );
    } finally {
      if (queue.current === undefined) live.volumeJobs.delete(name);
    }
  }
}
