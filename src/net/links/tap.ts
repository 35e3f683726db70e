/** Tap devices (linux/if_tun.h, Documentation/networking/tuntap.rst): made by descriptor, gone with the last of them. */
import { constants } from 'node:fs';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { close, ioctl, ioctlBuffer, open } from '../../base/ffi.ts';
import { isGone } from '../../base/netlink.ts';
import type { HostLink, Tap, TapRequest } from '../plan.ts';
import { addForwarding, changeLink, changePort, deleteLink, linkByName } from './rtnetlink.ts';

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFF_TUN_EXCL = 0x8000;

/** The kernel puts the lowest free number in place of %d. */
const nameTemplate = 'vnet%d';

/**
 * Makes a tap with its queues, puts it on the bridge and sets it up. It lives as long as one of the descriptors is open
 * in some process; with `uid` it stays until deleted, and that user may open it by name.
 * @throws VirtError link.failed
 */
export function openTap(request: TapRequest): Tap {
  const wanted = `make a tap on bridge ${request.bridge}`;
  const fds: number[] = [];
  try {
    const bridge = bridgeByName(request.bridge, wanted);
    const isMulti = request.queues > 1;
    const first = openQueue(request.name ?? nameTemplate, isMulti, true);
    fds.push(first.fd);
    while (fds.length < request.queues) fds.push(openQueue(first.name, isMulti, false).fd);
    if (request.uid !== undefined) {
      ioctl(first.fd, TUNSETOWNER, request.uid);
      ioctl(first.fd, TUNSETPERSIST, 1);
    }
    connect(linkByName(first.name), bridge, request);
    return { fds, vhostFds: openVhost(request.queues), name: first.name };
  } catch (error) {
    for (const fd of fds) close(fd);
    throw linkError(error, wanted);
  }
}

/** Whatever else has that name, no tap is put on it. */
function bridgeByName(name: string, wanted: string): HostLink {
  const link = linkByName(name);
  if (link.kind === 'bridge') return link;
  throw new VirtError('link.failed', { wanted, reason: `interface ${name} is no bridge` });
}

/** struct ifreq (linux/if.h): 16 bytes of name, then the flags in 16 bits; 40 bytes in all on 64-bit. */
function openQueue(name: string, isMulti: boolean, isNew: boolean): { fd: number; name: string } {
  const fd = open('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
  try {
    const request = Buffer.alloc(40);
    request.write(name, 0, 15, 'latin1');
    const flags =
      IFF_TAP |
      IFF_NO_PI |
      IFF_VNET_HDR |
      (isMulti ? IFF_MULTI_QUEUE : 0) |
      // Never somebody else's tap that happens to have the name.
      (isNew ? IFF_TUN_EXCL : 0);
    request.writeUInt16LE(flags, 16);
    ioctlBuffer(fd, TUNSETIFF, request);
    return { fd, name: request.toString('latin1', 0, request.indexOf(0)) };
  } catch (error) {
    close(fd);
    throw error;
  }
}

function connect(tap: HostLink, bridge: HostLink, request: TapRequest): void {
  // As libvirt does: fe in front, so that host and guest side differ and the bridge never takes this one for its own.
  const mac = `fe${request.mac.slice(2)}`;
  changeLink(tap, { mac, mtu: request.mtu ?? bridge.mtu, master: bridge, isUp: true });
  const isManaged = request.macTable === 'libvirt';
  if (!isManaged && request.isolated !== true) return;
  changePort(tap, {
    isIsolated: request.isolated === true,
    isLearning: !isManaged,
    isFlooding: !isManaged,
  });
  if (isManaged) addForwarding(tap, request.mac);
}

/** One vhost-net descriptor a queue; none where the host lacks it: QEMU then moves the packets itself. */
function openVhost(queues: number): number[] {
  const fds: number[] = [];
  try {
    while (fds.length < queues) fds.push(open('/dev/vhost-net', constants.O_RDWR));
    return fds;
  } catch (error) {
    for (const fd of fds) close(fd);
    // ENOENT, ENODEV, ENXIO: no such module here; EACCES, EPERM: a container without the device.
    if (['ENOENT', 'ENODEV', 'ENXIO', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
}

/** Puts a running guest's tap (back) on a bridge. @throws VirtError link.failed */
export function attachTap(name: string, bridge: string): void {
  try {
    const master = bridgeByName(bridge, `put ${name} on a bridge`);
    const tap = linkByName(name);
    if (tap.master !== master.index || !tap.isUp) changeLink(tap, { master, isUp: true });
  } catch (error) {
    throw linkError(error, `put ${name} on bridge ${bridge}`);
  }
}

/**
 * Deletes a tap; one that is gone is no error.
 * @throws VirtError link.failed when the link of that name is something else
 */
export async function deleteTap(name: string): Promise<void> {
  const wanted = `delete tap ${name}`;
  try {
    const link = linkByName(name);
    if (link.kind !== 'tun')
      throw new VirtError('link.failed', { wanted, reason: 'the interface of that name is no tap' });
    await deleteLink(link);
  } catch (error) {
    if (!isGone(error)) throw linkError(error, wanted);
  }
}

/** What a failed request to the kernel means for whoever asked. */
export function linkError(error: unknown, wanted: string): VirtError {
  if (error instanceof VirtError) return error;
  const errno = errnoOf(error);
  const reasons: Readonly<Record<string, string>> = {
    EPERM: 'the kernel does not permit it (CAP_NET_ADMIN is needed)',
    EACCES: 'the kernel does not permit it (CAP_NET_ADMIN is needed)',
    EEXIST: 'an interface of that name exists already',
    EBUSY: 'the interface is in use',
    ENODEV: 'the bridge or interface does not exist',
  };
  const reason = reasons[errno ?? ''] ?? (error instanceof Error ? error.message : String(error));
  return new VirtError('link.failed', { wanted, reason, details: { errno }, cause: error });
}
