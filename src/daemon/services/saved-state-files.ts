/**
 * Files with saved states: written under a temporary name, and under their own only when they are whole and on the disk;
 * read, and given another definition. What QEMU writes goes straight into the file, or through a program that packs it.
 */
import { constants } from 'node:fs';
import { chmod, copyFile, type FileHandle, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { type DescriptorFilter, startFilter } from '../../base/exec.ts';
import { close, pipe } from '../../base/ffi.ts';
import { syncDirectory, temporarySuffix } from '../../base/files.ts';
import {
  decodeFixedHead,
  decodeHead,
  encodeHead,
  HEADER_BYTES,
  type PlacedHead,
  type SavedHead,
  type SaveFormat,
  wholeMagic,
} from '../../model/saved-state/image.ts';

/** A program that packs, and how it unpacks; each reads its input and writes its output. */
type Packer = Readonly<Record<'pack' | 'unpack', readonly string[]>> & { readonly program: string };

const packers: Partial<Record<SaveFormat, Packer>> = {
  gzip: { program: 'gzip', pack: ['-c'], unpack: ['-dc'] },
  bzip2: { program: 'bzip2', pack: ['-c'], unpack: ['-dc'] },
  xz: { program: 'xz', pack: ['-c', '-3'], unpack: ['-dc'] },
  lzop: { program: 'lzop', pack: ['-c'], unpack: ['-dc', '--ignore-warn'] },
  zstd: { program: 'zstd', pack: ['-q', '-c'], unpack: ['-q', '-dc'] },
};

/** GNU dd moves bytes past the page cache; its last block, which is no whole one, goes the usual way by itself. */
const pastCache = {
  program: 'dd',
  write: ['bs=1M', 'iflag=fullblock', 'oflag=direct', 'status=none'],
} as const;
/** Reads have to begin at a multiple of this to bypass the cache. */
const DIRECT_BYTES = 4096;

export interface WriteOptions {
  /** Do not fill the host's page cache with it. */
  readonly bypassCache: boolean;
}

/** A free name beside a file for as long as that is not whole. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path).slice(0, 100)}.${nanoid(8)}${temporarySuffix}`);
}

/**
 * Copies an open file to a place of ours, sharing its blocks where the file system can. `check` sees the copy before it gets
 * its name.
 * @throws VirtError file.*, and what `check` throws; nothing is left then
 */
export async function copyState(
  file: FileHandle,
  path: string,
  check: (copy: string) => Promise<void>,
): Promise<void> {
  const copy = `${path}.${nanoid(8)}${temporarySuffix}`;
  try {
    await copyFile(`/proc/self/fd/${file.fd}`, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(copy, 0o600);
    await check(copy);
    const handle = await open(copy, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(copy, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await unlink(copy).catch(() => undefined); // Whatever became of it: what failed is what counts.
    throw fileError(error, 'copy a saved state', path);
  }
}

/** A file with a state in the making. */
export interface StateWriter {
  readonly temporary: string;
  /** What QEMU writes to. */
  readonly fd: number;
  /** Waits until everything is on the disk, and gives the file its name. @throws VirtError file.*, program.* */
  finish(): Promise<void>;
  /** Takes it all back. Never rejects. */
  discard(): Promise<void>;
}

/**
 * Begins a file with a state. One that has the name already is replaced only at the end. `temporary`: what it is called
 * until then, for a caller that has noted it.
 * @throws VirtError file.*, program.missing, request.unsupported, request.invalid
 */
export async function createState(
  path: string,
  head: SavedHead,
  options: WriteOptions & { readonly temporary?: string },
): Promise<StateWriter> {
  refuseSparse(head.format, `save to ${path}`);
  const packer = packers[head.format];
  if (packer !== undefined && options.bypassCache)
    throw new VirtError('request.invalid', {
      wanted: `save to ${path}`,
      reason: `a state packed with ${head.format} cannot bypass the page cache`,
    });
  const bytes = encodeHead(head, { isWhole: false });
  return createFile(path, {
    begin: bytes,
    magic: wholeMagic,
    ...(options.temporary !== undefined && { temporary: options.temporary }),
    ...(packer && { through: { program: packer.program, args: packer.pack } }),
    ...(options.bypassCache && { through: { program: pastCache.program, args: pastCache.write } }),
  });
}

/** Begins a file that is nothing but what QEMU writes: a dump. Errors as createState. */
export async function createPlain(
  path: string,
  { format = 'raw', bypassCache }: WriteOptions & { readonly format?: SaveFormat },
): Promise<StateWriter> {
  refuseSparse(format, `write ${path}`);
  const packer = packers[format];
  return createFile(path, {
    ...(packer && { through: { program: packer.program, args: packer.pack } }),
    ...(bypassCache && { through: { program: pastCache.program, args: pastCache.write } }),
  });
}

interface NewFile {
  /** Left out: one is chosen. */
  readonly temporary?: string;
  readonly begin?: Buffer;
  /** Takes the place of its first bytes when it is whole. */
  readonly magic?: Buffer;
  readonly through?: { readonly program: string; readonly args: readonly string[] };
}

async function createFile(
  path: string,
  { begin, magic, through, temporary = temporaryName(path) }: NewFile,
): Promise<StateWriter> {
  await refuseOthers(path);
  let handle: FileHandle | undefined;
  let filter: RunningFilter | undefined;
  let flusher: Flusher | undefined;
  const discard = async (): Promise<void> => {
    await flusher?.stop();
    filter?.kill();
    await filter?.ended.catch(() => undefined);
    filter?.close();
    await handle?.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined); // It may not have been made.
  };
  try {
    handle = await open(temporary, 'wx', 0o600);
    if (begin !== undefined) await handle.write(begin); // from where it then stands, QEMU writes on
    const output = handle;
    if (through !== undefined) filter = await intoFilter(through, output.fd);
    const running = filter;
    flusher = new Flusher(output);
    const flushing = flusher;
    return {
      temporary,
      fd: filter?.fd ?? handle.fd,
      discard,
      finish: async () => {
        running?.close(); // the last to write closes: the program sees the end
        await running?.ended;
        await flushing.stop();
        await settle(output, temporary, path, magic);
      },
    };
  } catch (error) {
    await discard();
    throw fileError(error, 'save to a file', path);
  }
}

/** How long the disk rests between two looks for what is to be written. */
const FLUSH_PAUSE_MS = 20;

/**
 * Brings to the disk what has been written so far, again and again: so the disk works while QEMU writes, and little is
 * left to wait for at the end. Its failures are found then.
 */
class Flusher {
  private readonly done: Promise<void>;
  private isStopped = false;

  constructor(handle: FileHandle) {
    this.done = this.flush(handle);
  }

  private async flush(handle: FileHandle): Promise<void> {
    while (!this.isStopped) {
      await sleep(FLUSH_PAUSE_MS);
      if (!this.isStopped) await handle.datasync().catch(() => undefined); // the last one tells
    }
  }

  stop(): Promise<void> {
    this.isStopped = true;
    return this.done;
  }
}

/** Only a file may be replaced: never a device or a directory somebody named by mistake. */
async function refuseOthers(path: string): Promise<void> {
  const stat = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fileError(error, 'save to a file', path);
  });
  if (stat === undefined || stat.isFile()) return;
  throw new VirtError('file.exists', {
    wanted: 'save to a file',
    reason: `${path} is there and is no regular file`,
  });
}

async function settle(
  handle: FileHandle,
  temporary: string,
  path: string,
  magic: Buffer | undefined,
): Promise<void> {
  try {
    await handle.datasync();
    if (magic !== undefined) {
      // Opened anew: dd may have left the other one in a mode that writes only whole blocks.
      const again = await open(temporary, 'r+');
      try {
        await again.write(magic, 0, magic.length, 0);
        await again.datasync();
      } finally {
        await again.close();
      }
    }
    await handle.close();
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    throw fileError(error, 'save to a file', path);
  }
}

/** A program between a pipe of ours and a file. */
interface RunningFilter extends DescriptorFilter {
  /** Our end of the pipe. */
  readonly fd: number;
  /** Closes our end. Idempotent. */
  close(): void;
}

async function intoFilter(
  { program, args }: NonNullable<NewFile['through']>,
  outputFd: number,
): Promise<RunningFilter> {
  const { readFd, writeFd } = pipe();
  return withEnd(writeFd, readFd, () => startFilter(program, args, { inputFd: readFd, outputFd }));
}

async function fromFilter(program: string, args: readonly string[], inputFd: number): Promise<RunningFilter> {
  const { readFd, writeFd } = pipe();
  return withEnd(readFd, writeFd, () => startFilter(program, args, { inputFd, outputFd: writeFd }));
}

/** Ours is kept, the program's is closed here once the program has its copy. */
async function withEnd(
  ours: number,
  its: number,
  start: () => Promise<DescriptorFilter>,
): Promise<RunningFilter> {
  let isOpen = true;
  const closeOurs = (): void => {
    if (!isOpen) return;
    isOpen = false;
    close(ours);
  };
  try {
    return { ...(await start()), fd: ours, close: closeOurs };
  } catch (error) {
    closeOurs();
    throw error;
  } finally {
    close(its);
  }
}

/** A file with a state, open for QEMU to read. */
export interface OpenState {
  readonly head: PlacedHead;
  /** What QEMU reads, from where it stands. */
  readonly fd: number;
  close(): Promise<void>;
}

/** What a file with a state says of itself. @throws VirtError file.*, saved-state.invalid */
export async function readHead(path: string): Promise<PlacedHead> {
  const handle = await openState(path, constants.O_RDONLY);
  try {
    return await headOf(handle, path);
  } finally {
    await handle.close();
  }
}

/**
 * Opens a file with a state to be loaded.
 * @throws VirtError file.*, saved-state.invalid, program.missing, qemu.lacks
 */
export async function openForLoading(path: string, options: WriteOptions): Promise<OpenState> {
  const handle = await openState(path, constants.O_RDONLY);
  let filter: RunningFilter | undefined;
  try {
    // Sequential reads: the descriptor then stands where QEMU's part begins.
    const head = await headOf(handle, path);
    filter = await reading(head, handle.fd, options);
    return {
      head,
      fd: filter?.fd ?? handle.fd,
      close: async () => {
        filter?.close();
        filter?.kill();
        await filter?.ended.catch(() => undefined); // QEMU has what it needs, or has told what is wrong.
        await handle.close();
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function refuseSparse(format: SaveFormat, wanted: string): void {
  if (format !== 'sparse') return;
  throw new VirtError('request.unsupported', {
    wanted,
    reason: "QEMU's sparse form (mapped-ram) is not supported",
    hint: 'use another format: raw, or zstd for a small file',
  });
}

async function reading(
  { format, headBytes }: PlacedHead,
  fd: number,
  { bypassCache }: WriteOptions,
): Promise<RunningFilter | undefined> {
  refuseSparse(format, 'load a saved state');
  const packer = packers[format];
  if (packer !== undefined) return fromFilter(packer.program, packer.unpack, fd);
  if (!bypassCache) return undefined;
  // libvirt's own images do not begin at a whole block; then the cache is at least not kept full.
  const flag = headBytes % DIRECT_BYTES === 0 ? 'iflag=direct' : 'iflag=nocache';
  return fromFilter(pastCache.program, ['bs=1M', flag, 'status=none'], fd);
}

async function openState(path: string, flags: number): Promise<FileHandle> {
  const handle = await open(path, flags | constants.O_NONBLOCK).catch((error: unknown) => {
    throw fileError(error, 'read a saved state', path);
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new VirtError('saved-state.invalid', {
    wanted: 'read a saved state',
    reason: `${path} is no regular file`,
  });
}

async function headOf(handle: FileHandle, path: string): Promise<PlacedHead> {
  try {
    const fixed = decodeFixedHead(await readExactly(handle, HEADER_BYTES));
    return decodeHead(fixed, await readExactly(handle, fixed.textBytes));
  } catch (error) {
    if (error instanceof VirtError)
      throw new VirtError(error.code, {
        wanted: `read the saved state ${path}`,
        reason: error.reason,
        ...(error.hint !== undefined && { hint: error.hint }),
      });
    throw fileError(error, 'read a saved state', path);
  }
}

/** So many bytes from where the file stands, fewer at its end. */
async function readExactly(handle: FileHandle, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await handle.read(buffer, read, length - read, null);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return buffer.subarray(0, read);
}

/**
 * Writes another head into a file, in place and in as many bytes: what QEMU wrote stays. The file counts as unfinished
 * while that is done.
 * @throws VirtError request.too-large when the definition has grown beyond the room there is, file.*, saved-state.invalid
 */
export async function replaceHead(
  path: string,
  change: (head: PlacedHead) => SavedHead | Promise<SavedHead>,
): Promise<void> {
  const handle = await openState(path, constants.O_RDWR);
  try {
    const before = await headOf(handle, path);
    const bytes = encodeHead(await change(before), { isWhole: false, headBytes: before.headBytes });
    await handle.write(bytes, 0, bytes.length, 0);
    await handle.datasync();
    await handle.write(wholeMagic, 0, wholeMagic.length, 0);
    await handle.datasync();
  } catch (error) {
    throw fileError(error, 'change a saved state', path);
  } finally {
    await handle.close();
  }
}
