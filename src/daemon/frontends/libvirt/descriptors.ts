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

/** Descriptors follow their message at once; a client that does not send them holds only itself, so long. */
const DESCRIPTOR_WAIT_MS = 5000;
const DESCRIPTOR_POLL_MS = 2;

/** Receives as many as were announced; on any failure those that came are closed. @throws VirtError request.invalid, FfiError */
export async function receiveDescriptors(
  passing: DescriptorPassing,
  socketFd: number,
  { count, isGone }: { readonly count: number; readonly isGone: () => boolean },
): Promise<number[]> {
  const fds: number[] = [];
  const deadline = performance.now() + DESCRIPTOR_WAIT_MS;
  try {
    while (fds.length < count) {
      if (isGone() || performance.now() > deadline)
        throw new VirtError('request.invalid', { reason: 'descriptors were announced and did not come' });
      const fd = passing.receive(socketFd);
      if (fd === undefined) await new Promise((resolve) => setTimeout(resolve, DESCRIPTOR_POLL_MS));
      else fds.push(fd);
    }
    return fds;
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}
