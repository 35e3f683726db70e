/** Images of the catalogue: found at their distributions, pulled into a pool once, checked before each use. */
import { lstat } from 'node:fs/promises';
import { fileError, isVirtError, VirtError } from '../../base/errors.ts';
import { SharedWork } from '../../base/shared-work.ts';
import {
  type DistributionName,
  formatImageReference,
  type ImageReference,
} from '../../model/storage/image-reference.ts';
import { distributions } from '../../storage/catalogue/distributions.ts';
import {
  archOf,
  type CatalogueImage,
  knownRelease,
  mirrorOf,
  resolveImage,
} from '../../storage/catalogue/resolve.ts';
import { byVersion } from '../../storage/catalogue/sums.ts';
import { hashFile } from '../../storage/download/checksum.ts';
import { getText } from '../../storage/download/request.ts';
import type { UrlPolicy } from '../../storage/download/url.ts';
import type { PulledImage, PulledImages } from '../state/pulled-images.ts';
import type { Pool } from './pool.ts';
import type { StorageService } from './storage-service.ts';
import type { FoundVolume } from './volumes.ts';

export interface ImageServiceOptions {
  readonly storage: StorageService;
  readonly records: PulledImages;
  readonly mirrors: Readonly<Partial<Record<DistributionName, string | undefined>>>;
  readonly policy: UrlPolicy;
  /** libvirt's name of the host's architecture. */
  readonly hostArch: string;
}

/** An image that is here. */
export interface BaseImage {
  readonly record: PulledImage;
  readonly found: FoundVolume;
  /** Who cloud-init makes when nobody is named. */
  readonly user: string;
  /** False when it was here before. */
  readonly isNew: boolean;
}

/** A version of a distribution in the catalogue. */
export interface CatalogueEntry {
  readonly distribution: DistributionName;
  readonly version: string;
  readonly aliases: readonly string[];
  readonly title: string;
  readonly user: string;
  readonly architectures: readonly string[];
  readonly mirror: string;
  /** Those that are here, the newest first. */
  readonly pulled: readonly (PulledImage & { readonly poolName: string })[];
}

/** Index files are lists of some dozens of names. */
const MAX_INDEX_BYTES = 8 * 1024 * 1024;
/** Read by everybody, written by nobody: others lie on top of it. */
const BASE_MODE = 0o444;

export class ImageService {
  private readonly options: ImageServiceOptions;
  private readonly pulls = new SharedWork<BaseImage>();

  constructor(options: ImageServiceOptions) {
    this.options = options;
  }

  /** The catalogue, with what of it is here. Asks no server. */
  async list(): Promise<CatalogueEntry[]> {
    const pulled = await this.present();
    const names = Object.keys(distributions) as DistributionName[];
    return names.flatMap((name) => {
      const { title, user, architectures, releases, latest } = distributions[name];
      const own = pulled.filter(({ record }) => record.distribution === name);
      const listed = new Set(releases.map(({ version }) => version));
      const others = [...new Set(own.map(({ record }) => record.version))].filter((one) => !listed.has(one));
      const all = [...releases, ...others.sort(byVersion).map((version) => ({ version, aliases: [] }))];
      return all.map(({ version, aliases }, index) => ({
        distribution: name,
        version,
        aliases: index === 0 && latest === undefined ? [...aliases, 'latest'] : aliases,
        ...{ title, user, architectures: Object.keys(architectures), mirror: mirrorOf(name, this.options) },
        pulled: own
          .filter(({ record }) => record.version === version)
          .map(({ record, found }) => ({ ...record, poolName: found.pool.name })),
      }));
    });
  }

  /**
   * The image as the distribution publishes it now: pulled when it is not here yet.
   * @throws VirtError image.not-found, download.*, image.unsafe, pool.*, file.*
   */
  async pull(reference: ImageReference, poolName: string, signal?: AbortSignal): Promise<BaseImage> {
    const pool = this.options.storage.find(poolName);
    const image = await this.resolve(reference, signal);
    const key = `${pool.uuid} ${image.url} ${image.checksum.hex}`;
    return this.pulls.run(key, (shared) => this.pullOnce(pool, image, shared), signal);
  }

  /**
   * The image that is here, or else as `pull`.
   * @throws VirtError as pull
   */
  async ensure(reference: ImageReference, poolName: string, signal?: AbortSignal): Promise<BaseImage> {
    const pool = this.options.storage.find(poolName);
    const arch = archOf(reference, this.options.hostArch);
    const version = knownRelease(reference)?.version;
    const here = (await this.present()).filter(
      ({ record, found }) =>
        found.pool === pool &&
        record.distribution === reference.distribution &&
        record.arch === arch &&
        (version === undefined || record.version === version),
    );
    // Where only the server knows the latest, the highest that is here stands for it.
    if (version === undefined) here.sort((a, b) => byVersion(b.record.version, a.record.version));
    const [best] = here;
    if (best === undefined) return this.pull(reference, poolName, signal);
    return this.checked(best.record, best.found, signal);
  }

  private resolve(reference: ImageReference, signal: AbortSignal | undefined): Promise<CatalogueImage> {
    const { mirrors, hostArch } = this.options;
    const wanted = `find the image '${formatImageReference(reference)}'`;
    return resolveImage(reference, {
      mirrors,
      hostArch,
      fetchText: (url, name) =>
        getText(url, { policy: this.policyFor(name), wanted, signal, maxBytes: MAX_INDEX_BYTES }),
    });
  }

  /** A mirror in the configuration is vouched for by whoever wrote it there; what it redirects to is not. */
  private policyFor(name: DistributionName): UrlPolicy {
    return { allowed: [`${mirrorOf(name, this.options)}/`, ...this.options.policy.allowed] };
  }

  private async pullOnce(pool: Pool, image: CatalogueImage, signal: AbortSignal): Promise<BaseImage> {
    const { storage, records } = this.options;
    const checksum = `${image.checksum.algorithm}:${image.checksum.hex}`;
    const same = (await this.present()).find(
      ({ record, found }) => found.pool === pool && record.checksum === checksum,
    );
    if (same !== undefined) return this.checked(same.record, same.found, signal);
    const { distribution, version, arch, url, user } = image;
    const name = `${distribution}-${version}-${arch}-${image.checksum.hex.slice(0, 12)}.qcow2`;
    await this.refuseUnknown(pool, name);
    const wish = { name, format: 'qcow2', checksum: image.checksum, mode: BASE_MODE } as const;
    const policy = this.policyFor(distribution);
    const made = await storage.imports.fromUrl(pool, wish, { url, policy, signal });
    const { path } = made.volume;
    // Of the file as it lies there: it may have been unpacked or converted.
    const sha256 = await hashFile(path, 'sha256', signal);
    const record: PulledImage = {
      format: 1,
      ...{ distribution, version, arch, url, checksum, sha256 },
      pool: pool.uuid,
      volume: name,
      sizeBytes: made.volume.physicalBytes,
      pulledAtMs: Date.now(),
      stamp: await stampOf(path),
    };
    await records.save(record);
    return { record, found: { pool, volume: made.volume }, user, isNew: true };
  }

  /** A volume of that name that is in no record was not pulled by us, or the daemon died before it could say so. */
  private async refuseUnknown(pool: Pool, name: string): Promise<void> {
    const { storage } = this.options;
    try {
      storage.volumes.find(pool, name);
    } catch (error) {
      if (isVirtError(error, 'volume.not-found')) return;
      throw error;
    }
    throw new VirtError('volume.exists', {
      wanted: `pull '${name}'`,
      reason: `pool '${pool.name}' has a volume of that name, which is in no record of pulled images`,
      hint: `delete it: 'vireo volume delete ${pool.name}/${name}'`,
    });
  }

  /** Those whose volume is still there. Records of others are forgotten, where the pool is up to tell. */
  private async present(): Promise<{ readonly record: PulledImage; readonly found: FoundVolume }[]> {
    const { storage, records } = this.options;
    const present: { record: PulledImage; found: FoundVolume }[] = [];
    for (const record of await records.all()) {
      try {
        const pool = storage.find(record.pool);
        present.push({ record, found: { pool, volume: storage.volumes.find(pool, record.volume) } });
      } catch (error) {
        if (isVirtError(error, 'volume.not-found')) await records.remove(record);
        else if (!isVirtError(error)) throw error; // The pool is not active, or gone: not here.
      }
    }
    return present;
  }

  /** @throws VirtError download.checksum when the file is not what was pulled */
  private async checked(
    record: PulledImage,
    found: FoundVolume,
    signal: AbortSignal | undefined,
  ): Promise<BaseImage> {
    const { path } = found.volume;
    const { user } = distributions[record.distribution];
    const stamp = await stampOf(path);
    if (stamp === record.stamp) return { record, found, user, isNew: false };
    const sha256 = await hashFile(path, 'sha256', signal);
    if (sha256 !== record.sha256)
      throw new VirtError('download.checksum', {
        wanted: `use the image '${formatImageReference(record)}'`,
        reason: `its file ${path} was changed after it was pulled`,
        hint: `delete it and pull it again: 'vireo volume delete ${found.pool.name}/${record.volume}'`,
        details: { expected: record.sha256, found: sha256 },
      });
    const seen = { ...record, stamp };
    await this.options.records.save(seen);
    return { record: seen, found, user, isNew: false };
  }
}

/** What says that a file is still the one that was hashed. */
async function stampOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = await lstat(path);
    return [dev, ino, size, mtimeMs, ctimeMs].join(':');
  } catch (error) {
    throw fileError(error, 'look at an image', path);
  }
}
