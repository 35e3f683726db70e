/** Making volumes: from a description, from a few words, and as copies of others. */
import { VirtError } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import { type ParseMode, throwProblems } from '../../base/xml/codec.ts';
import { validateNewVolume } from '../../model/storage/volume/validate.ts';
import { parseVolume, type VolumeDef } from '../../model/storage/volume/volume.ts';
import type { NewVolume, VolumeFacts, Work } from '../../storage/backend.ts';
import type { Passphrase } from '../../storage/passphrase.ts';
import type { LivePool, Pool } from './pool.ts';
import type { PoolRefresh } from './pool-refresh.ts';
import { type PoolWorld, promisedOf } from './pool-world.ts';
import { imageEncryption } from './volume-secrets.ts';
import { runs } from './volume-users.ts';
import type { FoundVolume, Volumes } from './volumes.ts';

export interface MadeVolume {
  readonly volume: VolumeFacts;
  readonly warnings: readonly string[];
}

interface CloneOptions {
  readonly mayOpen?: boolean;
  /** qcow2: all tables at once. */
  readonly preallocateMetadata?: boolean;
  readonly mustShare?: boolean;
}

export class VolumeCreation {
  private readonly world: PoolWorld;
  private readonly volumes: Volumes;
  private readonly refreshing: PoolRefresh;

  constructor(world: PoolWorld, volumes: Volumes, refreshing: PoolRefresh) {
    this.world = world;
    this.volumes = volumes;
    this.refreshing = refreshing;
  }

  /** @throws VirtError xml.*, definition.unsupported, volume.exists, file.no-space */
  async createXml(
    pool: Pool,
    xml: string,
    options: { readonly mode: ParseMode; readonly preallocateMetadata: boolean },
  ): Promise<MadeVolume & { readonly dropped: readonly string[] }> {
    const { definition, dropped } = parseVolume(xml, { mode: options.mode });
    const made = await this.create(pool, definition, options);
    return { ...made, dropped };
  }

  /** @throws VirtError as createXml */
  async create(
    pool: Pool,
    definition: VolumeDef,
    options: { readonly preallocateMetadata?: boolean } = {},
  ): Promise<MadeVolume> {
    const wish = this.wishOf(definition, options);
    return this.make(pool, wish, 'create', async (path, work) => this.world.images.create(path, wish, work));
  }

  /** @throws VirtError as createXml, and volume.in-use */
  async cloneXml(
    source: FoundVolume,
    pool: Pool,
    xml: string,
    mode: ParseMode,
  ): Promise<MadeVolume & { readonly dropped: readonly string[] }> {
    const { definition, dropped } = parseVolume(xml, { mode });
    return { ...(await this.clone(source, pool, definition, { mayOpen: true })), dropped };
  }

  /**
   * Copies a volume with all that lies below it. The new one may be larger than the old one, never smaller. What is
   * encrypted stays so, and opens by the same passphrase, unless the description says otherwise; `mayOpen` lets a
   * description that says nothing of encryption, but another format, have the data in the open (as libvirt does).
   * `mustShare`: the copy shares its blocks with the original, or fails.
   * @throws VirtError volume.in-use, definition.unsupported, volume.exists, file.no-space, operation.aborted, secret.*
   */
  async clone(
    source: FoundVolume,
    pool: Pool,
    definition: VolumeDef,
    options: CloneOptions = {},
  ): Promise<MadeVolume> {
    const { volume } = source;
    const { preallocateMetadata = false, mustShare = false } = options;
    const asked = this.wishOf(copyOf(volume, definition, options), { isCopy: true, preallocateMetadata });
    const wish = mustShare ? sharingWish(asked, volume) : asked;
    const image = this.volumes.imageOf(volume);
    // A guest whose disk lies on top of it only reads it.
    await this.volumes.refuseUsed(source, 'clone', (user) => runs(user) && !user.needsBytes);
    return this.make(pool, wish, 'clone', (path, work) =>
      this.volumes.runJob(source.pool, volume.name, 'clone from', async () => {
        await this.world.images.copy(image, path, wish, work);
        if (wish.capacityBytes > volume.capacityBytes) await this.grow(path, wish, image.passphrase, work);
      }),
    );
  }

  private grow(path: string, wish: NewVolume, old: Passphrase | undefined, work: Work): Promise<void> {
    const { format, capacityBytes, encryption } = wish;
    const passphrase = encryption?.passphrase ?? old;
    const image = { path, format, ...(passphrase && { passphrase }) };
    return this.world.images.resize({ image, capacityBytes, allocate: false, shrink: false }, work);
  }

  /** A description, checked and with its sizes filled in. */
  private wishOf(
    definition: VolumeDef,
    options: { readonly preallocateMetadata?: boolean; readonly isCopy?: boolean },
  ): NewVolume {
    const wanted = `create volume '${definition.name}'`;
    throwProblems(validateNewVolume(definition, options), wanted);
    const { target, backingStore } = definition;
    const encryption = target.encryption && imageEncryption(this.world.secrets, target.encryption, wanted);
    const said = target.format?.type ?? 'raw';
    // libvirt's word for what is nothing but LUKS is raw, with encryption.
    const format = encryption !== undefined && said === 'raw' ? 'luks' : said;
    const backing = backingStore && this.backingOf(backingStore, wanted);
    const capacityBytes = definition.capacityBytes ?? backing?.capacityBytes;
    if (capacityBytes === undefined)
      throw new VirtError('xml.invalid', {
        wanted,
        reason: 'capacity: is missing, and the image below is in no active pool that would tell its size',
      });
    const { compat, clusterSizeBytes, features, nocow, permissions } = target;
    return {
      name: definition.name,
      format,
      capacityBytes,
      // libvirt's rule: what says nothing is taken whole. Formats with tables of their own take what they need.
      allocationBytes: definition.allocationBytes ?? (said === 'raw' ? capacityBytes : 0),
      ...(backing && { backing: { path: backing.path, format: backing.format } }),
      ...(compat !== undefined && { compat: compat === '0.10' ? '0.10' : '1.1' }),
      ...(clusterSizeBytes !== undefined && { clusterSizeBytes }),
      ...(features?.lazyRefcounts === true && { lazyRefcounts: true }),
      ...(features?.extendedL2 === true && { extendedL2: true }),
      ...(options.preallocateMetadata === true && { preallocateMetadata: true }),
      ...(nocow === true && { nocow: true }),
      ...(encryption && { encryption }),
      ...(permissions && { permissions }),
    };
  }

  /** The image below must be what it is said to be: a volume's format is known here. */
  private backingOf(
    { path, format }: NonNullable<VolumeDef['backingStore']>,
    wanted: string,
  ): Pick<VolumeFacts, 'path' | 'format'> & { readonly capacityBytes?: number } {
    const said = format?.type ?? 'raw';
    let known: VolumeFacts | undefined;
    try {
      known = this.volumes.findByPath(path).volume;
    } catch (error) {
      if (!(error instanceof VirtError) || error.code !== 'volume.not-found') throw error;
    }
    if (known === undefined) return { path, format: said };
    const isSame = known.format === said || (known.format === 'iso' && said === 'raw');
    if (!isSame)
      throw new VirtError('xml.invalid', {
        wanted,
        reason: `backingStore.format: volume '${known.name}' is ${known.format}, not ${said}`,
      });
    this.volumes.imageOf(known);
    return { path, format: said, capacityBytes: known.capacityBytes };
  }

  /** Makes it as a job: checked, filled, remembered with its format, and only then told. */
  private async make(
    pool: Pool,
    wish: NewVolume,
    kind: string,
    fill: (path: string, work: Work) => Promise<void>,
  ): Promise<MadeVolume> {
    const wanted = `create volume '${wish.name}'`;
    const backend = this.world.backends(pool.requireLive(wanted).definition.type);
    if (!backend.volumeFormats.includes(wish.format))
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `a pool of type ${backend.type} makes no volumes of format ${wish.format}`,
        ...(backend.volumeFormats.length > 0 && { hint: `it makes ${backend.volumeFormats.join(', ')}` }),
      });
    return this.volumes.runJob(
      pool,
      wish.name,
      kind,
      async (job, live) => {
        const { definition } = live;
        if (live.volumes.has(wish.name)) throw taken(pool, wish.name);
        const { availableBytes } = await backend.space(definition);
        refuseTooLarge(wish, availableBytes);
        const warnings = spaceWarnings(wish, live, availableBytes);
        const work = {
          signal: job.signal,
          onProgress: (done: number, total: number) => job.progress({ done, total }),
        };
        if (kind === 'create') await backend.createVolume(definition, wish, work);
        else await backend.fillVolume(definition, wish, (path) => fill(path, work), work);
        await this.refreshing.remember(pool, wish.name, wish.format);
        return { volume: this.volumes.find(pool, wish.name), warnings };
      },
      { isCancellable: true, unit: 'bytes' },
    );
  }
}

/** What the copy is to be, where its description leaves things open. */
function copyOf(
  volume: VolumeFacts,
  definition: VolumeDef,
  { mayOpen = false }: { readonly mayOpen?: boolean },
): VolumeDef {
  const wanted = `clone volume '${volume.name}'`;
  const { target, backingStore } = definition;
  if (backingStore !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'a full copy has nothing below it',
      hint: 'create a volume with that backing store instead, without copying',
    });
  const isLocked = volume.encryption !== undefined;
  // `<encryption>` of a document that was printed for the source, which need not know the secret.
  const stays = isLocked && target.encryption?.secrets.length === 0;
  const said = target.format?.type ?? volume.format;
  const type = stays && said === 'raw' ? volume.format : said;
  const opens = isLocked && target.encryption === undefined && type !== volume.format;
  if (opens && !mayOpen)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `it is encrypted, and a copy of format ${type} would not be`,
      hint: 'give a secret for the copy, or leave the format as it is',
    });
  const { encryption, ...rest } = withoutOptionsOf(volume, target);
  const capacityBytes = Math.max(definition.capacityBytes ?? 0, volume.capacityBytes);
  return {
    ...definition,
    capacityBytes,
    allocationBytes: Math.min(definition.allocationBytes ?? 0, capacityBytes),
    target: { ...rest, format: { type }, ...(encryption && !stays && { encryption }) },
  };
}

/** What the source has anyway is no demand: its bytes can be copied as they are. */
function withoutOptionsOf(volume: VolumeFacts, target: VolumeDef['target']): VolumeDef['target'] {
  const { compat, clusterSizeBytes, features, ...rest } = target;
  if (target.format !== undefined && target.format.type !== volume.format) return target;
  const hasFeatures =
    (features?.lazyRefcounts ?? false) === (volume.lazyRefcounts ?? false) &&
    (features?.extendedL2 ?? false) === (volume.extendedL2 ?? false);
  return {
    ...rest,
    ...(compat !== volume.compat && compat !== undefined && { compat }),
    ...(clusterSizeBytes !== volume.clusterSizeBytes &&
      clusterSizeBytes !== undefined && { clusterSizeBytes }),
    ...(features !== undefined && !hasFeatures && { features }),
  };
}

function taken(pool: Pool, name: string): VirtError {
  return new VirtError('volume.exists', {
    wanted: `create volume '${name}'`,
    reason: `pool '${pool.name}' has a volume of that name already`,
    hint: 'use another name, or delete that one',
  });
}

function refuseTooLarge({ name, allocationBytes }: NewVolume, availableBytes: number): void {
  if (allocationBytes <= availableBytes) return;
  throw new VirtError('file.no-space', {
    wanted: `create volume '${name}'`,
    reason: `${formatBytes(allocationBytes)} are to be taken at once, and ${formatBytes(availableBytes)} are free`,
    hint: 'make it sparse (allocation 0), or free some space',
    details: { allocationBytes, availableBytes },
  });
}

function spaceWarnings({ capacityBytes }: NewVolume, live: LivePool, availableBytes: number): string[] {
  if (capacityBytes > availableBytes)
    return [
      `a guest may write up to ${formatBytes(capacityBytes)}, and only ${formatBytes(availableBytes)} are free in the pool`,
    ];
  const all = promisedOf(live) + capacityBytes;
  if (all <= live.space.capacityBytes) return [];
  return [
    `all guests together may write up to ${formatBytes(all)}, and the pool has ${formatBytes(live.space.capacityBytes)}`,
  ];
}

/**
 * A copy that is to share its blocks is made like the original, whatever its description repeats of that, and takes no
 * space of its own. @throws VirtError file.failed when it is described otherwise
 */
function sharingWish(wish: NewVolume, original: VolumeFacts): NewVolume {
  const { compat, clusterSizeBytes, preallocateMetadata, ...rest } = wish;
  const isOther =
    (compat !== undefined && compat !== original.compat) ||
    (clusterSizeBytes !== undefined && clusterSizeBytes !== original.clusterSizeBytes) ||
    preallocateMetadata === true;
  if (isOther)
    throw new VirtError('file.failed', {
      wanted: `create volume '${wish.name}'`,
      reason: 'failed to clone files: the copy is to be made otherwise than the original',
      hint: 'copy without the demand to share blocks',
    });
  return { ...rest, allocationBytes: 0, mustShare: true };
}
