/** How much the kernel holds for a socket on its way out. */
import { lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  setsockopt: lib.func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)'),
}));

const SOL_SOCKET = 1; // asm-generic/socket.h
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;

/**
 * Makes room for `bytes` that were sent and not read yet (socket(7), SO_SNDBUF). Without the right to pass the host's limit
 * (net.core.wmem_max) it is what the limit allows. A request that fails leaves the buffer as it was: less room is slower,
 * and nothing else.
 */
export function growSendBuffer(fd: number, bytes: number): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(bytes);
  if (libc().setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, value, value.length) === 0) return;
  libc().setsockopt(fd, SOL_SOCKET, SO_SNDBUF, value, value.length);
}
