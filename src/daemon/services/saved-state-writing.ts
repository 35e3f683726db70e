/**
 * Writing files with saved states: under a temporary name, and under their own only when they are whole and on the disk.
 * What QEMU writes goes straight into the file, or through a program that packs it.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { startWriteback } from '../../base/ffi/ranges.ts';
import { syncDirectory, temporarySuffix } from '../../base/files.ts';
import type { SparseForm } from '../../drivers/live-memory.ts';
import { encodeHead, type SavedHead, type SaveFormat, wholeMagic } from '../../model/saved-state/image.ts';
import { intoFilter, packers, pastCache, type RunningFilter, type Through } from './saved-state-filters.ts';

export interface WriteOptions {
  /** Do not fill the host's page cache with it. */
  readonly bypassCache: boolean;
  /** How many threads of QEMU write or read a sparse state; left out: one. Only for that form. */
  readonly channels?: number | undefined;
}

/** A free name beside a file for as long as that is not whole. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path).slice(0, 100)}.${nanoid(8)}${temporarySuffix}`);
}

/** A file with a state in the making. */
export interface StateWriter {
  readonly temporary: string;
  /** Its number in its file system. */
  readonly inode: number;
  /** What QEMU writes to. */
  readonly fd: number;
  /** How it writes, for a sparse state. */
  readonly sparse?: SparseForm;
  /** Waits until everything is on the disk, and gives the file its name. @throws VirtError file.*, program.* */
  finish(): Promise<void>;
  /** Ends a program that packs: QEMU, which may wait for it, then fails to write. */
  interrupt(): void;
  /** Takes it all back. Never rejects. */
  discard(): Promise<void>;
}

/**
 * Begins a file with a state. One that has the name already is replaced only at the end. `temporary`: what it is called
 * until then, for a caller that has noted it.
 * @throws VirtError file.*, program.missing, request.invalid
 */
export async function createState(
  path: string,
  head: SavedHead,
  options: WriteOptions & { readonly temporary?: string },
): Promise<StateWriter> {
  const { bypassCache, temporary } = options;
  checkChannels(head.format, options, `save to ${path}`);
  const packer = packers[head.format];
  if (packer !== undefined && bypassCache)
    throw new VirtError('request.invalid', {
      wanted: `save to ${path}`,
      reason: `a state packed with ${head.format} cannot bypass the page cache`,
    });
  const bytes = encodeHead(head, { isWhole: false });
  return createFile(path, {
    begin: bytes,
    magic: wholeMagic,
    ...(temporary !== undefined && { temporary }),
    ...(packer && { through: { program: packer.program, args: packer.pack } }),
    ...(head.format === 'sparse'
      ? { sparse: { offsetBytes: bytes.length, channels: options.channels ?? 1, bypassCache } }
      : bypassCache && { through: { program: pastCache.program, args: pastCache.write } }),
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
  readonly through?: Through;
  /** QEMU puts each page in its place itself. */
  readonly sparse?: Omit<SparseForm, 'directFd'> & { readonly bypassCache: boolean };
}

async function createFile(
  path: string,
  { begin, magic, through, sparse, temporary = temporaryName(path) }: NewFile,
): Promise<StateWriter> {
  await refuseOthers(path);
  let handle: FileHandle | undefined;
  let direct: FileHandle | undefined;
  let filter: RunningFilter | undefined;
  let flusher: Writeback | undefined;
  const discard = async (): Promise<void> => {
    await flusher?.stop();
    filter?.kill();
    await filter?.ended.catch(() => undefined);
    filter?.close();
    await handle?.close().catch(() => undefined);
    await direct?.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined); // It may not have been made.
  };
  try {
    handle = await open(temporary, 'wx', 0o600);
    if (begin !== undefined) await handle.write(begin); // from where it then stands, QEMU writes on
    const output = handle;
    if (through !== undefined) filter = await intoFilter(through, output.fd);
    const running = filter;
    if (sparse?.bypassCache === true) direct = await open(temporary, constants.O_WRONLY | constants.O_DIRECT);
    const past = direct;
    flusher = new Writeback(output);
    const flushing = flusher;
    const { ino: inode } = await handle.stat();
    return {
      temporary,
      inode,
      fd: filter?.fd ?? handle.fd,
      ...(sparse && { sparse: sparseForm(sparse, past) }),
      interrupt: () => running?.kill(),
      discard,
      finish: async () => {
        running?.close(); // the last to write closes: the program sees the end
        await running?.ended;
        await flushing.stop();
        await past?.close();
        await settle(output, temporary, path, magic);
      },
    };
  } catch (error) {
    await discard();
    throw fileError(error, 'save to a file', path);
  }
}

function sparseForm(
  { offsetBytes, channels }: Omit<SparseForm, 'directFd'>,
  direct: FileHandle | undefined,
): SparseForm {
  return { offsetBytes, channels, ...(direct && { directFd: direct.fd }) };
}

/** How often what has been written so far is sent to the disk. */
const WRITEBACK_PAUSE_MS = 10;

/**
 * Sends to the disk what has been written so far, again and again: so the disk works while QEMU writes, and little is
 * left to wait for at the end. It waits for nothing and commits nothing, and its failures are found at the end.
 */
class Writeback {
  private readonly done: Promise<void>;
  private isStopped = false;

  constructor(handle: FileHandle) {
    this.done = this.send(handle);
  }

  private async send(handle: FileHandle): Promise<void> {
    while (!this.isStopped) {
      await sleep(WRITEBACK_PAUSE_MS);
      if (!this.isStopped) await startWriteback(handle.fd).catch(() => undefined); // the sync at the end tells
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
    if (magic === undefined) await handle.datasync();
    else await writeMagic(temporary, magic);
    await handle.close();
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    throw fileError(error, 'save to a file', path);
  }
}

/**
 * Everything has been written: now it counts as whole, and goes to the disk as one. What a failing host makes of the two
 * still has its temporary name. Opened anew: dd may have left the other descriptor in a mode that writes only whole blocks.
 */
async function writeMagic(temporary: string, magic: Buffer): Promise<void> {
  const again = await open(temporary, 'r+');
  try {
    await again.write(magic, 0, magic.length, 0);
    await again.datasync();
  } finally {
    await again.close();
  }
}

/** Only the sparse form has several threads. @throws VirtError request.invalid */
export function checkChannels(format: SaveFormat, { channels }: WriteOptions, wanted: string): void {
  if (channels === undefined || format === 'sparse') return;
  throw new VirtError('request.invalid', {
    wanted,
    reason: `a state that is ${format} has one stream: only a sparse one has several channels`,
    hint: "save it with the format 'sparse', which needs QEMU 9.0 or later",
  });
}

/** @throws VirtError request.unsupported */
function refuseSparse(format: SaveFormat, wanted: string): void {
  if (format !== 'sparse') return;
  throw new VirtError('request.unsupported', {
    wanted,
    reason: "a plain stream cannot have QEMU's sparse form: it has no head that tells where it begins",
    hint: 'use another format: raw, or zstd for a small file',
  });
}
