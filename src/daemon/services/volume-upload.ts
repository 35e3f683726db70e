/** Uploads: jobs on a volume whose bytes come from a connection. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { nanoid } from 'nanoid';
import { Checksum } from '../../base/checksum.ts';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { formatBytes } from '../../base/units.ts';
import { partialVolumePrefix, volumeNameProblem } from '../../model/storage/names.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import { looksAs } from '../../storage/directory/first-sight.ts';
import { hasHeader } from '../../storage/directory/image-facts.ts';
import { isWrongSum, type Received, Upload, wrongSum } from '../../storage/transfer/upload.ts';
import { openVolumeFile, volumeBytes } from '../../storage/volume-file.ts';
import type { LivePool, Pool } from './pool.ts';
import type { PoolRefresh } from './pool-refresh.ts';
import type { PoolWorld } from './pool-world.ts';
import { runsOrLiesOn } from './volume-users.ts';
import type { FoundVolume, Volumes } from './volumes.ts';

export interface UploadWish {
  /** Write in place from here on; undefined: the whole volume comes. */
  readonly offset?: number | undefined;
  /** Bytes in all, holes counted; undefined only with frames. */
  readonly length?: number | undefined;
  readonly sparse: boolean;
  readonly format?: VolumeFormat | undefined;
  readonly overwrite: boolean;
  /** Keep what has come when it breaks off. */
  readonly resumable: boolean;
  readonly resume?: string | undefined;
  readonly checksum: boolean;
  readonly sha256?: string | undefined;
}

export interface Uploaded {
  readonly volume: VolumeFacts;
  readonly bytes: number;
  readonly sha256: string | undefined;
  readonly warnings: readonly string[];
}

/** An upload that has begun. */
export interface StartedUpload {
  readonly jobId: string;
  readonly stream: Duplex;
  /** Bytes that were there already. */
  readonly offset: number;
  readonly resume: string | undefined;
  /** What came of it, when the volume is whole and known. */
  readonly finished: Promise<Uploaded>;
  /** Sends the last line. */
  readonly answer: (line: string) => void;
}

type Begun = Omit<StartedUpload, 'finished'>;

/** One upload under way. */
interface Receiving {
  readonly job: RunningJob;
  readonly wish: UploadWish;
  readonly begun: (begun: Begun) => void;
}

/** Pools whose volumes are files that can be made under another name first. */
const filePools: readonly string[] = ['dir', 'fs', 'netfs'];

export class VolumeUploads {
  private readonly world: PoolWorld;
  private readonly volumes: Volumes;
  private readonly refreshing: PoolRefresh;

  constructor(world: PoolWorld, volumes: Volumes, refreshing: PoolRefresh) {
    this.world = world;
    this.volumes = volumes;
    this.refreshing = refreshing;
  }

  /**
   * Begins an upload. Without an offset the volume has its old bytes, or is not there, until all have come.
   * @throws VirtError volume.exists, volume.in-use, volume.busy, request.invalid, file.*
   */
  async upload(pool: Pool, name: string, wish: UploadWish): Promise<StartedUpload> {
    refuseWish(name, wish);
    const live = pool.requireLive(`upload volume '${name}'`);
    const existing = live.volumes.get(name);
    if (existing !== undefined)
      await this.volumes.refuseUsed({ pool, volume: existing }, 'upload', runsOrLiesOn);
    const { promise, resolve, reject } = Promise.withResolvers<Begun>();
    const finished = this.volumes.runJob(
      pool,
      name,
      'upload',
      (job, now) => this.receive({ pool, live: now }, name, { job, wish, begun: resolve }),
      { isCancellable: true, unit: 'bytes' },
    );
    finished.catch(reject); // After the beginning it is told by `finished` alone.
    return { ...(await promise), finished };
  }

  private async receive(
    { pool, live }: { readonly pool: Pool; readonly live: LivePool },
    name: string,
    receiving: Receiving,
  ): Promise<Uploaded> {
    const existing = live.volumes.get(name);
    const { wish } = receiving;
    const isInPlace = wish.offset !== undefined || existing?.type === 'block';
    if (isInPlace) return this.receiveInPlace({ pool, volume: this.volumes.find(pool, name) }, receiving);
    if (existing !== undefined && !wish.overwrite)
      throw new VirtError('volume.exists', {
        wanted: `upload volume '${name}'`,
        reason: `pool '${pool.name}' has a volume of that name already`,
        hint: "replace it with 'overwrite' (--overwrite), or use another name",
      });
    return this.receiveWhole({ pool, live }, name, existing, receiving);
  }

  /** Into a file of another name, which then takes the place of the old one. */
  private async receiveWhole(
    { pool, live }: { readonly pool: Pool; readonly live: LivePool },
    name: string,
    existing: VolumeFacts | undefined,
    receiving: Receiving,
  ): Promise<Uploaded> {
    const { definition } = live;
    const { wish, job } = receiving;
    const backend = this.world.backends(definition.type);
    const keepsParts = filePools.includes(definition.type);
    if (!keepsParts && wish.length === undefined)
      throw new VirtError('request.invalid', {
        wanted: `upload volume '${name}'`,
        reason: `a pool of type ${definition.type} must know the length before`,
      });
    const { availableBytes } = await backend.space(definition);
    refuseTooLarge(name, wish, availableBytes);
    const part = partOf(name, wish);
    let received: Received | undefined;
    let judged: Judged | undefined;
    const fill = async (path: string) => {
      const place = keepsParts && part !== undefined ? `${definition.target?.path ?? ''}/${part.file}` : path;
      const handle = await openPlace(place, { isResumed: wish.resume !== undefined, isNew: keepsParts });
      try {
        received = await this.receiveInto(handle, receiving, keepsParts ? part?.token : undefined);
        judged = await this.judge(handle, name, { live, existing, wish });
      } catch (error) {
        // What came whole and is wrong is of no use to anybody.
        const isWhole = received !== undefined || isWrongSum(error);
        if (keepsParts && place !== path && isWhole) await unlink(place);
        throw error;
      } finally {
        await handle.close();
      }
      if (place !== path) await rename(place, path);
    };
    const { permissions } = existing ?? {};
    const volume = {
      name,
      capacityBytes: wish.length ?? 0,
      ...(permissions && { permissions }),
      ...(existing && { replaces: true }),
    };
    await backend.fillVolume(definition, volume, fill, { signal: job.signal });
    if (received === undefined || judged === undefined) throw new Error('an upload was not filled');
    if (judged.isCertain) await this.refreshing.remember(pool, name, judged.format);
    else await this.refreshing.look(pool, [name]);
    return { ...received, volume: this.volumes.find(pool, name), warnings: judged.warnings };
  }

  /** Into a raw volume as it is. What came before it breaks off stays. */
  private async receiveInPlace({ pool, volume }: FoundVolume, receiving: Receiving): Promise<Uploaded> {
    const { wish, job, begun } = receiving;
    const wanted = `upload volume '${volume.name}'`;
    if (hasHeader(volume.format))
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `it is ${volume.format}, and only raw volumes are written in place`,
        hint: 'send the whole image, without an offset',
      });
    const { offset = 0 } = wish;
    const handle = await openVolumeFile(volume, 'write', wanted);
    try {
      const limit = (await volumeBytes(handle)) - offset;
      if (limit < 0 || (wish.length ?? 0) > limit)
        throw new VirtError('request.invalid', {
          wanted,
          reason: `the volume has ${volume.physicalBytes} bytes, and the upload would end beyond`,
          hint: 'resize the volume first',
        });
      const upload = this.begin(handle, receiving, { start: offset, limit, isNew: false });
      begun({ jobId: job.id, offset: 0, resume: undefined, ...endOf(upload) });
      const received = await upload.received;
      refuseSum(wish, received);
      job.progress({ step: 'writing to disk' });
      await handle.datasync();
      await this.refreshing.look(pool, [volume.name]);
      return { ...received, volume: this.volumes.find(pool, volume.name), warnings: [] };
    } catch (error) {
      throw fileError(error, wanted, volume.path);
    } finally {
      await handle.close();
    }
  }

  private async receiveInto(
    handle: FileHandle,
    receiving: Receiving,
    token: string | undefined,
  ): Promise<Received> {
    const { wish, job, begun } = receiving;
    const isFile = (await handle.stat()).isFile();
    const there = isFile ? Math.min((await handle.stat()).size, wish.length ?? Number.MAX_SAFE_INTEGER) : 0;
    const checksum = wish.checksum ? new Checksum() : undefined;
    if (there > 0) {
      job.progress({ step: 'reading what is there' });
      await checksum?.readFrom(handle, 0, there, job.signal);
    }
    const limit = isFile ? Number.MAX_SAFE_INTEGER : await volumeBytes(handle);
    const upload = this.begin(handle, receiving, { start: there, limit, isNew: isFile, checksum });
    begun({ jobId: job.id, offset: there, resume: token, ...endOf(upload) });
    const received = await upload.received;
    // A hole at the end has not been written.
    if (isFile) await handle.truncate(there + received.bytes);
    refuseSum(wish, received);
    return received;
  }

  private begin(
    handle: FileHandle,
    { wish, job }: Receiving,
    place: { start: number; limit: number; isNew: boolean; checksum?: Checksum | undefined },
  ): Upload {
    const inAll = wish.length;
    const before = place.isNew ? place.start : 0;
    const step = 'receiving';
    job.progress({ step, done: before, ...(inAll !== undefined && { total: inAll }) });
    return new Upload({
      handle,
      start: place.start,
      length: inAll === undefined ? undefined : inAll - before,
      limit: place.limit,
      isFramed: wish.sparse,
      isNew: place.isNew,
      checksum: 'checksum' in place ? place.checksum : wish.checksum ? new Checksum() : undefined,
      signal: job.signal,
      onProgress: (done) => job.progress({ done: before + done }),
    });
  }

  /** Of which format the bytes are; an image that is broken, or names files outside of the pools, is not taken as one. */
  private async judge(
    handle: FileHandle,
    name: string,
    { live, existing, wish }: { live: LivePool; existing: VolumeFacts | undefined; wish: UploadWish },
  ): Promise<Judged> {
    const { definition, formats, headers } = live;
    const memory = this.refreshing.context(definition, formats, headers).formats;
    const directory = definition.target?.path ?? '/';
    const seen = await looksAs(handle, directory, (path) => memory.isInsidePool(path));
    const wanted = wish.format ?? existing?.format;
    if (wanted !== undefined && hasHeader(wanted) && seen.format !== wanted)
      throw new VirtError('definition.unsupported', {
        wanted: `upload volume '${name}'`,
        reason: seen.problem ?? `the bytes are not ${wanted}, they look like ${seen.format}`,
        hint: "say what they are with 'format' (--format)",
      });
    const warnings = wanted === undefined && seen.problem !== undefined ? [seen.problem] : [];
    return { format: wanted ?? seen.format, isCertain: warnings.length === 0, warnings };
  }
}

interface Judged {
  readonly format: VolumeFormat;
  /** It may be remembered for good. */
  readonly isCertain: boolean;
  readonly warnings: readonly string[];
}

function endOf(upload: Upload): Pick<StartedUpload, 'stream' | 'answer'> {
  return { stream: upload.stream, answer: (line) => upload.answer(line) };
}

function refuseWish(name: string, wish: UploadWish): void {
  const refuse = (reason: string, hint?: string) => {
    throw new VirtError('request.invalid', {
      wanted: `upload volume '${name}'`,
      reason,
      ...(hint !== undefined && { hint }),
    });
  };
  const problem = volumeNameProblem(name);
  if (problem !== undefined) refuse(`its name ${problem}`);
  if (!wish.sparse && wish.length === undefined)
    refuse('the length is missing', "tell it, or send frames with 'sparse'");
  if (wish.offset !== undefined && (wish.resumable || wish.resume !== undefined))
    refuse('an upload in place is resumed by its offset', 'see how far it was, and send the rest from there');
  if (wish.sha256 !== undefined && !wish.checksum) refuse('a checksum is given, but none is to be computed');
}

/** @throws VirtError stream.failed */
function refuseSum(wish: UploadWish, { sha256 }: Received): void {
  if (wish.sha256 !== undefined && sha256 !== undefined && wish.sha256 !== sha256)
    throw wrongSum(wish.sha256, sha256);
}

function refuseTooLarge(name: string, { length = 0, sparse }: UploadWish, availableBytes: number): void {
  if (sparse || length <= availableBytes) return;
  throw new VirtError('file.no-space', {
    wanted: `upload volume '${name}'`,
    reason: `${formatBytes(length)} are to come, and ${formatBytes(availableBytes)} are free`,
    hint: 'free some space',
    details: { length, availableBytes },
  });
}

/** Where an upload is kept while it is not whole: a name that says of which volume, and one that nobody can guess. */
function partOf(
  name: string,
  wish: UploadWish,
): { readonly file: string; readonly token: string } | undefined {
  if (!wish.resumable && wish.resume === undefined) return undefined;
  const token = wish.resume ?? nanoid(20);
  return { token, file: `${partialVolumePrefix}${token}-${Buffer.from(name).toString('hex').slice(0, 64)}` };
}

async function openPlace(
  path: string,
  { isResumed, isNew }: { readonly isResumed: boolean; readonly isNew: boolean },
): Promise<FileHandle> {
  const create = isNew && !isResumed ? constants.O_CREAT | constants.O_EXCL : 0;
  // A device of a pool is a link that LVM made.
  const noLink = isNew ? constants.O_NOFOLLOW : 0;
  try {
    return await open(path, constants.O_RDWR | constants.O_NONBLOCK | create | noLink, 0o600);
  } catch (error) {
    if (isResumed && errnoOf(error) === 'ENOENT')
      throw new VirtError('request.invalid', {
        wanted: 'go on with an upload',
        reason: 'nothing is kept of it: it was finished, or is older than a day',
        hint: 'send it from the beginning',
      });
    throw fileError(error, 'make a file', path);
  }
}
