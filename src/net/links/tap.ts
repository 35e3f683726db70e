/** Tap devices (linux/if_tun.h, Documentation/networking/tuntap.rst): made by descriptor, gone with the last of them. */
import { constants } from 'node:fs';
import { VirtError } from '../../base/errors.ts';
import { close, ioctl, ioctlBuffer, open } from '../../base/ffi.ts';
import { isGone } from '../../base/netlink.ts';
import { findLink } from '../bridge.ts';
import type { HostLink, Tap, TapRequest } from '../plan.ts';
import { addAddress, addRoute } from './addresses.ts';
import { linkError } from './link-error.ts';
import { openQueues } from './macvtap.ts';
import { filtersVlans, filterVlans, setPortVlans } from './port-vlans.ts';
import type { ExistingLinkRequest, LooseTapRequest, PortSettings, PortVlan } from './requests.ts';
import { addForwarding, changeLink, changePort, deleteLink, linkByName } from './rtnetlink.ts';
import { openVhost } from './vhost.ts';

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFF_TUN_EXCL = 0x8000;

/** The number of the next generated name, `vnetN`. */
let nextNumber = 0;
/** Names have at most 15 bytes. */
const numberCount = 10_000_000;

/**
 * Makes a tap with its queues, puts it on the bridge and sets it up. It lives as long as one of the descriptors is open
 * in some process; with `uid` it stays until deleted, and that user may open it by name.
 * @throws VirtError link.failed
 */
export function openTap(request: TapRequest): Tap {
  const wanted = `make a tap on bridge ${request.bridge}`;
  let bridge: HostLink;
  try {
    bridge = bridgeByName(request.bridge, wanted);
  } catch (error) {
    throw linkError(error, wanted);
  }
  return withQueues(wanted, request.name, request.queues, true, (tap, fd) => {
    if (request.uid !== undefined) {
      ioctl(fd, TUNSETOWNER, request.uid);
      ioctl(fd, TUNSETPERSIST, 1);
    }
    connect(tap, bridge, request);
  });
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
  changeLink(tap, { mac: hostMac(request.mac), mtu: request.mtu ?? bridge.mtu, master: bridge, isUp: true });
  setUpPort(tap, bridge, request);
}

/** As libvirt does: fe in front, so that host and guest side differ and a bridge never takes this one for its own. */
function hostMac(mac: string): string {
  return `${mac.startsWith('fe') ? 'fa' : 'fe'}${mac.slice(2)}`;
}

/** Settings that a port has from its bridge, and loses with it. */
function setUpPort(tap: HostLink, bridge: HostLink, port: PortSettings): void {
  if (port.vlans) setUpVlans(tap, bridge, port.vlans, port.isOwnBridge === true);
  const isManaged = port.macTable === 'libvirt';
  if (!isManaged && port.isolated !== true) return;
  changePort(tap, {
    isIsolated: port.isolated === true,
    isLearning: !isManaged,
    isFlooding: !isManaged,
  });
  if (isManaged) addForwarding(tap, port.mac);
}

/** On somebody else's bridge filtering stays as it is: switching it on would cut off what crosses it with tags. */
function setUpVlans(tap: HostLink, bridge: HostLink, vlans: readonly PortVlan[], isOwn: boolean): void {
  if (!filtersVlans(bridge)) {
    if (!isOwn)
      throw new VirtError('link.failed', {
        wanted: `give ${tap.name} its VLANs`,
        reason: `bridge ${bridge.name} does not tell VLANs apart`,
        hint: `'ip link set ${bridge.name} type bridge vlan_filtering 1' lets it, for all of its ports`,
      });
    filterVlans(bridge);
  }
  setPortVlans(tap, vlans, { self: false });
}

/** Makes a tap that is on no bridge, with the addresses of the host's end. @throws VirtError link.failed */
export function openLooseTap(request: LooseTapRequest): Tap {
  const wanted = `make a tap${request.name === undefined ? '' : ` ${request.name}`}`;
  return withQueues(wanted, request.name, request.queues, true, (tap) => {
    changeLink(tap, {
      mac: hostMac(request.mac),
      ...(request.mtu !== undefined && { mtu: request.mtu }),
      isUp: true,
    });
    for (const address of request.addresses) addAddress(tap, address);
    for (const route of request.routes) addRoute(tap, route);
  });
}

/**
 * Opens a tap or macvtap that is there already and stays when the guest has gone. Nothing of it is changed.
 * @throws VirtError link.failed
 */
export async function openExisting({ name, queues }: ExistingLinkRequest): Promise<Tap> {
  const wanted = `open ${name}`;
  try {
    const link = linkByName(name);
    if (link.kind === 'macvtap')
      return { fds: await openQueues(link, queues), vhostFds: openVhost(queues), name };
    if (link.kind === 'tun') return withQueues(wanted, name, queues, false, () => undefined);
    throw new VirtError('link.failed', {
      wanted,
      reason: `interface ${name} is neither a tap nor a macvtap`,
    });
  } catch (error) {
    throw linkError(error, wanted);
  }
}

/** `name` is left out for a generated one. */
function withQueues(
  wanted: string,
  name: string | undefined,
  queues: number,
  isNew: boolean,
  setUp: (tap: HostLink, fd: number) => void,
): Tap {
  const fds: number[] = [];
  try {
    const isMulti = queues > 1;
    const first = name === undefined ? openUnnamed(isMulti) : openQueue(name, isMulti, isNew);
    fds.push(first.fd);
    while (fds.length < queues) fds.push(openQueue(first.name, isMulti, false).fd);
    setUp(linkByName(first.name), first.fd);
    return { fds, vhostFds: openVhost(queues), name: first.name };
  } catch (error) {
    for (const fd of fds) close(fd);
    throw linkError(error, wanted);
  }
}

/**
 * A name that was used is not used again soon: whoever still has to clean up after a guest that died knows its tap by
 * name, and would meet the next guest's.
 */
function openUnnamed(isMulti: boolean): { fd: number; name: string } {
  for (;;) {
    const name = `vnet${nextNumber}`;
    nextNumber = (nextNumber + 1) % numberCount;
    try {
      return openQueue(name, isMulti, true);
    } catch (error) {
      // EBUSY: a tap of that name; EINVAL: another kind of link has it (tun_set_iff in drivers/net/tun.c).
      if (findLink(name) === undefined) throw error;
    }
  }
}

/** Puts a running guest's tap (back) on a bridge, with its settings there. @throws VirtError link.failed */
export function attachTap(name: string, bridge: string, port?: PortSettings): void {
  try {
    const master = bridgeByName(bridge, `put ${name} on a bridge`);
    const tap = linkByName(name);
    if (tap.master === master.index && tap.isUp) return;
    changeLink(tap, { master, isUp: true });
    if (port) setUpPort(tap, master, port);
  } catch (error) {
    throw linkError(error, `put ${name} on bridge ${bridge}`);
  }
}

/**
 * Deletes a tap or macvtap of a guest; one that is gone is no error.
 * @throws VirtError link.failed when the link of that name is something else
 */
export async function deleteTap(name: string): Promise<void> {
  const wanted = `delete tap ${name}`;
  try {
    const link = linkByName(name);
    if (link.kind !== 'tun' && link.kind !== 'macvtap')
      throw new VirtError('link.failed', { wanted, reason: 'the interface of that name is no tap' });
    await deleteLink(link);
  } catch (error) {
    if (!isGone(error)) throw linkError(error, wanted);
  }
}
