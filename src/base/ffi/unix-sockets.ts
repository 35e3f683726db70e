/** Unix sockets: listening, connecting, datagrams, and who is at the other end. */
import { constants } from 'node:os';
import { check, FfiError, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  socket: lib.func('int socket(int domain, int type, int protocol)'),
  bind: lib.func('int bind(int fd, const uint8_t *address, uint32_t length)'),
  connect: lib.func('int connect(int fd, const uint8_t *address, uint32_t length)'),
  listen: lib.func('int listen(int fd, int backlog)'),
  close: lib.func('int close(int fd)'),
  sendto: lib.func(
    'intptr_t sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
  ),
  getsockopt: lib.func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  ),
}));

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
