/**
 * Opens what QEMU inherits: disks, logs, sockets, taps, copies of kernels. QEMU itself opens no path of a definition,
 * so it needs rights on none of them, and what is opened is what was checked.
 */
import { chmodSync, constants, writeSync } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { close, connectUnix, duplicateAbove, listenUnix, memfdCreate, sealMemfd } from '../../base/ffi.ts';
import { statIfPresent } from '../../base/files.ts';
import { sealedMemory } from '../../base/sealed-memory.ts';
import { allSettledOrThrow } from '../../base/settled.ts';
import type { SecretProvider } from '../driver.ts';
import type { FdNeed } from './argv/types.ts';
import type { UidRange } from './identity.ts';
import { openLog } from './log-file.ts';
import type { PassedGroups } from './passed-groups.ts';
import { deniedError } from './path-access.ts';

type Need<K extends FdNeed['kind']> = Extract<FdNeed, { readonly kind: K }>;

/** The largest kernel, initrd or firmware that is copied into memory. */
const MAX_COPY_BYTES = 1024 * 1024 * 1024;

/** Descriptors by the number that QEMU will see; ours are closed together after the spawn. */
export class DescriptorTable {
  private readonly sources = new Map<number, number>();
  private readonly closers: (() => void | Promise<void>)[] = [];

  /** Adds a FileHandle. */
  addHandle(target: number, handle: FileHandle): void {
    this.closers.push(() => handle.close());
    this.sources.set(target, handle.fd);
  }

  /** Adds a bare descriptor. */
  addFd(target: number, fd: number): void {
    this.closers.push(() => close(fd));
    this.sources.set(target, fd);
  }

  /** Takes over a descriptor that QEMU does not get, to close it with the others. */
  addSpare(fd: number): void {
    this.closers.push(() => close(fd));
  }

  /** One more number for a descriptor that is in the table already. */
  alias(target: number, source: number): void {
    this.sources.set(target, this.source(source));
  }

  /** Ours behind the number that QEMU will see. */
  source(target: number): number {
    const fd = this.sources.get(target);
    if (fd === undefined) throw new Error(`descriptor ${target} is not in the table`);
    return fd;
  }

  /** The sources in order of their numbers, which must be without a gap from 0. */
  list(): number[] {
    return Array.from({ length: this.sources.size }, (_, target) => {
      const fd = this.sources.get(target);
      if (fd === undefined) throw new Error(`descriptor ${target} was not asked for, but higher ones were`);
      return fd;
    });
  }

  async close(): Promise<void> {
    const closers = this.closers.splice(0);
    this.sources.clear();
    await allSettledOrThrow(closers.map(async (take) => take()));
  }
}

interface OpenContext {
  /** The guest's uid, for files that QEMU opens again by itself. */
  readonly uid?: number;
  /** The uids of all guests. */
  readonly uidRange?: UidRange;
  readonly secrets?: SecretProvider;
  /** What clients have handed over for the guest's disks. */
  readonly passed?: PassedGroups;
  /** Called with each socket path that was made, so that it can be removed when the guest has ended. */
  readonly onSocket: (path: string) => void;
  /** Called with each file that QEMU writes text to without end. */
  readonly onLog: (path: string) => void;
}

/**
 * Opens one need, of any kind but taps (the link provider opens those), into the table.
 * @throws VirtError file.*, definition.unsupported; each names the path and where in the definition it stands
 */
export async function openNeed(need: FdNeed, table: DescriptorTable, context: OpenContext): Promise<void> {
  switch (need.kind) {
    case 'file':
      return openFile(need, table, context);
    case 'passed':
      return table.addFd(need.fd, passedCopy(need, context.passed));
    case 'memory-file':
      return table.addHandle(need.fd, await openMemoryFile(need, context));
    case 'copy':
      return table.addFd(need.fd, await copyToMemory(need));
    case 'text':
      return table.addFd(need.fd, sealedMemory('vireo-text', Buffer.from(need.text)));
    case 'secret':
      return table.addFd(need.fd, secretInMemory(need, context.secrets));
    case 'listen':
      return table.addFd(need.fd, await listenAt(need.path, context));
    case 'connect':
      return table.addFd(need.fd, connectTo(need.path));
    case 'vhost-vsock':
    case 'vhost-scsi':
      return table.addHandle(need.fd, await openDevice(`/dev/${need.kind}`));
    case 'tap':
    case 'vhost-net':
    case 'passt':
      throw new Error('taps are opened by the link provider, sockets of helpers by the helpers');
    default:
      return need satisfies never;
  }
}

/** The client's own may go at any moment; QEMU gets a copy. @throws VirtError definition.unsupported */
function passedCopy(need: Need<'passed'>, passed: PassedGroups | undefined): number {
  if (passed !== undefined) return duplicateAbove(passed.file(need.group, need.index), 3);
  const message = 'descriptors of a client can be used at a start, or for a disk that is plugged in';
  throw new VirtError('definition.unsupported', {
    reason: message,
    details: { problems: [{ path: need.purpose, message }] },
  });
}

const accessFlags = {
  ro: constants.O_RDONLY,
  rw: constants.O_RDWR,
  // Emptied after the check below, so that a device named by mistake is left alone; appending from then on (openLog).
  truncate: constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND,
} as const;

/** Opens a disk image or device to look into it. @throws VirtError file.*, definition.unsupported */
export function openForReading(need: {
  readonly path: string;
  readonly purpose: string;
  readonly device?: boolean;
}): Promise<FileHandle> {
  return openChecked(need, accessFlags.ro);
}

async function openFile(need: Need<'file'>, table: DescriptorTable, context: OpenContext): Promise<void> {
  // A guest that finds zeros where its backing file is would write over what it can't see.
  if (need.unknownBacking !== undefined) throw new Error(`nobody looked for what is below ${need.path}`);
  if (need.access === 'append') {
    table.addHandle(need.fd, await openLog(need.path));
    context.onLog(need.path);
    return;
  }
  const direct = need.direct === true ? constants.O_DIRECT : 0;
  // At the same time; of two failures the first is told.
  const [handle] = await allSettledOrThrow([
    openInto(table, need.fd, openChecked(need, accessFlags[need.access] | direct)),
    ...(need.roFd === undefined
      ? []
      : [openInto(table, need.roFd, openChecked(need, accessFlags.ro | direct))]),
  ]);
  if (need.access !== 'truncate' || handle === undefined || !(await handle.stat()).isFile()) return;
  await handle.truncate(0);
  context.onLog(need.path);
}

async function openInto(
  table: DescriptorTable,
  target: number,
  opening: Promise<FileHandle>,
): Promise<FileHandle> {
  const handle = await opening;
  table.addHandle(target, handle);
  return handle;
}

/**
 * Opens a path that an administrator wrote, following symlinks (`/dev/disk/by-id/...`), and insists on what the
 * definition says it is. O_NONBLOCK: a FIFO must not hold us up, and a drive without a medium can be opened.
 */
async function openChecked(
  need: { readonly path: string; readonly purpose: string; readonly device?: boolean },
  flags: number,
): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(need.path, flags | constants.O_NONBLOCK | constants.O_NOCTTY, 0o600);
  } catch (error) {
    if (errnoOf(error) === 'EINVAL' && (flags & constants.O_DIRECT) !== 0) throw noDirect(need, error);
    const wanted = `open ${need.purpose}`;
    const isWritten = (flags & (constants.O_RDWR | constants.O_WRONLY)) !== 0;
    const isDenied = ['EACCES', 'EPERM'].includes(errnoOf(error) ?? '');
    const denied = isDenied ? await deniedError(need.path, isWritten, wanted, error) : undefined;
    throw atPurpose(denied ?? fileError(error, wanted, need.path), need.purpose);
  }
  const stat = await handle.stat();
  const isRight = need.device === true ? stat.isBlockDevice() || stat.isCharacterDevice() : stat.isFile();
  if (isRight) return handle;
  await handle.close();
  throw new VirtError('definition.unsupported', {
    wanted: `open ${need.purpose}`,
    reason: `${need.path} is not a ${need.device === true ? 'device' : 'regular file'}`,
    hint: stat.isBlockDevice() ? "use type='block' for a block device" : 'see what that path is',
    details: {
      path: need.path,
      problems: [{ path: need.purpose, message: 'is of another kind than the definition says' }],
    },
  });
}

/** Some file systems (tmpfs before Linux 6.6, some FUSE ones) always go through the host's page cache. */
function noDirect(need: { readonly path: string; readonly purpose: string }, cause: unknown): VirtError {
  const message = `${need.path}: its file system cannot do without the page cache (O_DIRECT)`;
  return new VirtError('definition.unsupported', {
    wanted: `open ${need.purpose}`,
    reason: message,
    hint: "use cache='writeback' (and no io='native') for this disk, or another file system",
    details: { path: need.path, problems: [{ path: need.purpose, message }] },
    cause,
  });
}

/** The same error, with the place in the definition among its facts. */
function atPurpose(error: VirtError, purpose: string): VirtError {
  return new VirtError(error.code, {
    ...(error.wanted !== undefined && { wanted: error.wanted }),
    reason: error.reason,
    ...(error.hint !== undefined && { hint: error.hint }),
    details: { ...error.details, problems: [{ path: purpose, message: error.reason }] },
    cause: error.cause,
  });
}

/** Memory in a file: made when missing, of the guest's uid, since QEMU opens it again through /proc/self/fd. */
async function openMemoryFile(need: Need<'memory-file'>, context: OpenContext): Promise<FileHandle> {
  const flags = accessFlags[need.access] | constants.O_NONBLOCK;
  if (need.createBytes !== undefined) {
    const made = await open(need.path, flags | constants.O_CREAT | constants.O_EXCL, 0o600).catch(
      (error: unknown) => {
        if (errnoOf(error) === 'EEXIST') return undefined;
        throw atPurpose(fileError(error, `make ${need.purpose}`, need.path), need.purpose);
      },
    );
    if (made !== undefined) {
      await made.truncate(need.createBytes);
      if (context.uid !== undefined) await made.chown(context.uid, context.uid);
      return made;
    }
  }
  const handle = await openChecked(need, accessFlags[need.access]);
  if (need.createBytes !== undefined) await passOn(handle, context);
  return handle;
}

/**
 * Shared memory that was made for another guest of ours becomes this one's: those that run have it mapped and need no
 * rights any more. What somebody else made is left alone.
 */
async function passOn(handle: FileHandle, context: OpenContext): Promise<void> {
  const { uid, uidRange } = context;
  if (uid === undefined || uidRange === undefined) return;
  const owner = (await handle.stat()).uid;
  const isGuests = owner >= uidRange.first && owner < uidRange.first + uidRange.count;
  if (owner !== uid && isGuests) await handle.chown(uid, uid);
}

/** A sealed copy in memory of a file that QEMU reads by name; QEMU needs no rights on the file itself. */
async function copyToMemory(need: Need<'copy'>): Promise<number> {
  const source = await openChecked(need, constants.O_RDONLY);
  try {
    if ((await source.stat()).size > MAX_COPY_BYTES)
      throw new VirtError('request.too-large', {
        wanted: `read ${need.purpose}`,
        reason: `${need.path} is larger than 1 GiB`,
      });
    return await fillMemory(source);
  } finally {
    await source.close();
  }
}

/** The value goes from one buffer into memory that only this guest gets. @throws VirtError secret.* with the place */
function secretInMemory(need: Need<'secret'>, secrets: SecretProvider | undefined): number {
  const { reference, purpose } = need;
  let value: Buffer;
  try {
    if (secrets === undefined)
      throw new VirtError('request.unsupported', { reason: 'there are no secrets here' });
    value = secrets.valueForUse(reference);
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    const { code, reason, hint } = error;
    const wanted = `read ${purpose}`;
    throw atPurpose(new VirtError(code, { wanted, reason, ...(hint !== undefined && { hint }) }), purpose);
  }
  try {
    return sealedMemory('vireo-secret', value);
  } finally {
    value.fill(0);
  }
}

async function fillMemory(source: FileHandle): Promise<number> {
  const fd = memfdCreate('vireo-copy');
  try {
    const buffer = Buffer.allocUnsafe(4 * 1024 * 1024);
    for (;;) {
      const { bytesRead } = await source.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      // Into memory: this waits for no disk, and 4 MiB take about a millisecond.
      let written = 0;
      while (written < bytesRead) written += writeSync(fd, buffer, written, bytesRead - written);
    }
    sealMemfd(fd);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * A listening unix socket (0600). A stale one in its place is replaced only when it is a socket and nobody listens.
 * @throws VirtError file.exists, file.not-found, ...
 */
export async function listenAt(path: string, context: Pick<OpenContext, 'onSocket'>): Promise<number> {
  let fd: number;
  try {
    fd = listenUnix(path);
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw fileError(error, 'listen on a unix socket', path);
    await removeStale(path);
    fd = listenUnix(path);
  }
  context.onSocket(path);
  chmodSync(path, 0o600); // at once, as bind(2) before it
  return fd;
}

async function removeStale(path: string): Promise<void> {
  const stat = await statIfPresent(path);
  if (stat?.isSocket() === true && !hasListener(path)) {
    await unlink(path);
    return;
  }
  throw new VirtError('file.exists', {
    wanted: 'listen on a unix socket',
    reason: `${path}: ${stat?.isSocket() === true ? 'another program listens there' : 'a file is in the way'}`,
    details: { path },
  });
}

function hasListener(path: string): boolean {
  try {
    close(connectUnix(path));
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ECONNREFUSED' || errno === 'ENOENT') return false;
    if (errno === 'EAGAIN') return true; // Somebody listens; the queue is full.
    throw fileError(error, 'look at a unix socket', path);
  }
}

function connectTo(path: string): number {
  try {
    return connectUnix(path);
  } catch (error) {
    throw fileError(error, 'connect to a unix socket', path);
  }
}

async function openDevice(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR);
  } catch (error) {
    throw fileError(error, 'open a device', path);
  }
}
