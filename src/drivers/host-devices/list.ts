/** The host's PCI and USB devices as sysfs tells them (Documentation/ABI/testing/sysfs-bus-pci, sysfs-bus-usb). */
import { basename } from 'node:path';
import type { HostFiles } from '../../kvm/host-files.ts';

export interface PciDevice {
  /** `0000:01:00.0`. */
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  /** Base class, subclass and interface in one number, as in 0x030000 for a VGA card. */
  readonly class: number;
  readonly driver: string | undefined;
  /** Number of its IOMMU group; undefined without an IOMMU. */
  readonly group: string | undefined;
  readonly numaNode: number | undefined;
}

export interface UsbDevice {
  /** Its place in sysfs: `1-2.4`. */
  readonly name: string;
  readonly bus: number;
  readonly device: number;
  readonly vendor: number;
  readonly product: number;
  /** What the device says of itself. */
  readonly vendorName: string | undefined;
  readonly productName: string | undefined;
  readonly serial: string | undefined;
  /** A hub, which cannot be given to a guest. */
  readonly isHub: boolean;
}

const pciRoot = '/sys/bus/pci/devices';
export const usbRoot = '/sys/bus/usb/devices';

export function pciPath(address: string): string {
  return `${pciRoot}/${address}`;
}

/** All PCI devices, by address. */
export function listPci(files: HostFiles): PciDevice[] {
  return files
    .list(pciRoot)
    .map((address) => readPci(files, address))
    .filter((device) => device !== undefined);
}

/** One PCI device, or undefined when the host has none there. */
export function readPci(files: HostFiles, address: string): PciDevice | undefined {
  const path = pciPath(address);
  const vendor = numberAt(files, `${path}/vendor`);
  const device = numberAt(files, `${path}/device`);
  if (vendor === undefined || device === undefined) return undefined;
  const numaNode = numberAt(files, `${path}/numa_node`);
  return {
    address,
    vendor,
    device,
    class: numberAt(files, `${path}/class`) ?? 0,
    driver: linkName(files, `${path}/driver`),
    group: linkName(files, `${path}/iommu_group`),
    numaNode: numaNode === undefined || numaNode < 0 ? undefined : numaNode,
  };
}

/** The devices of an IOMMU group, which the hardware cannot keep apart. */
export function listGroup(files: HostFiles, group: string): PciDevice[] {
  return files
    .list(`/sys/kernel/iommu_groups/${group}/devices`)
    .map((address) => readPci(files, address))
    .filter((device) => device !== undefined);
}

/** All USB devices, root hubs included, in order of bus and number. */
export function listUsb(files: HostFiles): UsbDevice[] {
  return files
    .list(usbRoot)
    .filter((name) => !name.includes(':')) // interfaces of a device
    .map((name) => readUsb(files, name))
    .filter((device) => device !== undefined)
    .sort((a, b) => a.bus - b.bus || a.device - b.device);
}

function readUsb(files: HostFiles, name: string): UsbDevice | undefined {
  const text = (file: string) => files.read(`${usbRoot}/${name}/${file}`)?.trim();
  const bus = Number(text('busnum'));
  const device = Number(text('devnum'));
  const vendor = Number.parseInt(text('idVendor') ?? '', 16);
  const product = Number.parseInt(text('idProduct') ?? '', 16);
  if (!(bus > 0) || !(device > 0) || Number.isNaN(vendor) || Number.isNaN(product)) return undefined;
  return {
    name,
    bus,
    device,
    vendor,
    product,
    vendorName: text('manufacturer'),
    productName: text('product'),
    serial: text('serial'),
    isHub: text('bDeviceClass') === '09',
  };
}

function numberAt(files: HostFiles, path: string): number | undefined {
  const text = files.read(path)?.trim();
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  return Number.isNaN(value) ? undefined : value;
}

function linkName(files: HostFiles, path: string): string | undefined {
  const target = files.link(path);
  return target === undefined ? undefined : basename(target);
}
