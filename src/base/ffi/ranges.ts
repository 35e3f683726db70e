/**
 * File calls that Node lacks: holes, sharing and copying of ranges, taking space ahead, sizes of block devices. Those that
 * may keep the kernel busy run on a thread of libuv's pool; each takes one range, so callers stay able to stop between two.
 */
import { FfiError, ioctlBuffer } from '../ffi.ts';
import { koffi } from './libc.ts';

// Loaded at the first call, as in libc.ts.
let loaded: ReturnType<typeof load> | undefined;

function libc(): ReturnType<typeof load> {
  loaded ??= load();
  return loaded;
}

function load() {
  const lib = koffi().load('libc.so.6');
  // The 64-bit names exist on every architecture of glibc; offsets are 64 bits wide with them.
  return {
    lseek: lib.func('int64_t lseek64(int fd, int64_t offset, int whence)'),
    fallocate: lib.func('int fallocate64(int fd, int mode, int64_t offset, int64_t length)'),
    syncFileRange: lib.func(
      'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
    ),
    copyFileRange: lib.func(
      'int64_t copy_file_range(int from, _Inout_ uint8_t *fromOffset, int to, _Inout_ uint8_t *toOffset, size_t length, unsigned int flags)',
    ),
    ioctlNumber: lib.func('int ioctl(int fd, unsigned long request, unsigned long argument)'),
    ioctlRange: lib.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
  };
}

type Foreign = ReturnType<typeof load>['fallocate'];

/** Arguments of calls that run: the memory of their buffers must stay until the kernel is done with it. */
const inUse = new Set<readonly unknown[]>();

/** A call on another thread. koffi keeps that thread's errno for the callback, and only for it (since 3.2.0). */
function aside(call: string, foreign: Foreign, args: readonly unknown[]): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  inUse.add(args);
  foreign.async(...args, (error: unknown, result: unknown) => {
    const errno = koffi().errno();
    inUse.delete(args);
    if (error) reject(new Error(`${call} could not be called`, { cause: error }));
    else if (Number(result) === -1) reject(new FfiError(call, errno));
    else resolve(Number(result));
  });
  return promise;
}

const SEEK_DATA = 3; // linux/fs.h
const SEEK_HOLE = 4;

/** Where the next data begins at or after `offset`; undefined when only a hole follows. lseek(2), SEEK_DATA. */
export function seekData(fd: number, offset: number): number | undefined {
  const found = Number(libc().lseek(fd, offset, SEEK_DATA));
  if (found !== -1) return found;
  const error = new FfiError('lseek SEEK_DATA', koffi().errno());
  if (error.code === 'ENXIO') return undefined;
  throw error;
}

/** Where the data at `offset` ends: at a hole, or at the end of the file. lseek(2), SEEK_HOLE. */
export function seekHole(fd: number, offset: number): number {
  const found = Number(libc().lseek(fd, offset, SEEK_HOLE));
  if (found === -1) throw new FfiError('lseek SEEK_HOLE', koffi().errno());
  return found;
}

/** Modes of fallocate(2) (linux/falloc.h). */
const modes = {
  allocate: 0,
  allocateKeepSize: 0x01,
  punch: 0x02 | 0x01,
  zero: 0x10,
  zeroKeepSize: 0x10 | 0x01,
} as const;
export type FallocateMode = keyof typeof modes;

/** fallocate(2) of one range. @throws FfiError EOPNOTSUPP where the file system cannot, ENOSPC when it is full */
export async function fallocate(
  fd: number,
  mode: FallocateMode,
  offset: number,
  length: number,
): Promise<void> {
  await aside('fallocate', libc().fallocate, [fd, modes[mode], offset, length]);
}

const SYNC_FILE_RANGE_WRITE = 2; // linux/fs.h

/**
 * Begins to write to the disk what a file has in memory, of a range or of all of it, and waits for nothing: neither is it
 * there afterwards, nor are its place and length. sync_file_range(2). @throws FfiError ESPIPE for what is no file
 */
export async function startWriteback(fd: number, offset = 0, length = 0): Promise<void> {
  await aside('sync_file_range', libc().syncFileRange, [fd, offset, length, SYNC_FILE_RANGE_WRITE]);
}

/** The kernel copies at most so much in one call (MAX_RW_COUNT, linux/fs.h). */
const MAX_COPY_BYTES = 0x7fff_f000;

/** copy_file_range(2) within the same offsets; returns how much was copied, 0 at the end of the source. */
export async function copyFileRange(
  from: number,
  to: number,
  offset: number,
  length: number,
): Promise<number> {
  const at = () => {
    const buffer = Buffer.alloc(8); // loff_t
    buffer.writeBigInt64LE(BigInt(offset));
    return buffer;
  };
  const bytes = Math.min(length, MAX_COPY_BYTES);
  return aside('copy_file_range', libc().copyFileRange, [from, at(), to, at(), bytes, 0]);
}

const FICLONE = 0x4004_9409; // linux/fs.h: _IOW(0x94, 9, int)

/** Lets a file share all blocks of another (ioctl_ficlone(2)). @throws FfiError EOPNOTSUPP, EXDEV, EINVAL where it cannot */
export async function shareBlocks(from: number, to: number): Promise<void> {
  await aside('ioctl FICLONE', libc().ioctlNumber, [to, FICLONE, from]);
}

const BLKGETSIZE64 = 0x8008_1272; // linux/fs.h: _IOR(0x12, 114, size_t)

/** Length of an open block device in bytes. */
export function blockDeviceBytes(fd: number): number {
  const buffer = Buffer.alloc(8);
  ioctlBuffer(fd, BLKGETSIZE64, buffer);
  return Number(buffer.readBigUInt64LE());
}

const BLKDISCARD = 0x1277; // linux/fs.h: _IO(0x12, 119), a pointer to two 64-bit numbers

/** Tells a block device that a range is not needed any more. @throws FfiError EOPNOTSUPP where it cannot */
export async function discardBlocks(fd: number, offset: number, length: number): Promise<void> {
  const range = Buffer.alloc(16);
  range.writeBigUInt64LE(BigInt(offset), 0);
  range.writeBigUInt64LE(BigInt(length), 8);
  await aside('ioctl BLKDISCARD', libc().ioctlRange, [fd, BLKDISCARD, range]);
}

const FS_IOC_GETFLAGS = 0x8008_6601; // linux/fs.h: _IOR('f', 1, long); the kernel moves an int
const FS_IOC_SETFLAGS = 0x4008_6602;
const FS_NOCOW_FL = 0x0080_0000;

/** Turns copy on write off for an empty file (btrfs). @throws FfiError ENOTTY, EOPNOTSUPP where there is no such thing */
export function disableCopyOnWrite(fd: number): void {
  const flags = Buffer.alloc(8);
  ioctlBuffer(fd, FS_IOC_GETFLAGS, flags);
  flags.writeUInt32LE((flags.readUInt32LE() | FS_NOCOW_FL) >>> 0);
  ioctlBuffer(fd, FS_IOC_SETFLAGS, flags);
}
