/** Imports: volumes whose bytes come from a server or a client, unpacked, looked at, and converted where that is wanted. */
import { createHash } from 'node:crypto';
import { copyFile, type FileHandle, open, rename, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { ensureDirectory, statIfPresent } from '../../base/files.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { formatBytes } from '../../base/units.ts';
import { partialVolumePrefix, temporaryVolumePrefix, volumeNameProblem } from '../../model/storage/names.ts';
import type { CompletePoolDef } from '../../model/storage/pool/pool.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { PoolBackend, VolumeFacts, Work } from '../../storage/backend.ts';
import { sweepDirectory } from '../../storage/directory/create.ts';
import { namesIn } from '../../storage/directory/scan.ts';
import { type ExpectedChecksum, hashFile, requireChecksum } from '../../storage/download/checksum.ts';
import { compressionOfFile, decompress } from '../../storage/download/decompress.ts';
import { download, dropPart } from '../../storage/download/download.ts';
import { type ForeignImage, inspectForeign } from '../../storage/download/inspect.ts';
import { checkUrl, type UrlPolicy } from '../../storage/download/url.ts';
import { Upload } from '../../storage/transfer/upload.ts';
import type { LivePool, Pool } from './pool.ts';
import type { PoolRefresh } from './pool-refresh.ts';
import type { PoolWorld } from './pool-world.ts';
import type { Volumes } from './volumes.ts';

export interface ImportSettings {
  /** Where bytes wait for pools that are no directories. */
  readonly staging: string;
  readonly policy: UrlPolicy;
  /** The most that an image may be, packed or unpacked. */
  readonly maxBytes: number;
}

export interface ImportWish {
  readonly name: string;
  /** What the volume becomes; undefined: what the image is, where that is a format to run from, else qcow2. */
  readonly format?: VolumeFormat | undefined;
  /** What the image is; undefined: what its signature says. */
  readonly sourceFormat?: VolumeFormat | undefined;
  /** Of the bytes as they come, before they are unpacked. */
  readonly checksum?: ExpectedChecksum | undefined;
  /** Make it larger for its guest. */
  readonly capacityBytes?: number | undefined;
  /** File mode of the volume. */
  readonly mode?: number | undefined;
}

export interface Imported {
  readonly volume: VolumeFacts;
  /** Of what came. */
  readonly bytes: number;
  /** Undefined for a file with holes whose checksum nobody asked for: hashing terabytes of zeros takes hours. */
  readonly sha256: string | undefined;
  readonly sourceFormat: VolumeFormat;
}

/** An import of a client's bytes that has begun. */
export interface StartedImport {
  readonly jobId: string;
  readonly stream: Duplex;
  readonly finished: Promise<Imported>;
  readonly answer: (line: string) => void;
}

/** One import under way. */
interface Importing {
  readonly pool: Pool;
  readonly live: LivePool;
  readonly backend: PoolBackend;
  readonly wish: ImportWish;
  readonly work: Work & { readonly signal: AbortSignal };
  readonly job: RunningJob;
  readonly wanted: string;
}

/** Bytes that came, at a path. */
interface Arrived {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string | undefined;
}

/** Formats that stay as they are when nothing else is wanted: guests run from them, or they are install media. */
const kept: readonly VolumeFormat[] = ['qcow2', 'raw', 'iso'];
/** Pools whose volumes are files beside which others can wait. */
const filePools: readonly string[] = ['dir', 'fs', 'netfs'];

export class VolumeImport {
  private readonly world: PoolWorld;
  private readonly volumes: Volumes;
  private readonly refreshing: PoolRefresh;
  private readonly settings: ImportSettings;
  /** Places that a download writes to now. */
  private readonly inUse = new Set<string>();
  private swept: Promise<unknown> | undefined;

  constructor(world: PoolWorld, volumes: Volumes, refreshing: PoolRefresh, settings: ImportSettings) {
    this.world = world;
    this.volumes = volumes;
    this.refreshing = refreshing;
    this.settings = settings;
  }

  /**
   * Brings an image in from a server, as a job. What came of one that broke off is gone on with by the next of that URL,
   * for a day. `policy` is the configuration's when not given; `signal` calls it off as the job's own does.
   * @throws VirtError download.*, image.unsafe, volume.exists, request.*, file.*, program.*, operation.aborted
   */
  async fromUrl(
    pool: Pool,
    wish: ImportWish,
    from: { readonly url: string; readonly policy?: UrlPolicy; readonly signal?: AbortSignal | undefined },
  ): Promise<Imported> {
    const { maxBytes } = this.settings;
    const policy = from.policy ?? this.settings.policy;
    checkUrl(from.url, policy, wantedOf(wish));
    return this.run(pool, wish, from.signal, async (importing) => {
      const { wanted, work, job } = importing;
      const path = await this.claim(
        importing,
        createHash('sha256').update(from.url).digest('hex').slice(0, 24),
      );
      try {
        job.progress({ step: 'downloading' });
        const request = { url: from.url, path, policy, wanted, maxBytes, checksum: wish.checksum };
        const onProgress = (done: number, total: number | undefined) =>
          job.progress({ done, ...(total !== undefined && { total }) });
        const got = await download(request, { signal: work.signal, onProgress });
        return await this.finish(importing, { path, ...got });
      } finally {
        this.inUse.delete(path);
      }
    });
  }

  /** As fromUrl, of the bytes that a client sends as frames (docs/volume-streams.md). */
  async fromClient(pool: Pool, wish: ImportWish): Promise<StartedImport> {
    const { promise, resolve, reject } = Promise.withResolvers<Omit<StartedImport, 'finished'>>();
    const finished = this.run(pool, wish, undefined, async (importing) => {
      const path = `${await this.stagingOf(importing.live.definition)}/${temporaryVolumePrefix}${nanoid(24)}`;
      try {
        const arrived = await this.receive(importing, path, resolve);
        return await this.finish(importing, arrived);
      } finally {
        await removeIfThere(path);
      }
    });
    finished.catch(reject); // After the beginning it is told by `finished` alone.
    return { ...(await promise), finished };
  }

  /** Makes a small volume of these bytes, which are ours: a seed for cloud-init. @throws VirtError volume.exists, file.* */
  async fromBytes(pool: Pool, name: string, bytes: Uint8Array, format: VolumeFormat): Promise<VolumeFacts> {
    return this.volumes.runJob(pool, name, 'create', async (_job, { definition }) => {
      const backend = this.world.backends(definition.type);
      const volume = { name, capacityBytes: bytes.length };
      await backend.fillVolume(definition, volume, (path) => writeFile(path, bytes, { mode: 0o600 }));
      await this.refreshing.remember(pool, name, format);
      return this.volumes.find(pool, name);
    });
  }

  private run(
    pool: Pool,
    wish: ImportWish,
    signal: AbortSignal | undefined,
    work: (importing: Importing) => Promise<Imported>,
  ): Promise<Imported> {
    const wanted = wantedOf(wish);
    const problem = volumeNameProblem(wish.name);
    if (problem !== undefined)
      throw new VirtError('request.invalid', { wanted, reason: `the volume's name ${problem}` });
    const backend = this.world.backends(pool.requireLive(wanted).definition.type);
    this.requireFormat(backend, wish.format, wanted);
    return this.volumes.runJob(
      pool,
      wish.name,
      'import',
      (job, live) => {
        if (live.volumes.has(wish.name))
          throw new VirtError('volume.exists', {
            wanted,
            reason: `pool '${pool.name}' has a volume of that name already`,
            hint: 'use another name, or delete that one',
          });
        const both = signal === undefined ? job.signal : AbortSignal.any([job.signal, signal]);
        const onProgress = (done: number, total: number) => job.progress({ done, total });
        return work({ pool, live, backend, wish, job, wanted, work: { signal: both, onProgress } });
      },
      { isCancellable: true, unit: 'bytes' },
    );
  }

  private requireFormat(backend: PoolBackend, format: VolumeFormat | undefined, wanted: string): void {
    if (format === undefined || format === 'iso' || backend.volumeFormats.includes(format)) return;
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `a pool of type ${backend.type} makes no volumes of format ${format}`,
      ...(backend.volumeFormats.length > 0 && { hint: `it makes ${backend.volumeFormats.join(', ')}` }),
    });
  }

  /** A place for a download, in the pool's own file system where it has one; a second one of that name gets another. */
  private async claim({ live }: Importing, name: string): Promise<string> {
    const directory = await this.stagingOf(live.definition);
    let path = `${directory}/${partialVolumePrefix}${name}`;
    if (this.inUse.has(path)) path = `${directory}/${partialVolumePrefix}${nanoid(24)}`;
    this.inUse.add(path);
    return path;
  }

  private async stagingOf({ type, target }: CompletePoolDef): Promise<string> {
    if (filePools.includes(type) && target?.path !== undefined) return target.path;
    const { staging } = this.settings;
    await ensureDirectory(staging, 0o700);
    this.swept ??= namesIn(staging, (name) => name.startsWith('.')).then((names) =>
      sweepDirectory(staging, names),
    );
    await this.swept;
    return staging;
  }

  private async receive(
    { job, work, wish, wanted }: Importing,
    path: string,
    begun: (started: Omit<StartedImport, 'finished'>) => void,
  ): Promise<Arrived> {
    const handle = await open(path, 'wx', 0o600).catch((error: unknown) => {
      throw fileError(error, wanted, path);
    });
    try {
      job.progress({ step: 'receiving' });
      const upload = new Upload({
        handle,
        start: 0,
        length: undefined,
        limit: this.settings.maxBytes,
        isFramed: true,
        isNew: true,
        checksum: undefined,
        signal: work.signal,
        onProgress: (done) => job.progress({ done }),
      });
      begun({ jobId: job.id, stream: upload.stream, answer: (line) => upload.answer(line) });
      const { bytes } = await upload.received;
      // A hole at the end was not written.
      await handle.truncate(bytes);
      job.progress({ step: 'checking' });
      const { checksum } = wish;
      if (checksum !== undefined)
        requireChecksum(checksum, await hashFile(path, checksum.algorithm, work.signal), wanted);
      return { path, bytes, sha256: await this.sumOf(handle, path, checksum, work.signal) };
    } catch (error) {
      // An abort is told as such by the job.
      throw work.signal.aborted ? error : fileError(error, wanted, path);
    } finally {
      await handle.close();
    }
  }

  private async sumOf(
    handle: FileHandle,
    path: string,
    checked: ExpectedChecksum | undefined,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (checked?.algorithm === 'sha256') return checked.hex;
    const { size, blocks } = await handle.stat();
    const hasHoles = blocks * 512 < size;
    return hasHoles && checked === undefined ? undefined : hashFile(path, 'sha256', signal);
  }

  /** Unpacks what came, looks at it, and makes the volume of it. What came is gone afterwards. */
  private async finish(importing: Importing, arrived: Arrived): Promise<Imported> {
    const { wish, wanted, pool } = importing;
    const unpacked = `${dirname(arrived.path)}/${temporaryVolumePrefix}${nanoid(24)}`;
    try {
      const path = (await this.unpack(importing, arrived.path, unpacked)) ? unpacked : arrived.path;
      const image = await inspectForeign(path, wish.sourceFormat, wanted);
      const format = wish.format ?? (kept.includes(image.format) ? image.format : 'qcow2');
      this.requireFormat(importing.backend, format, wanted);
      await this.fill(importing, path, image, format);
      await this.refreshing.remember(pool, wish.name, format);
      const volume = this.volumes.find(pool, wish.name);
      return { volume, bytes: arrived.bytes, sha256: arrived.sha256, sourceFormat: image.format };
    } finally {
      await removeIfThere(unpacked);
      await dropPart(arrived.path);
    }
  }

  private async unpack({ job, work, wanted }: Importing, from: string, to: string): Promise<boolean> {
    const compression = await compressionOfFile(from);
    if (compression === undefined) return false;
    const total = (await statIfPresent(from))?.size ?? 0;
    job.progress({ step: 'unpacking', done: 0, total });
    const { maxBytes } = this.settings;
    const onProgress = (done: number) => job.progress({ done });
    await decompress({ from, to, compression, maxBytes, wanted }, { signal: work.signal, onProgress });
    return true;
  }

  private async fill(
    importing: Importing,
    from: string,
    image: ForeignImage,
    format: VolumeFormat,
  ): Promise<void> {
    const { wish, live, backend, work, job, wanted } = importing;
    const capacityBytes = Math.max(wish.capacityBytes ?? 0, image.capacityBytes);
    if (wish.capacityBytes !== undefined && wish.capacityBytes < image.capacityBytes)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `the image has ${formatBytes(image.capacityBytes)}, more than the size that is wanted`,
      });
    const volume = {
      ...{ name: wish.name, format, capacityBytes, allocationBytes: 0 },
      ...(wish.mode !== undefined && { permissions: { mode: wish.mode } }),
    };
    const fill = async (path: string) => {
      const isDevice = (await statIfPresent(path)) !== undefined;
      if (!isDevice && isSame(image.format, format)) await moveFile(from, path);
      else {
        job.progress({ step: 'converting', done: 0 });
        const source = { path: from, format: image.format, isPrivate: true };
        await this.world.images.copy(source, path, volume, work);
      }
      if (capacityBytes > image.capacityBytes && !isDevice)
        await this.world.images.resize(
          { image: { path, format }, capacityBytes, allocate: false, shrink: false },
          work,
        );
    };
    await backend.fillVolume(live.definition, volume, fill, work);
  }
}

const isSame = (a: VolumeFormat, b: VolumeFormat): boolean =>
  a === b || (a === 'iso' && b === 'raw') || (a === 'raw' && b === 'iso');

function wantedOf({ name }: ImportWish): string {
  return `import volume '${name}'`;
}

/** Into a new name: at once in one file system, as a copy between two. */
async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw fileError(error, 'move a file', to);
    await copyFile(from, to).catch((failure: unknown) => {
      throw fileError(failure, 'copy a file', to);
    });
  }
}

async function removeIfThere(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove a file', path);
  });
}
