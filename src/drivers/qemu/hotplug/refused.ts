/** Which devices QEMU can take into a guest that runs, and let go of: the others are refused by name. Pure. */
import type { OneDevice } from '../../../model/domain/device-list.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import { fixedWhileRunning } from './fixed.ts';

/** Why a device cannot be plugged in or out while the guest runs; undefined when it can. */
export function whyNot({ family, device }: OneDevice): string | undefined {
  switch (family) {
    case 'disks':
      return whyNotDisk(device as Devices['disks'][number]);
    case 'interfaces':
      return undefined;
    case 'controllers':
      return whyNotController(device as Devices['controllers'][number]);
    case 'serials': {
      const { target } = device as Devices['serials'][number];
      const model = target?.model ?? target?.type ?? 'isa-serial';
      const isPluggable = model === 'usb-serial' || model === 'pci-serial';
      return isPluggable
        ? undefined
        : `a serial port of type ${model} is on the board; use usb-serial or pci-serial`;
    }
    case 'channels':
      return (device as Devices['channels'][number]).target.type === 'virtio'
        ? undefined
        : 'only channels of type virtio are plugged';
    case 'inputs': {
      const { bus, type } = device as Devices['inputs'][number];
      if (type === 'evdev') return 'an event device of the host is opened at the start only';
      return bus === 'usb' || bus === 'virtio'
        ? undefined
        : `an input device on bus ${bus ?? 'ps2'} is on the board; use usb or virtio`;
    }
    case 'watchdogs': {
      const { model } = device as Devices['watchdogs'][number];
      return model === 'i6300esb' ? undefined : `a watchdog of model ${model} is on the board; use i6300esb`;
    }
    case 'hostdevs': {
      const { ramfb } = device as Devices['hostdevs'][number];
      // QEMU's vfio-pci-nohotplug.
      return ramfb === true ? 'a boot framebuffer is there from the start only' : undefined;
    }
    case 'filesystems':
      return (device as Devices['filesystems'][number]).driver?.type === 'virtiofs'
        ? undefined
        : 'QEMU takes a 9p directory at the start only; use virtiofs';
    case 'rngs':
    case 'redirdevs':
    case 'hubs':
    case 'memories':
    case 'shmems':
    case 'vsock':
      return undefined;
    default:
      return 'such a device cannot be plugged while the guest runs';
  }
}

function whyNotDisk({ target, device }: Devices['disks'][number]): string | undefined {
  const { bus } = target;
  if (bus === 'virtio' || bus === 'scsi' || bus === 'usb') return undefined;
  const kind = device === 'cdrom' || device === 'floppy' ? `a ${device} drive` : 'a disk';
  return `${kind} on bus ${bus ?? 'ide'} cannot be plugged; use virtio, scsi or usb`;
}

function whyNotController({ type, model }: Devices['controllers'][number]): string | undefined {
  if (type === 'scsi' || type === 'virtio-serial' || type === 'ccid') return undefined;
  if (type === 'usb')
    return model?.endsWith('xhci') ? undefined : 'of USB controllers only xhci can be plugged';
  return `a controller of type ${type} cannot be plugged`;
}

/** True for a device that can come and go while the guest runs. */
export function isPluggable(one: OneDevice): boolean {
  return whyNot(one) === undefined;
}

/** @throws VirtError definition.unsupported */
export function requirePluggable(one: OneDevice, wanted: string): void {
  const reason = whyNot(one);
  if (reason === undefined) return;
  throw fixedWhileRunning([{ path: one.element, message: reason }], { wanted });
}
