/** Guests from images of the catalogue: a disk on top of the image, a seed that tells it who may log in, and the domain. */
import { unlink } from 'node:fs/promises';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { writeDurable } from '../../base/files.ts';
import { parseImageReference } from '../../model/storage/image-reference.ts';
import { temporaryVolumePrefix } from '../../model/storage/names.ts';
import type { ImageTools } from '../../storage/image-tools.ts';
import { buildSeedIso, type SeedSpec } from '../../storage/seed-iso/nocloud.ts';
import type { Domain } from './domain.ts';
import type { CreateRequest, DiskRequest } from './domain-create.ts';
import type { DomainService } from './domain-service.ts';
import type { BaseImage, ImageService } from './images.ts';
import type { Pool } from './pool.ts';
import type { StorageService } from './storage-service.ts';

/** What a guest from an image is to be. */
export interface ImageRequest {
  /** `debian:13` */
  readonly name: string;
  readonly pool: string;
  /** What its disk is to be at least. */
  readonly sizeBytes: number;
  /** `linked`: only what differs from the image is stored. */
  readonly copy: 'linked' | 'full';
  readonly user?: string | undefined;
  readonly sshKeys: readonly string[];
  readonly passwordHash?: string | undefined;
  readonly packages: readonly string[];
  /** The whole user-data; then nothing of the above is. */
  readonly userData?: string | undefined;
}

export interface ImageGuest {
  readonly domain: Domain;
  readonly warnings: readonly string[];
  /** Who may log in. */
  readonly user: string;
  /** The volume that was pulled. */
  readonly base: BaseImage;
}

/** Files of one guest, and the way to take them away again. */
interface Disks {
  readonly requests: readonly DiskRequest[];
  readonly warnings: readonly string[];
  remove(): Promise<void>;
}

export class ImageGuests {
  private readonly storage: StorageService;
  private readonly images: ImageService;
  private readonly domains: DomainService;
  private readonly tools: ImageTools;

  constructor(parts: {
    readonly storage: StorageService;
    readonly images: ImageService;
    readonly domains: DomainService;
    readonly tools: ImageTools;
  }) {
    this.storage = parts.storage;
    this.images = parts.images;
    this.domains = parts.domains;
    this.tools = parts.tools;
  }

  /**
   * Makes a domain whose first disk lies on an image of the catalogue, which is pulled when it is not here. A domain that
   * belongs to its maker's connection (transient, autodestroy) gets files that have no name any more once it runs. When
   * anything fails what was made is taken away; the image stays.
   * @throws VirtError as ImageService.ensure and DomainCreation.create
   */
  async create(request: CreateRequest, image: ImageRequest, signal?: AbortSignal): Promise<ImageGuest> {
    const { name, arch } = request.spec;
    const asked = parseImageReference(image.name);
    const reference = arch === undefined || asked.arch !== undefined ? asked : { ...asked, arch };
    this.refuseTaken(name);
    refuseContradiction(name, image);
    await this.storage.whenUp();
    const base = await this.images.ensure(reference, image.pool, signal);
    const isThrowAway = request.transient && request.autodestroyOwner !== undefined;
    const disks = isThrowAway
      ? await this.throwAwayDisks(name, image, base)
      : await this.lastingDisks(name, image, base);
    try {
      const { domain, warnings } = await this.domains.creation.create({
        ...request,
        spec: { ...request.spec, ...forArch(request.spec, base.record.arch) },
        disks: [...disks.requests, ...request.disks],
      });
      // QEMU has them open by descriptors: with no name left, nothing can be left behind.
      if (isThrowAway) await disks.remove();
      return { domain, warnings: [...disks.warnings, ...warnings], user: image.user ?? base.user, base };
    } catch (error) {
      if (!this.isKnown(name)) await disks.remove();
      throw error;
    }
  }

  private isKnown(name: string): boolean {
    return this.domains.list().some((domain) => domain.name === name);
  }

  /** Before some hundred megabytes are fetched for it. */
  private refuseTaken(name: string): void {
    if (!this.isKnown(name)) return;
    throw new VirtError('domain.exists', {
      wanted: `create domain '${name}'`,
      reason: 'a domain of that name exists already',
    });
  }

  /** Volumes NAME.qcow2 and NAME-seed.iso in the pool. */
  private async lastingDisks(name: string, image: ImageRequest, base: BaseImage): Promise<Disks> {
    const { storage } = this;
    const { pool } = base.found;
    const made: string[] = [];
    const remove = async () => {
      for (const volume of made) await removeVolume(storage, pool, volume);
    };
    try {
      const disk = await this.diskVolume(`${name}.qcow2`, image, base);
      made.push(disk.volume.name);
      const bytes = buildSeedIso(seedOf(name, image), new Date());
      const seed = await storage.imports.fromBytes(pool, `${name}-seed.iso`, bytes, 'iso');
      made.push(seed.name);
      return {
        requests: requestsFor(disk.volume.path, seed.path),
        warnings: disk.warnings,
        remove,
      };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  private diskVolume(name: string, image: ImageRequest, base: BaseImage) {
    const { volumeCreation } = this.storage;
    const { pool, volume } = base.found;
    const capacityBytes = Math.max(image.sizeBytes, volume.capacityBytes);
    const target = { format: { type: 'qcow2' as const } };
    if (image.copy === 'full') return volumeCreation.clone(base.found, pool, { name, capacityBytes, target });
    const backingStore = { path: volume.path, format: { type: volume.format } };
    return volumeCreation.create(pool, { name, capacityBytes, allocationBytes: 0, target, backingStore });
  }

  /** Files that a daemon which dies before they have lost their names sweeps away at its next start. */
  private async throwAwayDisks(name: string, image: ImageRequest, base: BaseImage): Promise<Disks> {
    const { pool, volume } = base.found;
    const directory = pool.requireLive(`create domain '${name}'`).definition.target?.path;
    if (directory === undefined || volume.type !== 'file')
      throw new VirtError('definition.unsupported', {
        wanted: `create domain '${name}'`,
        reason: `pool '${pool.name}' is no directory, so it cannot hold throw-away files`,
        hint: 'name another pool',
      });
    const stem = `${directory}/${temporaryVolumePrefix}${nanoid(12)}`;
    const [disk, seed] = [`${stem}.qcow2`, `${stem}.iso`];
    const remove = async () => {
      for (const path of [disk, seed]) await removeFile(path);
    };
    try {
      const backing = { path: volume.path, format: volume.format };
      const capacityBytes = Math.max(image.sizeBytes, volume.capacityBytes);
      const layer = { name, format: 'qcow2' as const, capacityBytes, allocationBytes: 0 };
      if (image.copy === 'linked') await this.tools.create(disk, { ...layer, backing });
      else {
        await this.tools.copy(backing, disk, layer);
        const grown = { image: { path: disk, format: layer.format }, capacityBytes };
        await this.tools.resize({ ...grown, allocate: false, shrink: false });
      }
      await writeDurable(seed, buildSeedIso(seedOf(name, image), new Date()));
      return { requests: requestsFor(disk, seed), warnings: [], remove };
    } catch (error) {
      await remove();
      throw error;
    }
  }
}

/**
 * The seed is a disk and no CD-ROM: kernels for clouds have virtio drivers and no others, and cloud-init looks for the
 * label on whatever there is.
 */
function requestsFor(disk: string, seed: string): DiskRequest[] {
  return [
    { path: disk, format: 'qcow2', readonly: false },
    { path: seed, format: 'raw', readonly: true },
  ];
}

/** A guest of another architecture; boards of ARM have no BIOS. */
function forArch(
  spec: CreateRequest['spec'],
  arch: string,
): Partial<Pick<CreateRequest['spec'], 'arch' | 'firmware'>> {
  return { arch, ...(arch === 'aarch64' && spec.firmware !== 'efi' && { firmware: 'efi' as const }) };
}

/** What stands in the user-data cannot be said beside it. */
function refuseContradiction(name: string, image: ImageRequest): void {
  const { user, sshKeys, passwordHash, packages, userData } = image;
  if (userData === undefined) return;
  const given = { user, passwordHash, sshKeys: sshKeys[0], packages: packages[0] };
  const problems = Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([path]) => ({ path: `image.${path}`, message: 'stands in the user-data that is given' }));
  if (problems.length === 0) return;
  throw new VirtError('request.invalid', {
    wanted: `create domain '${name}'`,
    reason: problems.map(({ path, message }) => `${path}: ${message}`).join('; '),
    details: { problems },
  });
}

function seedOf(name: string, image: ImageRequest): SeedSpec {
  const { user, sshKeys, passwordHash, packages, userData } = image;
  const instanceId = `i-${nanoid(16).replace(/[^A-Za-z0-9]/g, 'x')}`;
  const hostname = hostNameOf(name);
  if (userData !== undefined) return { instanceId, hostname, userData };
  return {
    instanceId,
    hostname,
    user: {
      ...(user !== undefined && { name: user }),
      sshKeys,
      ...(passwordHash !== undefined && { passwordHash }),
    },
    packages,
  };
}

/** A domain's name as a label of RFC 1123. */
function hostNameOf(name: string): string {
  const label = name
    .replace(/[^A-Za-z0-9-]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  return label === '' ? 'guest' : label;
}

async function removeVolume(storage: StorageService, pool: Pool, name: string): Promise<void> {
  const volume = storage.volumes.find(pool, name);
  await storage.volumeChanges.delete({ pool, volume });
}

async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove a file', path);
  });
}
