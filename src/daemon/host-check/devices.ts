/** Checks of the device nodes that guests' hardware is made with. */
import type { CheckContext, CheckStatus, HostCheck } from './check.ts';

interface Device {
  readonly id: string;
  readonly title: string;
  readonly path: string;
  readonly module: string;
  /** Status when it cannot be used, by mode. */
  readonly otherwise: Readonly<Record<CheckContext['mode'], CheckStatus>>;
  readonly consequence: string;
}

const devices: readonly Device[] = [
  {
    id: 'tun',
    title: 'TUN/TAP (network cards of guests)',
    path: '/dev/net/tun',
    module: 'tun',
    otherwise: { system: 'problem', session: 'absent' },
    consequence: 'guests have only user-mode networking',
  },
  {
    id: 'vhost-net',
    title: 'vhost-net (fast network cards)',
    path: '/dev/vhost-net',
    module: 'vhost_net',
    otherwise: { system: 'warning', session: 'absent' },
    consequence: 'network cards work, through QEMU itself and slower',
  },
  {
    id: 'vhost-vsock',
    title: 'vhost-vsock (sockets between host and guest)',
    path: '/dev/vhost-vsock',
    module: 'vhost_vsock',
    otherwise: { system: 'absent', session: 'absent' },
    consequence: 'guests with a vsock device do not start',
  },
];

export function checkDevices(context: CheckContext): HostCheck[] {
  return devices.map((device) => checkDevice(context, device));
}

function checkDevice(context: CheckContext, device: Device): HostCheck {
  const base = { id: device.id, title: device.title };
  const errno = context.tryOpen(device.path);
  if (errno === undefined) return { ...base, status: 'ok', detail: `${device.path} can be opened` };
  const { reason, repair } = explain(context, device, errno);
  return {
    ...base,
    status: device.otherwise[context.mode],
    detail: `${reason}: ${device.consequence}`,
    repair,
  };
}

function explain(
  { identity }: CheckContext,
  { path, module }: Device,
  errno: string,
): { reason: string; repair: string } {
  switch (errno) {
    case 'ENOENT':
    case 'ENXIO':
    case 'ENODEV':
      return {
        reason: `${path} is ${errno === 'ENOENT' ? 'not there' : 'without its driver'}`,
        repair: `modprobe ${module}; at every boot: echo ${module} > /etc/modules-load.d/vireo-${module}.conf`,
      };
    case 'EACCES':
    case 'EPERM':
      return {
        reason: `${path} may not be opened by this user`,
        repair:
          identity.uid === 0
            ? `allow the device: DeviceAllow=${path} rw in a systemd unit, --device ${path} for a container`
            : 'use the system daemon (vireo -c qemu:///system), or give your user rights on the node',
      };
    case 'EBUSY':
      return { reason: `${path} is in use by another program`, repair: `find it: fuser -v ${path}` };
    default:
      return {
        reason: `${path} cannot be opened (${errno})`,
        repair: `look at the kernel's log: dmesg | grep -i ${module}`,
      };
  }
}
