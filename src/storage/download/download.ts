/** Gets a file from a server into a file of ours: hashed as it comes, resumed where it broke off, never without a limit. */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import * as z from 'zod';
import { errnoOf, fileError, isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { readText, removeDurable, writeAtomic } from '../../base/files.ts';
import { formatBytes } from '../../base/units.ts';
import { type ChecksumAlgorithm, type ExpectedChecksum, requireChecksum } from './checksum.ts';
import { brokenOff, get, type HttpAnswer, statusError } from './request.ts';
import type { UrlPolicy } from './url.ts';

export interface DownloadRequest {
  readonly url: string;
  /** Where the bytes go. What an earlier attempt left there is gone on with, if the server says it is still the same. */
  readonly path: string;
  readonly policy: UrlPolicy;
  /** What it is for, in errors. */
  readonly wanted: string;
  readonly maxBytes: number;
  readonly checksum?: ExpectedChecksum | undefined;
}

export interface DownloadWork {
  readonly signal?: AbortSignal | undefined;
  /** `totalBytes` is undefined where the server does not tell. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number | undefined) => void) | undefined;
  /** Waits before each further attempt, in ms. */
  readonly retryDelaysMs?: readonly number[];
}

export interface Downloaded {
  readonly bytes: number;
  readonly sha256: string;
}

const RETRY_DELAYS_MS = [500, 1000, 2000, 4000, 8000];

/** What the file beside a part holds: of what it is a part. */
const partSchema = z.strictObject({ url: z.string(), validator: z.string() });
type PartNote = z.output<typeof partSchema>;

export const partNoteOf = (path: string): string => `${path}.part.json`;

/**
 * Gets a file. One that does not have the checksum is removed; one that broke off stays, to be gone on with.
 * @throws VirtError download.*, request.too-large, file.*, operation.aborted
 */
export async function download(request: DownloadRequest, work: DownloadWork = {}): Promise<Downloaded> {
  const part = await Part.open(request, work);
  try {
    await fetchAll(part, request, work);
    await part.handle.sync();
    const downloaded = part.finish();
    await removeDurable(partNoteOf(request.path));
    return downloaded;
  } catch (error) {
    // What is not what it should be is of no use to a later attempt, nor what cannot be gone on with.
    if (isUseless(error) || !part.isResumable) await dropPart(request.path);
    throw fileError(error, request.wanted, request.path);
  } finally {
    await part.handle.close();
  }
}

/** A disk that is full must not stay so. */
function isUseless(error: unknown): boolean {
  const codes: readonly string[] = ['download.checksum', 'request.too-large', 'file.no-space'];
  return isVirtError(error)
    ? codes.includes(error.code)
    : ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
}

/** Removes a part with its note; nothing there is fine. */
export async function dropPart(path: string): Promise<void> {
  for (const file of [path, partNoteOf(path)]) {
    try {
      await unlink(file);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove a file', file);
    }
  }
}

async function fetchAll(part: Part, request: DownloadRequest, work: DownloadWork): Promise<void> {
  const delays = work.retryDelaysMs ?? RETRY_DELAYS_MS;
  for (let attempt = 0; ; attempt++) {
    const before = part.bytes;
    try {
      return await fetchRest(part, request, work);
    } catch (error) {
      const delay = delays[attempt];
      if (!isWorthAnother(error) || delay === undefined) throw error;
      // Whatever came makes it worth going on from the first attempt.
      if (part.bytes > before) attempt = -1;
      await wait(delay, undefined, { ...(work.signal && { signal: work.signal }) }).catch(() => undefined); // Told next.
      if (work.signal?.aborted === true)
        throw new VirtError('operation.aborted', { wanted: request.wanted, reason: 'cancelled' });
    }
  }
}

/** Connections break and servers have bad moments; a refusal stays one. */
function isWorthAnother(error: unknown): boolean {
  if (!isVirtError(error, 'download.failed')) return false;
  const status = error.details?.['status'];
  return typeof status !== 'number' || status >= 500 || status === 429 || status === 408;
}

async function fetchRest(part: Part, request: DownloadRequest, work: DownloadWork): Promise<void> {
  const { wanted, policy } = request;
  const { signal } = work;
  const answer = await get(request.url, { policy, wanted, signal, headers: part.rangeHeaders() });
  try {
    const total = await takeUp(part, answer, request);
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      await part.append(chunk);
      work.onProgress?.(part.bytes, total);
    }
    if (total !== undefined && part.bytes !== total)
      throw new VirtError('download.failed', {
        wanted,
        reason: `the connection ended after ${part.bytes} of ${total} bytes`,
      });
  } catch (error) {
    const isOurs = isVirtError(error) || isFileSystem(error);
    throw isOurs ? error : brokenOff(error, answer.url, wanted, signal);
  } finally {
    answer.body.destroy();
  }
}

/** Errors of our own file have a system call's name; those of sockets have theirs. */
function isFileSystem(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EIO', 'EFBIG', 'EROFS'].includes(errnoOf(error) ?? '');
}

/** Decides where the body begins, and how long all will be; undefined when that is not told. */
async function takeUp(part: Part, answer: HttpAnswer, request: DownloadRequest): Promise<number | undefined> {
  const { status, headers } = answer;
  let total: number | undefined;
  if (status === 206) {
    // RFC 9110, 14.4: `bytes FIRST-LAST/TOTAL`.
    const [, first, all] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? [];
    if (first === undefined || Number(first) !== part.bytes) {
      await part.restart();
      throw new VirtError('download.failed', {
        wanted: request.wanted,
        reason: 'the server sent another part than the one that was asked for',
      });
    }
    total = all === undefined || all === '*' ? undefined : Number(all);
  } else if (status === 200) {
    await part.restart();
    const length = headers['content-length'];
    total = length === undefined ? undefined : Number(length);
  } else {
    // The file became shorter than what is here: the next attempt begins afresh.
    if (status === 416) await part.restart();
    throw statusError(answer, request.wanted);
  }
  await part.requireRoom(total ?? 0);
  await part.note(validatorOf(answer));
  return total;
}

/** What names this very file for If-Range (RFC 9110, 13.1.5): a strong ETag, or else its date. */
function validatorOf({ headers }: HttpAnswer): string | undefined {
  const { etag } = headers;
  if (etag !== undefined && etag.startsWith('"')) return etag;
  return headers['last-modified'];
}

/** The file as far as it is here, with its hashes. */
class Part {
  readonly handle: FileHandle;
  bytes = 0;
  private readonly request: DownloadRequest;
  private validator: string | undefined;
  private readonly algorithms: readonly ChecksumAlgorithm[];
  private hashes: Hash[] = [];

  private constructor(handle: FileHandle, request: DownloadRequest) {
    this.handle = handle;
    this.request = request;
    const wanted = request.checksum?.algorithm ?? 'sha256';
    this.algorithms = wanted === 'sha256' ? ['sha256'] : ['sha256', wanted];
    this.hashes = this.algorithms.map((algorithm) => createHash(algorithm));
  }

  /** Opens what an earlier attempt left, or begins. */
  static async open(request: DownloadRequest, { signal }: DownloadWork): Promise<Part> {
    const { path, wanted } = request;
    const note = await readNote(path);
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
      await refuseForeign(handle, wanted);
      const part = new Part(handle, request);
      if (note?.url !== request.url) await part.restart();
      else await part.takeOver(note, signal);
      return part;
    } catch (error) {
      await handle?.close();
      throw fileError(error, wanted, path);
    }
  }

  private async takeOver(note: PartNote, signal: AbortSignal | undefined): Promise<void> {
    const stream = this.handle.createReadStream({
      autoClose: false,
      start: 0,
      highWaterMark: 1024 * 1024,
      ...(signal && { signal }),
    });
    for await (const chunk of stream as AsyncIterable<Buffer>) this.count(chunk);
    this.validator = note.validator;
  }

  private count(chunk: Buffer): void {
    this.bytes += chunk.length;
    for (const hash of this.hashes) hash.update(chunk);
  }

  /** There are bytes, and the server has a word for which file they are of. */
  get isResumable(): boolean {
    return this.bytes > 0 && this.validator !== undefined;
  }

  rangeHeaders(): Record<string, string> {
    if (!this.isResumable || this.validator === undefined) return {};
    return { range: `bytes=${this.bytes}-`, 'if-range': this.validator };
  }

  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.bytes = 0;
    this.validator = undefined;
    this.hashes = this.algorithms.map((algorithm) => createHash(algorithm));
  }

  /** Remembers of what this is a part; without a validator it cannot be gone on with. */
  async note(validator: string | undefined): Promise<void> {
    if (validator === this.validator) return;
    this.validator = validator;
    const { path, url } = this.request;
    if (validator === undefined) await removeDurable(partNoteOf(path));
    else await writeAtomic(partNoteOf(path), JSON.stringify({ url, validator } satisfies PartNote));
  }

  /** Before the first byte of so many is fetched. @throws VirtError request.too-large, file.no-space */
  async requireRoom(totalBytes: number): Promise<void> {
    this.requireBelowLimit(totalBytes);
    const { bavail, bsize } = await statfs(dirname(this.request.path));
    const [needed, free] = [totalBytes - this.bytes, bavail * bsize];
    if (needed <= free) return;
    throw new VirtError('file.no-space', {
      wanted: this.request.wanted,
      reason: `${formatBytes(needed)} are to come, and ${formatBytes(free)} are free in ${dirname(this.request.path)}`,
      hint: 'free some space, or use another pool',
      details: { neededBytes: needed, availableBytes: free },
    });
  }

  private requireBelowLimit(bytes: number): void {
    const { maxBytes, wanted } = this.request;
    if (bytes <= maxBytes) return;
    throw new VirtError('request.too-large', {
      wanted,
      reason: `it is larger than ${formatBytes(maxBytes)}`,
      hint: "see 'import_limit_gib' in the section [storage] of vireod.toml",
    });
  }

  async append(chunk: Buffer): Promise<void> {
    this.requireBelowLimit(this.bytes + chunk.length);
    let at = 0;
    while (at < chunk.length) {
      const { bytesWritten } = await this.handle.write(chunk, at, chunk.length - at, this.bytes + at);
      at += bytesWritten;
    }
    this.count(chunk);
  }

  /** @throws VirtError download.checksum */
  finish(): Downloaded {
    const digests = this.hashes.map((hash) => hash.digest('hex'));
    const { checksum, wanted } = this.request;
    if (checksum !== undefined) requireChecksum(checksum, digests.at(-1) ?? '', wanted);
    return { bytes: this.bytes, sha256: digests[0] ?? '' };
  }
}

/** A file that somebody put there before us, perhaps a second name of another one, is not written to (docs/security.md, class I). */
async function refuseForeign(handle: FileHandle, wanted: string): Promise<void> {
  const { nlink, uid, ...stats } = await handle.stat();
  if (nlink === 1 && uid === process.geteuid?.() && (stats.mode & constants.S_IFMT) === constants.S_IFREG)
    return;
  throw new VirtError('file.denied', { wanted, reason: 'somebody else put a file where the download goes' });
}

async function readNote(path: string): Promise<PartNote | undefined> {
  try {
    return partSchema.parse(JSON.parse(await readText(partNoteOf(path), 64 * 1024)));
  } catch (error) {
    if (isVirtError(error, 'file.not-found')) return undefined;
    // A note that is broken is as good as none: the download begins afresh.
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw new VirtError('file.failed', { reason: `${partNoteOf(path)}: ${reasonOf(error)}`, cause: error });
  }
}
