/** Descriptors: opening, ioctl, memory maps, memfds, pipes, locks. */
import { constants } from 'node:os';
import { check, lastError, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  open: lib.func('int open(const char *path, int flags, unsigned int mode)'),
  close: lib.func('int close(int fd)'),
  ioctlNumber: lib.func('int ioctl(int fd, unsigned long request, unsigned long argument)'),
  ioctlBuffer: lib.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
  mmap: lib.func(
    'intptr_t mmap(intptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
  ),
  munmap: lib.func('int munmap(intptr_t address, size_t length)'),
  fcntl: lib.func('int fcntl(int fd, int command, long argument)'),
  flock: lib.func('int flock(int fd, int operation)'),
  memfdCreate: lib.func('int memfd_create(const char *name, unsigned int flags)'),
  pipe2: lib.func('int pipe2(_Out_ int *ends, int flags)'),
}));

/** open(2). O_CLOEXEC is always added. `flags` are from fs.constants. */
export function open(path: string, flags: number, mode = 0): number {
  return check(`open ${path}`, libc().open(path, flags | O_CLOEXEC, mode));
}

/** O_CLOEXEC of the generic Linux ABI (asm-generic/fcntl.h), the same on x86 and arm64. */
const O_CLOEXEC = 0o2000000;

export function close(fd: number): void {
  check('close', libc().close(fd));
}

/** ioctl(2) with a number (or nothing) as its argument; returns the call's result. */
export function ioctl(fd: number, request: number, argument = 0): number {
  return check('ioctl', libc().ioctlNumber(fd, request, argument));
}

/** ioctl(2) with a structure: the kernel reads and writes `buffer`, which must be as large as the request says. */
export function ioctlBuffer(fd: number, request: number, buffer: Uint8Array): number {
  // _IOC_SIZE of the request (asm-generic/ioctl.h): 14 bits from bit 16; 0 for old-style numbers such as SIOC*.
  const size = Math.floor(request / 0x10000) % 0x4000;
  if (buffer.length < size)
    throw new RangeError(`ioctl needs ${size} bytes, the buffer has ${buffer.length}`);
  return check('ioctl', libc().ioctlBuffer(fd, request, buffer));
}

/** mmap(2), shared and read-write; returns the address. Only for checks: the memory is never read from JavaScript. */
export function mmapShared(fd: number, length: number): bigint | number {
  const address = libc().mmap(0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) as bigint | number;
  if (BigInt(address) === -1n) throw lastError('mmap');
  return address;
}

const PROT_READ = 1; // asm-generic/mman-common.h
const PROT_WRITE = 2;
const MAP_SHARED = 1; // linux/mman.h

export function munmap(address: bigint | number, length: number): void {
  check('munmap', libc().munmap(address, length));
}

const F_DUPFD_CLOEXEC = 1030; // linux/fcntl.h

/** Duplicates a descriptor to the lowest free number from `least` up, close-on-exec. */
export function duplicateAbove(fd: number, least: number): number {
  return check('fcntl F_DUPFD_CLOEXEC', libc().fcntl(fd, F_DUPFD_CLOEXEC, least));
}

/** F_GETFL: how a descriptor was opened, as fs.constants' O_* say it. @throws FfiError EBADF */
export function statusFlags(fd: number): number {
  const F_GETFL = 3; // asm-generic/fcntl.h
  return check('fcntl F_GETFL', libc().fcntl(fd, F_GETFL, 0));
}

/** pipe2(2), close-on-exec and blocking: the end to read from, and the one to write to. @throws FfiError EMFILE */
export function pipe(): { readonly readFd: number; readonly writeFd: number } {
  const ends = [0, 0];
  check('pipe2', libc().pipe2(ends, O_CLOEXEC));
  return { readFd: ends[0] ?? -1, writeFd: ends[1] ?? -1 };
}

const MFD_CLOEXEC = 1; // linux/memfd.h
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033; // linux/fcntl.h
const ALL_SEALS = 0xf; // F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE

/** memfd_create(2): a file in memory without a name, of mode 0777, that can be sealed. `name` shows in /proc only. */
export function memfdCreate(name: string): number {
  return check('memfd_create', libc().memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

/** Makes a memfd's content final: whoever opens it later can neither write nor resize it. */
export function sealMemfd(fd: number): void {
  check('fcntl F_ADD_SEALS', libc().fcntl(fd, F_ADD_SEALS, ALL_SEALS));
}

/** flock(2), exclusive and without waiting: true when the lock is ours; it ends with the process. */
export function tryLock(fd: number): boolean {
  const LOCK_EX_NB = 2 | 4; // asm-generic/fcntl.h
  if (libc().flock(fd, LOCK_EX_NB) === 0) return true;
  const error = lastError('flock');
  if (error.errno === constants.errno.EWOULDBLOCK) return false;
  throw error;
}
