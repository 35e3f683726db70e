/**
 * All foreign function calls: libc through koffi, nowhere else. Each wrapper checks the return value, reads errno at
 * once and throws FfiError; buffers are made here, with the layout's source named, and are large enough for it.
 */
import { constants } from 'node:os';
import koffi from 'koffi';

/** A failed libc call with its errno. `code` is the errno's name (`EACCES`), as in Node's own errors. */
export class FfiError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly call: string;

  constructor(call: string, errno: number) {
    const code = errnoName(errno);
    super(`${call}: ${code}`);
    this.name = 'FfiError';
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

// Loaded at the first call: koffi costs about 7 MiB and 10 ms, which a client that needs none of it shouldn't pay.
let loaded: ReturnType<typeof load> | undefined;

function libc(): ReturnType<typeof load> {
  loaded ??= load();
  return loaded;
}

function load() {
  const lib = koffi.load('libc.so.6');
  return {
    open: lib.func('int open(const char *path, int flags, unsigned int mode)'),
    close: lib.func('int close(int fd)'),
    ioctlNumber: lib.func('int ioctl(int fd, unsigned long request, unsigned long argument)'),
    ioctlBuffer: lib.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
    mmap: lib.func(
      'intptr_t mmap(intptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
    ),
    munmap: lib.func('int munmap(intptr_t address, size_t length)'),
    socket: lib.func('int socket(int domain, int type, int protocol)'),
    bind: lib.func('int bind(int fd, const uint8_t *address, uint32_t length)'),
    connect: lib.func('int connect(int fd, const uint8_t *address, uint32_t length)'),
    listen: lib.func('int listen(int fd, int backlog)'),
    sendto: lib.func(
      'intptr_t sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
    ),
    recv: lib.func('intptr_t recv(int fd, _Out_ uint8_t *data, size_t size, int flags)'),
    setsockopt: lib.func(
      'int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)',
    ),
    fcntl: lib.func('int fcntl(int fd, int command, long argument)'),
    flock: lib.func('int flock(int fd, int operation)'),
    getsockopt: lib.func(
      'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
    ),
    prlimit: lib.func('int prlimit64(int pid, int resource, const uint8_t *limit, _Out_ uint8_t *old)'),
    waitpid: lib.func('int waitpid(int pid, _Out_ int *status, int options)'),
    memfdCreate: lib.func('int memfd_create(const char *name, unsigned int flags)'),
    syscall: lib.func('long syscall(long number, long a, long b, long c, long d)'),
    spawn: lib.func(
      'int posix_spawn(_Out_ int *pid, const char *path, const void *actions, const void *attributes, const char **argv, const char **envp)',
    ),
    actionsInit: lib.func('int posix_spawn_file_actions_init(void *actions)'),
    actionsDestroy: lib.func('int posix_spawn_file_actions_destroy(void *actions)'),
    actionsAddDup2: lib.func('int posix_spawn_file_actions_adddup2(void *actions, int from, int to)'),
    actionsAddCloseFrom: lib.func('int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)'),
    actionsAddChdir: lib.func('int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)'),
    attrInit: lib.func('int posix_spawnattr_init(void *attributes)'),
    attrDestroy: lib.func('int posix_spawnattr_destroy(void *attributes)'),
    attrSetFlags: lib.func('int posix_spawnattr_setflags(void *attributes, short flags)'),
    attrSetSigmask: lib.func('int posix_spawnattr_setsigmask(void *attributes, const void *mask)'),
    attrSetSigdefault: lib.func('int posix_spawnattr_setsigdefault(void *attributes, const void *mask)'),
  };
}

/** Throws when the call gave -1. */
function check(call: string, result: number): number {
  if (result === -1) throw new FfiError(call, koffi.errno());
  return result;
}

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
  if (BigInt(address) === -1n) throw new FfiError('mmap', koffi.errno());
  return address;
}

const PROT_READ = 1; // asm-generic/mman-common.h
const PROT_WRITE = 2;
const MAP_SHARED = 1; // linux/mman.h

export function munmap(address: bigint | number, length: number): void {
  check('munmap', libc().munmap(address, length));
}

const AF_UNIX = 1; // linux/socket.h
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;

/**
 * struct sockaddr_un (linux/un.h): a 16-bit family in host order, then 108 bytes of path with a final NUL. A leading
 * '@' means an abstract address (a NUL in its place, no final NUL).
 */
function unixAddress(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length > MAX_UNIX_PATH) throw new FfiError(`socket path ${path}`, constants.errno.ENAMETOOLONG);
  const isAbstract = path.startsWith('@');
  const address = Buffer.alloc(2 + bytes.length + (isAbstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  if (isAbstract) address[2] = 0;
  return address;
}

/** The longest path of a unix socket in bytes (108 with the final NUL). */
export const MAX_UNIX_PATH = 107;

/** Binds a unix stream socket and listens; returns its descriptor (close-on-exec, blocking). */
export function listenUnix(path: string, backlog = 1): number {
  const address = unixAddress(path);
  const fd = check('socket', libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  try {
    check(`bind ${path}`, libc().bind(fd, address, address.length));
    check(`listen ${path}`, libc().listen(fd, backlog));
  } catch (error) {
    libc().close(fd);
    throw error;
  }
  return fd;
}

/**
 * Connects a unix stream socket; returns its descriptor. It never waits: a listener whose queue is full gives EAGAIN.
 * The descriptor is non-blocking.
 */
export function connectUnix(path: string): number {
  const address = unixAddress(path);
  const fd = check('socket', libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  try {
    check(`connect ${path}`, libc().connect(fd, address, address.length));
  } catch (error) {
    libc().close(fd);
    throw error;
  }
  return fd;
}

/** Sends one datagram to a unix socket, path or abstract ('@name'), as sd_notify(3) wants it. */
export function sendUnixDatagram(path: string, data: Uint8Array): void {
  const address = unixAddress(path);
  const fd = check('socket', libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    // MSG_DONTWAIT | MSG_NOSIGNAL (linux/socket.h): a full or closed receiver is an error, never a wait or a signal.
    check(
      `sendto ${path}`,
      Number(libc().sendto(fd, data, data.length, 0x40 | 0x4000, address, address.length)),
    );
  } finally {
    libc().close(fd);
  }
}

const AF_NETLINK = 16; // linux/socket.h
const SOCK_RAW = 3;

/** The kernel's largest piece of a dump is 32 KiB (af_netlink.c); one datagram never exceeds this. */
const NETLINK_DATAGRAM_BYTES = 65_536;

/**
 * One exchange with the kernel over a netlink socket of its own (netlink(7)): sends the request and collects datagrams
 * until `isComplete` says of one that it was the last. The kernel works within the sending call, so this doesn't wait;
 * should an answer be missing all the same, it ends with EAGAIN after two seconds.
 */
export function netlinkExchange(
  protocol: number,
  request: Uint8Array,
  isComplete: (datagram: Buffer) => boolean,
): Buffer[] {
  const fd = openNetlink(protocol);
  try {
    const kernel = netlinkKernel();
    check('sendto netlink', Number(libc().sendto(fd, request, request.length, 0, kernel, kernel.length)));
    return receiveNetlink(fd, isComplete);
  } finally {
    libc().close(fd);
  }
}

/**
 * The same for requests that keep the kernel busy for long (taking a link away waits for all CPUs, 30 ms and more): the
 * sending call runs on another thread. The socket belongs to the network namespace of the thread that calls this.
 */
export async function netlinkExchangeAside(
  protocol: number,
  request: Uint8Array,
  isComplete: (datagram: Buffer) => boolean,
): Promise<Buffer[]> {
  const fd = openNetlink(protocol);
  try {
    const kernel = netlinkKernel();
    const sent = await new Promise<number>((resolve, reject) => {
      const done = (error: unknown, result: unknown) =>
        error instanceof Error ? reject(error) : resolve(Number(result));
      libc().sendto.async(fd, request, request.length, 0, kernel, kernel.length, done);
    });
    // errno is another thread's; what the kernel thinks of the request is in its answer, so this is a lack of memory.
    if (sent === -1) throw new FfiError('sendto netlink', constants.errno.ENOBUFS);
    return receiveNetlink(fd, isComplete);
  } finally {
    libc().close(fd);
  }
}

function openNetlink(protocol: number): number {
  const fd = check('socket netlink', libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  // struct timeval (asm-generic): seconds and microseconds, 64 bits each.
  const timeout = Buffer.alloc(16);
  timeout.writeBigInt64LE(2n, 0);
  // SOL_SOCKET 1, SO_RCVTIMEO 20 (asm-generic/socket.h).
  check('setsockopt SO_RCVTIMEO', libc().setsockopt(fd, 1, 20, timeout, timeout.length));
  return fd;
}

/** struct sockaddr_nl (linux/netlink.h): family, padding, port 0 (the kernel), no groups. */
function netlinkKernel(): Buffer {
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK, 0);
  return address;
}

function receiveNetlink(fd: number, isComplete: (datagram: Buffer) => boolean): Buffer[] {
  const datagrams: Buffer[] = [];
  const buffer = Buffer.alloc(NETLINK_DATAGRAM_BYTES);
  for (;;) {
    const size = check('recv netlink', Number(libc().recv(fd, buffer, buffer.length, 0)));
    const datagram = Buffer.from(buffer.subarray(0, size));
    datagrams.push(datagram);
    if (isComplete(datagram)) return datagrams;
  }
}

/** Who is at the other end of a unix socket, at the time it connected. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** SO_PEERCRED: struct ucred (linux/socket.h) is three 32-bit numbers, pid, uid, gid. */
export function peerCredentials(fd: number): PeerCredentials {
  const value = Buffer.alloc(12);
  const SOL_SOCKET = 1; // asm-generic/socket.h
  const SO_PEERCRED = 17;
  check('getsockopt SO_PEERCRED', libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, [value.length]));
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

const F_DUPFD_CLOEXEC = 1030; // linux/fcntl.h

/** Duplicates a descriptor to the lowest free number from `least` up, close-on-exec. */
export function duplicateAbove(fd: number, least: number): number {
  return check('fcntl F_DUPFD_CLOEXEC', libc().fcntl(fd, F_DUPFD_CLOEXEC, least));
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
  const errno = koffi.errno();
  if (errno === constants.errno.EWOULDBLOCK) return false;
  throw new FfiError('flock', errno);
}

// asm-generic/unistd.h: these numbers are the same on every architecture since Linux 5.x.
const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;

/** A descriptor for a process; readable when it has ended. */
export function pidfdOpen(pid: number): number {
  return check(`pidfd_open ${pid}`, Number(libc().syscall(SYS_pidfd_open, pid, 0, 0, 0)));
}

/** Sends a signal to exactly the process behind the pidfd, never to a later one with its pid. */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  check('pidfd_send_signal', Number(libc().syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0)));
}

/** How a child ended: exit code, or the number of the signal that ended it. */
export interface WaitStatus {
  readonly exitCode?: number;
  readonly signal?: number;
}

/** waitpid(pid, WNOHANG): the child's end, or undefined while it runs. Throws ECHILD when it is no child of ours. */
export function reapChild(pid: number): WaitStatus | undefined {
  const status = [0];
  const WNOHANG = 1;
  const result = check(`waitpid ${pid}`, libc().waitpid(pid, status, WNOHANG));
  if (result === 0) return undefined;
  // wait(2)'s encoding (linux: low 7 bits the signal, next byte the exit code).
  const raw = status[0] ?? 0;
  const signal = raw & 0x7f;
  return signal === 0 ? { exitCode: (raw >> 8) & 0xff } : { signal };
}

/** Resources of prlimit(2) (asm-generic/resource.h, the same on x86 and arm64). */
const resources = { coreBytes: 4, openFiles: 7 } as const;
export type LimitedResource = keyof typeof resources;

/** A soft and a hard limit; without limit is 2^64 - 1. */
export interface ResourceLimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** prlimit(2): the limit of a process, 0 being this one. struct rlimit64 is two 64-bit numbers, soft and hard. */
export function getLimit(pid: number, resource: LimitedResource): ResourceLimit {
  const value = Buffer.alloc(16);
  check(`prlimit ${resource}`, libc().prlimit(pid, resources[resource], null, value));
  return { soft: value.readBigUInt64LE(0), hard: value.readBigUInt64LE(8) };
}

/** prlimit(2): sets the limit of a process, 0 being this one. */
export function setLimit(pid: number, resource: LimitedResource, limit: ResourceLimit): void {
  const value = Buffer.alloc(16);
  value.writeBigUInt64LE(limit.soft, 0);
  value.writeBigUInt64LE(limit.hard, 8);
  check(`prlimit ${resource}`, libc().prlimit(pid, resources[resource], value, null));
}

export interface SpawnRequest {
  /** Absolute path of the program. */
  readonly file: string;
  /** argv with argv[0]. */
  readonly argv: readonly string[];
  /** The whole environment, `NAME=value`. */
  readonly environment: readonly string[];
  /** Working directory of the child. */
  readonly directory: string;
  /** The child's descriptors, from 0 up without gaps: entry N becomes descriptor N; all others are closed. */
  readonly descriptors: readonly number[];
  /** Start a new session (and so a new process group without a terminal). */
  readonly newSession: boolean;
}

const POSIX_SPAWN_SETSIGDEF = 0x04; // spawn.h of glibc
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;

/**
 * posix_spawn(3): starts a program without copying this process's page tables, and returns its pid. All signals get
 * their default action and none is blocked (Node ignores SIGPIPE, which a child would inherit).
 */
export function posixSpawn(request: SpawnRequest): number {
  const prepared = prepareSpawn(request);
  try {
    return prepared.pidOf(libc().spawn(...prepared.args));
  } finally {
    prepared.release();
  }
}

/**
 * As posixSpawn, on a thread of libuv's pool: the caller of posix_spawn sleeps until its child has executed the program
 * (vfork(2)), and on a busy host that takes ten milliseconds and more. The descriptors may be closed when it is done.
 */
export async function posixSpawnAsync(request: SpawnRequest): Promise<number> {
  const prepared = prepareSpawn(request);
  try {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    libc().spawn.async(...prepared.args, (error: unknown, result: number) => {
      if (error) reject(new Error('posix_spawn could not be called', { cause: error }));
      else resolve(result);
    });
    return prepared.pidOf(await promise);
  } finally {
    prepared.release();
  }
}

interface PreparedSpawn {
  /** Of the libc function. */
  readonly args: readonly unknown[];
  /** The pid, when that was the function's result. */
  pidOf(result: number): number;
  release(): void;
}

/** The posix_spawn family returns the errno itself. */
function must(call: string, error: number): void {
  if (error !== 0) throw new FfiError(call, error);
}

function prepareSpawn(request: SpawnRequest): PreparedSpawn {
  // glibc (x86-64, arm64): posix_spawn_file_actions_t is 80 bytes, posix_spawnattr_t 336, sigset_t 128; 512 covers each.
  const actions = koffi.alloc('uint8_t', 512) as unknown;
  const attributes = koffi.alloc('uint8_t', 512) as unknown;
  const raised: number[] = [];
  const api = libc();
  const release = (): void => {
    for (const fd of raised) api.close(fd);
    api.actionsDestroy(actions);
    api.attrDestroy(attributes);
    koffi.free(actions);
    koffi.free(attributes);
  };
  must('posix_spawn_file_actions_init', api.actionsInit(actions));
  must('posix_spawnattr_init', api.attrInit(attributes));
  try {
    // Sources are moved above all targets first, so that no dup2 overwrites a later source.
    for (const fd of request.descriptors) raised.push(duplicateAbove(fd, request.descriptors.length));
    raised.forEach((fd, target) => must('adddup2', api.actionsAddDup2(actions, fd, target)));
    must('addclosefrom', api.actionsAddCloseFrom(actions, raised.length));
    must('addchdir', api.actionsAddChdir(actions, request.directory));
    must('setsigmask', api.attrSetSigmask(attributes, Buffer.alloc(128)));
    must('setsigdefault', api.attrSetSigdefault(attributes, Buffer.alloc(128, 0xff)));
    const session = request.newSession ? POSIX_SPAWN_SETSID : 0;
    must('setflags', api.attrSetFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | session));
  } catch (error) {
    release();
    throw error;
  }
  const pid = [0];
  const argv = [...request.argv, null];
  const environment = [...request.environment, null];
  return {
    args: [pid, request.file, actions, attributes, argv, environment],
    pidOf: (result) => {
      must(`posix_spawn ${request.file}`, result);
      return pid[0] ?? 0;
    },
    release,
  };
}
