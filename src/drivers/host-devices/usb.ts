/** Which of the host's USB devices a definition means, by vendor and product, by place, or both; and its way back. */
import { VirtError } from '../../base/errors.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import type { Hostdev } from '../../model/domain/devices/hostdev.ts';
import { type UsbDevice, usbRoot } from './list.ts';
import { idsOf } from './names.ts';
import type { SysfsWriter } from './sysfs-writer.ts';

type UsbSource = Extract<Hostdev['source'], { type: 'usb' }>;

/**
 * The device, or undefined when an optional one is not there.
 * @throws VirtError host-device.not-found, host-device.ambiguous when several have the same vendor and product
 */
export function findUsb(
  devices: readonly UsbDevice[],
  source: UsbSource,
  wanted: string,
  path: string,
): UsbDevice | undefined {
  const { address, vendorId, productId, startupPolicy } = source;
  const found = devices.filter(
    (device) =>
      (vendorId === undefined || device.vendor === vendorId) &&
      (productId === undefined || device.product === productId) &&
      (address === undefined || (device.bus === address.bus && device.device === address.device)),
  );
  const [first, ...others] = found;
  if (others.length > 0)
    throw new VirtError('host-device.ambiguous', {
      wanted,
      reason: `${path}: ${found.length} devices are ${nameOf(source)}: ${found.map((one) => `bus ${one.bus} device ${one.device}`).join(', ')}`,
      hint: "say which with <address bus='...' device='...'/>",
    });
  // `requisite` forgives at other moments than a start (libvirt, formatdomain: startupPolicy).
  if (first === undefined && startupPolicy === 'optional') return undefined;
  if (first === undefined)
    throw new VirtError('host-device.not-found', {
      wanted,
      reason: `${path}: the host has no USB device ${nameOf(source)}`,
      hint: "plug it in; 'vireo host devices' lists those it has; startupPolicy='optional' starts without it",
    });
  if (first.isHub)
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `${path}: ${nameOf(source)} is a hub, which cannot be given to a guest`,
      hint: 'give the devices on it',
    });
  return first;
}

/**
 * Has the kernel choose drivers again for those interfaces of a device that have none: a QEMU that was killed could not
 * ask for it. Drivers leave alone what they do not know.
 * @throws VirtError file.denied in a session, where only root may
 */
export async function returnUsb(files: HostFiles, sysfs: SysfsWriter, name: string): Promise<void> {
  for (const entry of files.list(usbRoot))
    if (entry.startsWith(`${name}:`) && files.link(`${usbRoot}/${entry}/driver`) === undefined)
      await sysfs.write('/sys/bus/usb/drivers_probe', entry);
}

function nameOf({ address, vendorId, productId }: UsbSource): string {
  const ids =
    vendorId === undefined || productId === undefined
      ? []
      : [idsOf({ vendor: vendorId, product: productId })];
  const place = address === undefined ? [] : [`at bus ${address.bus} device ${address.device}`];
  return [...ids, ...place].join(' ');
}
