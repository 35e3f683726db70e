/** Files with saved states that are there: read, loaded, copied, and given another definition. */
import { constants } from 'node:fs';
import { chmod, copyFile, type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nanoid } from 'nanoid';
import { fileError, VirtError } from '../../base/errors.ts';
import { syncDirectory, temporarySuffix } from '../../base/files.ts';
import type { SparseForm } from '../../drivers/live-memory.ts';
import {
  decodeFixedHead,
  decodeHead,
  encodeHead,
  HEADER_BYTES,
  type PlacedHead,
  type SavedHead,
  wholeMagic,
} from '../../model/saved-state/image.ts';
import { DIRECT_BYTES, fromFilter, packers, pastCache, type RunningFilter } from './saved-state-filters.ts';
import { checkChannels, type WriteOptions } from './saved-state-writing.ts';

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

/** A file with a state, open for QEMU to read. */
export interface OpenState {
  readonly head: PlacedHead;
  /** What QEMU reads, from where it stands. */
  readonly fd: number;
  /** How it reads, for a sparse state. */
  readonly sparse?: SparseForm;
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
 * @throws VirtError file.*, saved-state.invalid, program.missing, request.invalid
 */
export async function openForLoading(path: string, options: WriteOptions): Promise<OpenState> {
  const handle = await openState(path, constants.O_RDONLY);
  let filter: RunningFilter | undefined;
  let direct: FileHandle | undefined;
  try {
    // Sequential reads: the descriptor then stands where QEMU's part begins.
    const head = await headOf(handle, path);
    checkChannels(head.format, options, `load the saved state ${path}`);
    filter = await reading(head, handle.fd, options);
    if (head.format === 'sparse' && options.bypassCache)
      direct = await open(path, constants.O_RDONLY | constants.O_DIRECT);
    const past = direct;
    return {
      head,
      fd: filter?.fd ?? handle.fd,
      ...(head.format === 'sparse' && { sparse: sparseForm(head.headBytes, options.channels, past) }),
      close: async () => {
        filter?.close();
        filter?.kill();
        await filter?.ended.catch(() => undefined); // QEMU has what it needs, or has told what is wrong.
        await past?.close();
        await handle.close();
      },
    };
  } catch (error) {
    await handle.close();
    throw fileError(error, 'read a saved state', path);
  }
}

function sparseForm(offsetBytes: number, channels = 1, direct: FileHandle | undefined): SparseForm {
  return { offsetBytes, channels, ...(direct && { directFd: direct.fd }) };
}

async function reading(
  { format, headBytes }: PlacedHead,
  fd: number,
  { bypassCache }: WriteOptions,
): Promise<RunningFilter | undefined> {
  if (format === 'sparse') return undefined;
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
