/** Back ends of network cards: user mode (SLIRP, passt), taps, sockets, vhost-user, vDPA. */
import type { Interface } from '../../../model/domain/devices/interface.ts';
import { aliasOf } from './address.ts';
import type { Build } from './context.ts';
import { hostForwards, passtForwards } from './port-forward.ts';
import { socketNetdev } from './socket-netdev.ts';
import type { JsonObject } from './types.ts';

/** How many queue pairs a card has. */
export function queueCount(nic: Interface): number {
  return nic.driver?.queues ?? 1;
}

/** Adds the back end of card `index`; the answer is its id, or undefined for a card with no cable at all. */
export function buildNetdev(b: Build, nic: Interface, index: number, path: string): string | undefined {
  const id = `host${aliasOf(nic, path)}`;
  const options = netdevOptions(b, nic, index, path);
  if (options === undefined) return undefined;
  if (!b.caps.netdevs.includes(options.type)) b.lacks(path, `network back end '${options.type}'`);
  b.netdev({ ...options, id });
  return id;
}

type Netdev = JsonObject & { readonly type: string };

function netdevOptions(b: Build, nic: Interface, index: number, path: string): Netdev | undefined {
  const { source } = nic;
  switch (source.type) {
    case 'user':
      return nic.backend?.type === 'passt' ? passt(b, nic, index, path) : slirp(b, nic, path);
    case 'network':
    case 'bridge':
    case 'ethernet':
    case 'direct':
      return tap(b, nic, index, path);
    case 'mcast':
    case 'client':
    case 'server':
    case 'udp':
      return socketNetdev(b, source, path);
    case 'vhostuser':
      return vhostUser(b, nic, path);
    case 'vdpa':
      return {
        type: 'vhost-vdpa',
        vhostdev: b.file(source.dev, 'rw', `${path}.source`, { device: true }),
        queues: queuesOrNone(nic),
      };
    case 'null':
      return undefined;
    case 'hostdev':
      throw new Error(`${path}: a device of the host has no back end`);
    case 'internal':
      b.problem(`${path}.type`, `'internal' is of another hypervisor`);
      return undefined;
  }
}

function queuesOrNone(nic: Interface): number | undefined {
  return queueCount(nic) > 1 ? queueCount(nic) : undefined;
}

/** SLIRP in QEMU itself: 10.0.2.0/24, guest 10.0.2.15, gateway 10.0.2.2, name server 10.0.2.3. */
function slirp(b: Build, nic: Interface, path: string): Netdev {
  const { source } = nic;
  if (source.type === 'user')
    b.refuse(`${path}.source`, { dev: source.dev }, `needs <backend type='passt'/>`);
  b.refuse(`${path}.backend`, { logFile: nic.backend?.logFile }, `needs type='passt'`);
  refuseQueues(b, nic, path);
  const ip = (family: 'ipv4' | 'ipv6') => nic.ips.find((candidate) => familyOf(candidate) === family);
  const ipv4 = ip('ipv4');
  const ipv6 = ip('ipv6');
  const hostfwd = hostForwards(b, nic.portForwards, path);
  return {
    type: 'user',
    net: ipv4 === undefined ? undefined : `${ipv4.address}/${ipv4.prefix ?? 24}`,
    'ipv6-prefix': ipv6?.address,
    'ipv6-prefixlen': ipv6 === undefined ? undefined : (ipv6.prefix ?? 64),
    hostfwd: hostfwd.length === 0 ? undefined : hostfwd.map((str) => ({ str })),
  };
}

type Ip = Interface['ips'][number];

function familyOf(ip: Ip): 'ipv4' | 'ipv6' {
  return ip.family ?? (ip.address.includes(':') ? 'ipv6' : 'ipv4');
}

function refuseQueues(b: Build, nic: Interface, path: string): void {
  if (queueCount(nic) > 1) b.problem(`${path}.driver.queues`, 'a user-mode interface has one queue');
  if (nic.driver?.name === 'vhost') b.problem(`${path}.driver.name`, `'vhost' needs a tap`);
  b.refuse(path, { tune: nic.sndbufBytes }, 'needs a tap');
}

/** passt(1) runs beside QEMU; each has one half of a socket pair. */
function passt(b: Build, nic: Interface, index: number, path: string): Netdev {
  refuseQueues(b, nic, path);
  const device = nic.source.type === 'user' ? nic.source.dev : undefined;
  const logFile = nic.backend?.logFile;
  const addresses = nic.ips.flatMap((ip) => [
    '--address',
    ip.address,
    ...(ip.prefix !== undefined && familyOf(ip) === 'ipv4' ? ['--netmask', dottedMask(ip.prefix)] : []),
  ]);
  const fd = b.need({ kind: 'passt', interfaceIndex: index });
  b.helpers.push({
    kind: 'passt',
    fd,
    interfaceIndex: index,
    alias: aliasOf(nic, path),
    args: [
      ...(device === undefined ? [] : ['--interface', device]),
      ...(nic.mtu === undefined ? [] : ['--mtu', String(nic.mtu)]),
      ...addresses,
      ...passtForwards(b, nic.portForwards, path),
    ],
    ...(logFile !== undefined && { logFile }),
  });
  return { type: 'stream', addr: { type: 'fd', str: String(fd) }, server: false };
}

/** passt of Debian 12 makes 128.0.0.0 of `24`, so the mask is written out. */
function dottedMask(prefix: number): string {
  const bits = 2 ** 32 - 2 ** (32 - Math.min(prefix, 32));
  return [24, 16, 8, 0].map((shift) => Math.floor(bits / 2 ** shift) % 256).join('.');
}

/** Taps and macvtaps come as descriptors, one for each queue; vhost-net moves their packets in the kernel. */
function tap(b: Build, nic: Interface, index: number, path: string): Netdev {
  const queues = Array.from({ length: queueCount(nic) }, (_unused, queue) => queue);
  const taps = queues.map((queue) => b.need({ kind: 'tap', interfaceIndex: index, queue }));
  const vhosts = usesVhost(b, nic, path)
    ? queues.map((queue) => b.need({ kind: 'vhost-net', interfaceIndex: index, queue }))
    : [];
  return {
    type: 'tap',
    ...descriptors('fd', taps),
    vhost: vhosts.length > 0 ? true : undefined,
    ...descriptors('vhostfd', vhosts),
    sndbuf: nic.sndbufBytes,
  };
}

/** One descriptor is `fd`, more are `fds` in one string. */
function descriptors(name: 'fd' | 'vhostfd', fds: readonly number[]): JsonObject {
  if (fds.length === 0) return {};
  return fds.length === 1 ? { [name]: String(fds[0]) } : { [`${name}s`]: fds.join(':') };
}

/** vhost-net where it is there and the guest has virtio under KVM, unless the definition says otherwise. */
function usesVhost(b: Build, nic: Interface, path: string): boolean {
  if (!nic.model?.startsWith('virtio') || nic.driver?.name === 'qemu') return false;
  if (nic.driver?.name !== 'vhost') return b.context.vhostNet && b.isKvm;
  if (!b.context.vhostNet)
    b.problem(`${path}.driver.name`, `'vhost' needs /dev/vhost-net; load the module vhost_net`);
  return true;
}

/**
 * The socket goes by path: QEMU 7.2 takes only a chardev that it opened by path for one that can pass descriptors
 * (chardev/char-socket.c, QEMU_CHAR_FEATURE_FD_PASS).
 */
function vhostUser(b: Build, nic: Interface, path: string): Netdev {
  if (nic.source.type !== 'vhostuser') throw new Error('not a vhost-user interface');
  const { path: socket, mode, reconnect } = nic.source;
  const chardev = `char${aliasOf(nic, path)}`;
  if (!nic.model?.startsWith('virtio'))
    b.problem(`${path}.model`, 'a vhost-user interface needs model virtio');
  const isServer = mode === 'server';
  const seconds = reconnect?.enabled ? (reconnect.timeoutSeconds ?? 1) : undefined;
  if (isServer && seconds !== undefined) b.problem(`${path}.source.reconnect`, 'is for clients');
  const hasMilliseconds = b.caps.options.chardev?.includes('reconnect-ms') === true;
  b.pairs('-chardev', [
    ['', 'socket'],
    ['id', chardev],
    ['path', socket],
    ['server', isServer ? true : undefined],
    ['reconnect', hasMilliseconds ? undefined : seconds],
    ['reconnect-ms', hasMilliseconds && seconds !== undefined ? seconds * 1000 : undefined],
  ]);
  return { type: 'vhost-user', chardev, queues: queuesOrNone(nic) };
}
