/**
 * Segments: an Ethernet between guests of one user, without rights and without a bridge. QEMU sends the frames to a
 * multicast group over the loopback interface; the group follows from the segment's name and the user.
 */
import { createHash } from 'node:crypto';

/**
 * The groups of segments, in the local scope of RFC 2365. QEMU uses these over loopback, so that nothing leaves the
 * host; any other group goes where the host's routes send it, as libvirt has it.
 */
const GROUP_PREFIX = '239.255.118.';

/** Below the range that the kernel gives to programs (ip_local_port_range: from 32768). */
const FIRST_PORT = 10_000;
const PORT_COUNT = 20_000;

export interface SegmentAddress {
  readonly address: string;
  readonly port: number;
}

/** The group and UDP port of a segment. Two names of one host have the same by a chance of one to five million. */
export function segmentAddress(name: string, uid: number): SegmentAddress {
  const digest = createHash('sha256').update(`vireo segment ${uid} ${name}`).digest();
  return {
    address: `${GROUP_PREFIX}${1 + (digest.readUInt32LE(0) % 254)}`,
    port: FIRST_PORT + (digest.readUInt32LE(4) % PORT_COUNT),
  };
}

/** Whether a multicast group is one of a segment's, and so stays on the host. */
export function isSegmentGroup(address: string): boolean {
  return address.startsWith(GROUP_PREFIX);
}
