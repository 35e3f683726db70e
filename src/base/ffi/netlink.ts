/** One exchange with the kernel over netlink. */
import { constants } from 'node:os';
import { check, FfiError, lastError, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  socket: lib.func('int socket(int domain, int type, int protocol)'),
  setsockopt: lib.func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)'),
  sendto: lib.func(
    'intptr_t sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
  ),
  bind: lib.func('int bind(int fd, const uint8_t *address, uint32_t length)'),
  recv: lib.func('intptr_t recv(int fd, _Out_ uint8_t *data, size_t size, int flags)'),
  close: lib.func('int close(int fd)'),
}));

const SOCK_CLOEXEC = 0o2000000; // asm-generic/fcntl.h
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

/** struct sockaddr_nl (linux/netlink.h): family, padding, port 0 (the kernel's, or a free one), groups. */
function netlinkKernel(groups = 0): Buffer {
  const address = Buffer.alloc(12);
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(groups, 8);
  return address;
}

const MSG_DONTWAIT = 0x40; // linux/socket.h

let listenBuffer: Buffer | undefined;

/** A socket that gets what the kernel tells everybody in some groups of one netlink protocol. libuv cannot wait for it. */
export class NetlinkListener {
  private fd: number;

  /** `groups` is a set of bits, as in struct sockaddr_nl. @throws FfiError */
  constructor(protocol: number, groups: number) {
    this.fd = openNetlink(protocol);
    const address = netlinkKernel(groups);
    if (libc().bind(this.fd, address, address.length) !== -1) return;
    const error = lastError('bind netlink');
    this.close();
    throw error;
  }

  /**
   * What has come since the last call, without waiting. @throws FfiError; ENOBUFS when there was more than the socket
   * could hold, so that something is missing
   */
  receive(): Buffer[] {
    const datagrams: Buffer[] = [];
    // One for all: a daemon that looks every second should make no garbage of 64 KiB each time.
    listenBuffer ??= Buffer.alloc(NETLINK_DATAGRAM_BYTES);
    const buffer = listenBuffer;
    for (;;) {
      const size = Number(libc().recv(this.fd, buffer, buffer.length, MSG_DONTWAIT));
      if (size >= 0) {
        datagrams.push(Buffer.from(buffer.subarray(0, size)));
        continue;
      }
      const error = lastError('recv netlink');
      if (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK') return datagrams;
      throw error;
    }
  }

  close(): void {
    if (this.fd !== -1) libc().close(this.fd);
    this.fd = -1;
  }
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
