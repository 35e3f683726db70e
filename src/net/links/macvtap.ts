/** Macvtaps (linux/if_link.h, drivers/net/macvtap.c): a guest's own place on an interface of the host. */
import { constants, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import { close, ioctlBuffer, open } from '../../base/ffi.ts';
import {
  attribute,
  NLM_F_CREATE,
  NLM_F_EXCL,
  nestedAttribute,
  numberAttribute,
  textAttribute,
} from '../../base/netlink.ts';
import type { HostLink, Tap } from '../plan.ts';
import { writeSysctl } from '../sysctl.ts';
import { type LinkDetails, listLinkDetails } from './link-details.ts';
import { linkError } from './link-error.ts';
import type { MacvtapMode, MacvtapRequest } from './requests.ts';
import {
  changeLink,
  deleteLink,
  linkByName,
  linkHeader,
  macBytes,
  RTM_NEWLINK,
  sendRoute,
} from './rtnetlink.ts';
import { openVhost } from './vhost.ts';

// linux/if_link.h
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_MACVLAN_MODE = 1;
const modes: Readonly<Record<MacvtapMode, number>> = { private: 1, vepa: 2, bridge: 4, passthrough: 8 };

// linux/if_tun.h
const TUNSETIFF = 0x400454ca;
const TUNGETIFF = 0x800454d2;
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** More devices than this on a host are a mistake of ours. */
const MAX_DEVICES = 4096;

/**
 * Makes a macvtap, sets it up and opens its queues. It stays until deleted: unlike a tap it does not go with its last
 * descriptor.
 * @throws VirtError link.failed
 */
export async function openMacvtap(request: MacvtapRequest): Promise<Tap> {
  const wanted = `make a macvtap on ${request.lower}`;
  let device: HostLink | undefined;
  try {
    const lower = lowerOf(request, wanted);
    device = add(request, lower);
    // The device is the guest's alone: the host must not speak IPv6 with the guest's address.
    writeSysctl(`ipv6/conf/${device.name}/disable_ipv6`, '1');
    // In passthrough mode the device begins with the address of the one below, which takes the guest's with it.
    changeLink(device, { mac: request.mac, isUp: true });
    const fds = await openQueues(device, request.queues);
    return { fds, vhostFds: openVhost(request.queues), name: device.name };
  } catch (error) {
    if (device !== undefined) await deleteLink(device);
    throw linkError(error, wanted);
  }
}

function lowerOf(request: MacvtapRequest, wanted: string): HostLink {
  const lower = findLower(request.lower, wanted);
  if (!lower.isUp)
    throw new VirtError('link.failed', {
      wanted,
      reason: `interface ${lower.name} is down`,
      hint: `'ip link set ${lower.name} up' sets it up`,
    });
  const isTaken = countUsers(lower) > 0;
  if (request.mode === 'passthrough' && isTaken)
    throw new VirtError('link.failed', {
      wanted,
      reason: `interface ${lower.name} is in use, and passthrough needs it for one guest alone`,
    });
  return lower;
}

function findLower(name: string, wanted: string): HostLink {
  try {
    return linkByName(name);
  } catch (error) {
    if (errnoOf(error) !== 'ENODEV') throw error;
    throw new VirtError('link.failed', {
      wanted,
      reason: `this host has no interface ${name}`,
      hint: "'vireo host interfaces' or 'ip link' shows them",
      cause: error,
    });
  }
}

/** How many macvtaps and macvlans lie on an interface. */
export function countUsers(lower: HostLink): number {
  return listLinkDetails().filter((link) => isMacvlan(link) && link.lower === lower.index).length;
}

function isMacvlan({ kind }: LinkDetails): boolean {
  return kind === 'macvtap' || kind === 'macvlan';
}

function add(request: MacvtapRequest, lower: HostLink): HostLink {
  if (request.name !== undefined) return addNamed(request, lower, request.name);
  const taken = new Set(listLinkDetails().map(({ name }) => name));
  for (let number = 0; number < MAX_DEVICES; number++) {
    const name = `macvtap${number}`;
    if (taken.has(name)) continue;
    try {
      return addNamed(request, lower, name);
    } catch (error) {
      // Another program took the name in this moment.
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }
  throw new Error('no name is left for a macvtap');
}

function addNamed(request: MacvtapRequest, lower: HostLink, name: string): HostLink {
  const data = nestedAttribute(IFLA_INFO_DATA, [numberAttribute(IFLA_MACVLAN_MODE, modes[request.mode])]);
  const body = Buffer.concat([
    linkHeader({}),
    textAttribute(IFLA_IFNAME, name),
    attribute(IFLA_ADDRESS, macBytes(request.mac)),
    numberAttribute(IFLA_LINK, lower.index),
    ...(request.mtu === undefined ? [] : [numberAttribute(IFLA_MTU, request.mtu)]),
    nestedAttribute(IFLA_LINKINFO, [textAttribute(IFLA_INFO_KIND, 'macvtap'), data]),
  ]);
  sendRoute(RTM_NEWLINK, body, `add macvtap ${name} on ${lower.name}`, NLM_F_CREATE | NLM_F_EXCL);
  const device = linkByName(name);
  // A note cannot be given at the making (net/core/rtnetlink.c, rtnl_newlink).
  const note = Buffer.concat([
    linkHeader({ index: device.index }),
    textAttribute(IFLA_IFALIAS, request.owner),
  ]);
  sendRoute(RTM_NEWLINK, note, `write a note on ${name}`);
  return device;
}

/** Opens the device of a macvtap once for each queue. */
export async function openQueues(device: HostLink, queues: number): Promise<number[]> {
  const fds: number[] = [];
  const node = await nodeOf(device);
  try {
    while (fds.length < queues) {
      fds.push(open(node.path, constants.O_RDWR | constants.O_NONBLOCK));
      setUpQueue(fds.at(-1) ?? -1, device, queues > 1);
    }
    return fds;
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  } finally {
    await node.remove();
  }
}

interface Node {
  readonly path: string;
  readonly remove: () => Promise<void>;
}

/**
 * The device node: /dev/tapN where N is the index of the link. A container's /dev may lack it; then the numbers in sysfs
 * say which to make, for the moment of the opening: below /dev, since /run mostly takes no devices (nodev).
 */
async function nodeOf(device: HostLink): Promise<Node> {
  const usual = `/dev/tap${device.index}`;
  const numbers = deviceNumbers(device);
  const present = statSync(usual, { throwIfNoEntry: false });
  if (present?.isCharacterDevice() === true && (numbers === undefined || present.rdev === rdevOf(numbers)))
    return { path: usual, remove: async () => undefined };
  if (numbers === undefined)
    throw new VirtError('link.failed', {
      wanted: `open ${device.name}`,
      reason: `neither ${usual} nor its numbers in /sys can be seen here`,
      hint: 'mount the /sys of this network namespace, or give the container its /dev',
    });
  const own = await mkdtemp('/dev/vireo-tap-');
  const path = join(own, 'tap');
  const remove = () => rm(own, { recursive: true, force: true });
  try {
    await run('mknod', ['-m', '600', path, 'c', String(numbers.major), String(numbers.minor)], {
      timeoutMs: 10_000,
    });
    return { path, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

function deviceNumbers({ name, index }: HostLink): DeviceNumbers | undefined {
  try {
    const text = readFileSync(`/sys/class/net/${name}/tap${index}/dev`, 'latin1');
    const [major, minor] = text.trim().split(':').map(Number);
    return major === undefined || minor === undefined ? undefined : { major, minor };
  } catch (error) {
    // The /sys of another network namespace.
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** glibc's makedev for numbers below 2^12 and 2^20 (sys/sysmacros.h). */
function rdevOf({ major, minor }: DeviceNumbers): number {
  return ((minor & 0xfff00) << 12) | (major << 8) | (minor & 0xff);
}

/** struct ifreq (linux/if.h), 40 bytes: the name that the kernel answers must be the device we meant. */
function setUpQueue(fd: number, device: HostLink, isMulti: boolean): void {
  const request = Buffer.alloc(40);
  ioctlBuffer(fd, TUNGETIFF, request);
  const name = request.toString('latin1', 0, Math.min(16, request.indexOf(0)));
  if (name !== device.name)
    throw new VirtError('link.failed', {
      wanted: `open ${device.name}`,
      reason: `its device node belongs to ${name}, of another network namespace`,
    });
  const flags = Buffer.alloc(40);
  flags.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (isMulti ? IFF_MULTI_QUEUE : 0), 16);
  ioctlBuffer(fd, TUNSETIFF, flags);
}

/** Deletes macvtaps that bear the owner's note but those made for one of the kept; the names of the deleted. */
export async function sweepMacvtaps(owner: string, kept: ReadonlySet<string>): Promise<string[]> {
  const isLeft = ({ kind, note }: LinkDetails): boolean =>
    kind === 'macvtap' && note?.startsWith(`${owner}:`) === true && !kept.has(note.slice(owner.length + 1));
  const left = listLinkDetails().filter(isLeft);
  for (const link of left) await deleteLink(link);
  return left.map(({ name }) => name);
}
