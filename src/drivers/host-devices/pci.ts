/** PCI devices for guests: whether the host can give one away (decided from sysfs), and moving it to vfio-pci and back. */
import { VirtError } from '../../base/errors.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import { listGroup, type PciDevice, pciPath, readPci } from './list.ts';
import type { SysfsWriter } from './sysfs-writer.ts';

/** The driver that gives devices to programs (kernel Documentation/driver-api/vfio.rst). */
export const VFIO = 'vfio-pci';

/** Drivers that do the same and know more of one kind of device (migration): mlx5_vfio_pci, hisi-acc-vfio-pci, ... */
const variant = /^[a-z0-9]+(?:[-_][a-z0-9]+)*[-_]vfio[-_]pci$/;

/** True for vfio-pci and its variants: a device that has one of them is ready for a guest, and stays with it. */
export const isVfioDriver = (driver: string | undefined): boolean =>
  driver !== undefined && (driver === VFIO || variant.test(driver));

export interface PciRequest {
  readonly address: string;
  /** We detach it from the host's driver, and give it back. */
  readonly isManaged: boolean;
  /** The variant of vfio-pci that it is to have; any of them will do where none is named. */
  readonly driver?: string | undefined;
  /** Path in the definition. */
  readonly path: string;
}

export interface PciGrant {
  readonly address: string;
  readonly group: string;
  /** The driver it is to be taken from; undefined when it has vfio-pci already. */
  readonly takeFrom: { readonly driver: string | undefined } | undefined;
  /** The one it is to be given to; undefined: vfio-pci. */
  readonly driver: string | undefined;
}

/**
 * Decides over all devices of one guest.
 * @throws VirtError host-device.not-found, host-device.unusable with the names of what is in the way
 */
export function planPci(files: HostFiles, wanted: string, requests: readonly PciRequest[]): PciGrant[] {
  const own = new Set(requests.map(({ address }) => address));
  return requests.map((request) => planOne(files, wanted, request, own));
}

function planOne(
  files: HostFiles,
  wanted: string,
  { address, isManaged, path, driver }: PciRequest,
  own: ReadonlySet<string>,
): PciGrant {
  const device = readPci(files, address);
  if (device === undefined)
    throw new VirtError('host-device.not-found', {
      wanted,
      reason: `${path}: the host has no PCI device ${address}`,
      hint: "'vireo host devices' lists those it has",
    });
  const refuse = (reason: string, hint: string): never => {
    throw new VirtError('host-device.unusable', { wanted, reason: `${path}: ${reason}`, hint });
  };
  if (isBridge(device))
    refuse(`${address} is a bridge`, 'give the devices behind it, all those of its IOMMU group');
  const { group } = device;
  if (group === undefined)
    return refuse(
      `${address} has no IOMMU group, so a guest with it could write all of the host's memory`,
      "switch the IOMMU on in the firmware (VT-d, AMD-Vi), and boot with 'intel_iommu=on' on Intel",
    );
  const isReady = driver === undefined ? isVfioDriver(device.driver) : device.driver === driver;
  if (driver !== undefined && !isVfioDriver(driver))
    refuse(`'${driver}' is not ${VFIO}, and no variant of it`, 'leave the model of <driver> out');
  if (!isManaged && !isReady)
    refuse(
      `${address} belongs to ${device.driver === undefined ? 'no driver' : `the host's driver ${device.driver}`}`,
      `let it be moved: <hostdev managed='yes'>, or bind it to ${driver ?? VFIO} before the start`,
    );
  const others = listGroup(files, group).filter((other) => !own.has(other.address) && isInTheWay(other));
  if (others.length > 0)
    refuse(
      `${address} shares IOMMU group ${group} with ${others.map((other) => `${other.address} (${other.driver})`).join(', ')}`,
      'give those to the same guest, or unbind them from their drivers',
    );
  return { address, group, takeFrom: isReady ? undefined : { driver: device.driver }, driver };
}

/** PCI-to-PCI bridges, and what else has a bridge's header. */
export function isBridge(device: PciDevice): boolean {
  return Math.floor(device.class / 0x100) === 0x0604;
}

/** VFIO takes a group when all its devices are with vfio, with no driver, or bridges (drivers/vfio, vfio_dev_viable). */
function isInTheWay(device: PciDevice): boolean {
  return (
    device.driver !== undefined &&
    !isVfioDriver(device.driver) &&
    device.driver !== 'pcieport' &&
    device.driver !== 'pci-stub'
  );
}

/**
 * Moves a device from its driver to vfio-pci, or to a variant of it that is loaded already.
 * @throws VirtError host-device.failed; it has its old driver then
 */
export async function bindToVfio(
  files: HostFiles,
  sysfs: SysfsWriter,
  address: string,
  to = VFIO,
): Promise<void> {
  const path = pciPath(address);
  if (!files.exists(`/sys/bus/pci/drivers/${to}`)) {
    if (to !== VFIO)
      throw new VirtError('host-device.unusable', {
        wanted: `give PCI device ${address} to ${to}`,
        reason: `the host has no driver ${to}`,
        hint: `load it first: modprobe ${to}`,
      });
    await sysfs.loadVfio();
  }
  try {
    await sysfs.write(`${path}/driver_override`, to);
    if (readPci(files, address)?.driver !== undefined) await sysfs.write(`${path}/driver/unbind`, address);
    await sysfs.write('/sys/bus/pci/drivers_probe', address);
    const driver = readPci(files, address)?.driver;
    if (driver === to) return;
    throw new VirtError('host-device.failed', {
      wanted: `give PCI device ${address} to ${to}`,
      reason: `it has ${driver === undefined ? 'no driver' : `driver ${driver}`} afterwards`,
      hint: "the kernel's log (dmesg) says why",
    });
  } catch (error) {
    await returnToHost(files, sysfs, address);
    throw error;
  }
}

/** Lets the kernel choose the driver again. Idempotent; a device that is gone needs nothing. */
export async function returnToHost(files: HostFiles, sysfs: SysfsWriter, address: string): Promise<void> {
  const path = pciPath(address);
  const device = readPci(files, address);
  if (device === undefined) return;
  // An empty line takes the override away (sysfs-bus-pci).
  await sysfs.write(`${path}/driver_override`, '\n');
  if (isVfioDriver(device.driver)) await sysfs.write(`${path}/driver/unbind`, address);
  await sysfs.write('/sys/bus/pci/drivers_probe', address);
}

/** Mounted file systems whose disks are behind that device: taking it away would take them from the host. */
export function mountsBehind(files: HostFiles, address: string): string[] {
  const mounts = (files.read('/proc/self/mountinfo') ?? '').split('\n').map((line) => line.split(' '));
  return mounts
    .filter(([, , number = '']) => number !== '' && isBehind(files, number, address))
    .map(([, , , , point = '']) => point);
}

/** `8:1` of a partition leads by /sys/dev/block to a path that holds all devices above it. */
function isBehind(files: HostFiles, number: string, address: string): boolean {
  const target = files.link(`/sys/dev/block/${number}`);
  return target?.split('/').includes(address) === true;
}

/** Network interfaces of that device that are up. */
export function linksBehind(files: HostFiles, address: string): string[] {
  const names = files.list(`${pciPath(address)}/net`);
  const virtio = files
    .list(pciPath(address))
    .filter((name) => name.startsWith('virtio'))
    .flatMap((name) => files.list(`${pciPath(address)}/${name}/net`));
  return [...names, ...virtio].filter(
    (name) => files.read(`/sys/class/net/${name}/operstate`)?.trim() === 'up',
  );
}
