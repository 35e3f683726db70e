/** Descriptors that travel with messages: each with one byte of its own behind the message (virnetsocket.c). */

import { VirtError } from '../../../base/errors.ts';
import { recvWithFds, sendWithFds } from '../../../base/ffi/pass-fds.ts';
import { close } from '../../../base/ffi.ts';
import { MAX_DESCRIPTORS } from '../../../libvirt/protocol/message.ts';

/** How one descriptor is sent and received over a unix socket. */
export interface DescriptorPassing {
  /** The most that may come with one message. */
  readonly maxPerMessage: number;
  /** Sends a copy of `fd` with one byte of zero; false when there is no room now. @throws FfiError */
  send(socketFd: number, fd: number): boolean;
  /** Receives one byte with its descriptor; undefined when it is not there yet. @throws FfiError, VirtError */
  receive(socketFd: number): number | undefined;
}

const zero = new Uint8Array(1);

/** By sendmsg and recvmsg. */
export const kernelDescriptorPassing: DescriptorPassing = {
  maxPerMessage: MAX_DESCRIPTORS,
  send: (socketFd, fd) => sendWithFds(socketFd, zero, [fd]) === 1,
  receive(socketFd) {
    const received = recvWithFds(socketFd, 1, 1);
    if (received === undefined) return undefined;
    const [fd, ...more] = received.fds;
    for (const other of more) close(other);
    if (fd !== undefined && received.bytes.length === 1) return fd;
    if (fd !== undefined) close(fd);
    throw new VirtError('request.invalid', { reason: 'a descriptor was announced and a plain byte came' });
  },
};
