/** Descriptors over unix sockets (unix(7), SCM_RIGHTS): sending, receiving, and a pair of sockets to do it over. */
import { constants } from 'node:os';
import { check, FfiError, koffi, lastError, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  sendmsg: lib.func('intptr_t sendmsg(int fd, const void *message, int flags)'),
  recvmsg: lib.func('intptr_t recvmsg(int fd, void *message, int flags)'),
  socketpair: lib.func('int socketpair(int domain, int type, int protocol, _Out_ int *pair)'),
  close: lib.func('int close(int fd)'),
}));

const AF_UNIX = 1; // linux/socket.h
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** The kernel takes no more in one message (SCM_MAX_FD, net/scm.h). */
export const MAX_PASSED_FDS = 253;

/** What one call has received. No bytes and no descriptors: the other end has closed. */
export interface ReceivedFds {
  readonly bytes: Buffer;
  /** Ours from now on, close-on-exec. */
  readonly fds: readonly number[];
}

/**
 * Two connected stream sockets, close-on-exec and blocking (sendWithFds and recvWithFds never wait all the same).
 * @throws FfiError EMFILE
 */
export function socketPair(): [number, number] {
  const pair = [0, 0];
  check('socketpair', libc().socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  return [pair[0] ?? -1, pair[1] ?? -1];
}

/**
 * Sends bytes, and with the first of them copies of the descriptors. Never waits: the answer is how many bytes went,
 * undefined when there is no room now (and then no descriptor went either). The caller keeps its descriptors. What is
 * left of the bytes after a short answer is to be sent without descriptors.
 * @throws FfiError EPIPE when the other end has closed, ...
 */
export function sendWithFds(socket: number, bytes: Uint8Array, fds: readonly number[]): number | undefined {
  // Descriptors travel with a byte; without one a stream socket would drop them (unix(7)).
  if (bytes.length === 0) throw new RangeError('descriptors need at least one byte to travel with');
  if (fds.length > MAX_PASSED_FDS) throw new RangeError(`at most ${MAX_PASSED_FDS} descriptors go at once`);
  return withMessage(bytes.length, fds.length, (message) => {
    message.data.set(bytes);
    message.writeFds(fds);
    const sent = Number(libc().sendmsg(socket, message.pointer, MSG_DONTWAIT | MSG_NOSIGNAL));
    return sent === -1 ? undefinedIfBusy('sendmsg') : sent;
  });
}

/**
 * Receives what is there, at most so much. Never waits: undefined when nothing is there now. More descriptors than
 * `maxFds` are an error: all that came are closed.
 * @throws FfiError EMSGSIZE for too many descriptors, ECONNRESET, ...
 */
export function recvWithFds(socket: number, maxBytes: number, maxFds: number): ReceivedFds | undefined {
  if (maxBytes < 1 || maxFds > MAX_PASSED_FDS) throw new RangeError('nothing can be received so');
  return withMessage(maxBytes, maxFds, (message) => {
    const size = Number(libc().recvmsg(socket, message.pointer, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (size === -1) return undefinedIfBusy('recvmsg');
    const fds = message.readFds();
    if (fds.length > maxFds || message.isTruncated()) {
      for (const fd of fds) libc().close(fd);
      throw new FfiError('recvmsg (too many descriptors)', constants.errno.EMSGSIZE);
    }
    return { bytes: Buffer.from(message.data.subarray(0, size)), fds };
  });
}

function undefinedIfBusy(call: string): undefined {
  const error = lastError(call);
  if (error.errno !== constants.errno.EAGAIN && error.errno !== constants.errno.EINTR) throw error;
  return undefined;
}

/** A msghdr with its parts, in memory that stays where it is. */
interface Message {
  /** Of the msghdr. */
  readonly pointer: unknown;
  readonly data: Buffer;
  writeFds(fds: readonly number[]): void;
  readFds(): number[];
  isTruncated(): boolean;
}

// LP64, little endian (x86-64, arm64; linux/socket.h, linux/uio.h), as offsets. struct msghdr: name 0, namelen 8,
// iov 16, iovlen 24, control 32, controllen 40, flags 48; 56 in all. struct iovec: base 0, len 8; 16 in all. struct
// cmsghdr: len 0 (64 bits), level 8, type 12, then the data from 16 on, padded to 8.
const MSGHDR_BYTES = 56;
const IOVEC_BYTES = 16;
const CMSG_HEADER_BYTES = 16;

/** One block: msghdr, iovec, control, data. Freed when `use` is done, so nothing of it may be kept. */
function withMessage<T>(dataBytes: number, maxFds: number, use: (message: Message) => T): T {
  const controlBytes = maxFds === 0 ? 0 : CMSG_HEADER_BYTES + Math.ceil((4 * maxFds) / 8) * 8;
  const control = MSGHDR_BYTES + IOVEC_BYTES;
  const data = control + controlBytes;
  const pointer = koffi().alloc('uint8_t', data + dataBytes) as unknown;
  try {
    const block = Buffer.from(koffi().view(pointer, data + dataBytes));
    block.fill(0, 0, data);
    const address = koffi().address(pointer);
    block.writeBigUInt64LE(address + BigInt(MSGHDR_BYTES), 16);
    block.writeBigUInt64LE(1n, 24);
    block.writeBigUInt64LE(controlBytes === 0 ? 0n : address + BigInt(control), 32);
    block.writeBigUInt64LE(BigInt(controlBytes), 40);
    block.writeBigUInt64LE(address + BigInt(data), MSGHDR_BYTES);
    block.writeBigUInt64LE(BigInt(dataBytes), MSGHDR_BYTES + 8);
    return use({
      pointer,
      data: block.subarray(data),
      writeFds: (fds) => writeRights(block, control, fds),
      readFds: () => readRights(block, control),
      isTruncated: () => (block.readUInt32LE(48) & MSG_CTRUNC) !== 0,
    });
  } finally {
    koffi().free(pointer);
  }
}

/** One SCM_RIGHTS message with its exact length; without descriptors there is none. */
function writeRights(block: Buffer, control: number, fds: readonly number[]): void {
  const length = fds.length === 0 ? 0 : CMSG_HEADER_BYTES + 4 * fds.length;
  block.writeBigUInt64LE(BigInt(length), 40);
  if (length === 0) return;
  block.writeBigUInt64LE(BigInt(length), control);
  block.writeInt32LE(SOL_SOCKET, control + 8);
  block.writeInt32LE(SCM_RIGHTS, control + 12);
  for (const [index, fd] of fds.entries()) block.writeInt32LE(fd, control + CMSG_HEADER_BYTES + 4 * index);
}

/** The descriptors of all SCM_RIGHTS messages; the kernel has set the length of the control part to what it wrote. */
function readRights(block: Buffer, control: number): number[] {
  const end = control + Number(block.readBigUInt64LE(40));
  const fds: number[] = [];
  for (let at = control; at + CMSG_HEADER_BYTES <= end; ) {
    const length = Number(block.readBigUInt64LE(at));
    if (length < CMSG_HEADER_BYTES) break;
    const isRights = block.readInt32LE(at + 8) === SOL_SOCKET && block.readInt32LE(at + 12) === SCM_RIGHTS;
    const last = Math.min(at + length, end);
    if (isRights)
      for (let fd = at + CMSG_HEADER_BYTES; fd + 4 <= last; fd += 4) fds.push(block.readInt32LE(fd));
    at += Math.ceil(length / 8) * 8;
  }
  return fds;
}
