/** Which devices of a definition are on PCI, in the order in which libvirt places them, and what each wants there. */
import { type Address, pciNumbersOf } from '../devices/address.ts';
import type { DomainDef } from '../domain.ts';
import { familyOf, pciRootOf } from '../machine.ts';
import type { PciAddress, PciNeed } from './pci-map.ts';

type Devices = DomainDef['devices'];
type Controller = Devices['controllers'][number];

/** What all devices have that can have an address. Placing writes the address into it. */
export interface Addressable {
  address?: Address | undefined;
}

/** One device on PCI, as the definition has it. */
export class PciDevice<T extends Addressable = Addressable> {
  readonly device: T;
  readonly need: PciNeed;
  private readonly family: string;
  private readonly index: number | undefined;

  /** `index` is its place among the devices of its family; a family of one has none. */
  constructor(device: T, need: PciNeed, family: string, index?: number) {
    this.device = device;
    this.need = need;
    this.family = family;
    this.index = index;
  }

  /** Where in the definition, for messages: `devices.interfaces[0]`. */
  get path(): string {
    return this.index === undefined ? `devices.${this.family}` : `devices.${this.family}[${this.index}]`;
  }

  get isController(): boolean {
    return this.family === 'controllers';
  }
}

/** True when the device wants an address of this kind: it has none yet, or one without its numbers. */
export function isOpen(device: Addressable, type: 'pci'): boolean {
  return device.address === undefined || (device.address.type === type && device.address.bus === undefined);
}

/** The complete PCI address of a device; undefined for one that has none, or another kind. */
export function pciAddressOf(device: Addressable): PciAddress | undefined {
  return pciNumbersOf(device.address);
}

/** Endpoint needs on this machine: without PCI Express everything is conventional. */
interface Kinds {
  readonly pci: PciNeed;
  readonly pcie: PciNeed;
  readonly integrated: PciNeed;
}

/** `virtio-transitional` is a conventional device even on PCI Express (virtio 1.1, section 4.1.2.3). */
function virtio(model: string | undefined, kinds: Kinds): PciNeed {
  return model === 'virtio-transitional' ? kinds.pci : kinds.pcie;
}

/** All devices on PCI; empty for a machine that has none. */
export function pciDevices(definition: DomainDef): PciDevice[] {
  const root = pciRootOf(familyOf(definition));
  if (root === undefined) return [];
  const kinds: Kinds =
    root === 'pcie-root'
      ? { pci: 'pci', pcie: 'pcie', integrated: 'pcie-integrated' }
      : { pci: 'pci', pcie: 'pci', integrated: 'pci' };
  const { devices } = definition;
  const found: PciDevice[] = [];
  pick(found, 'filesystems', devices.filesystems, (one) => filesystemNeed(one, kinds));
  pick(found, 'interfaces', devices.interfaces, (one) => interfaceNeed(one, kinds));
  pick(found, 'sounds', devices.sounds, (one) => soundNeed(one, kinds));
  pick(found, 'controllers', devices.controllers, (one) => controllerNeed(one, kinds));
  pick(found, 'disks', devices.disks, (one) =>
    one.target.bus === 'virtio' ? virtio(one.model, kinds) : undefined,
  );
  pick(found, 'hostdevs', devices.hostdevs, (one) => hostdevNeed(one, kinds));
  single(found, 'memballoon', devices.memballoon, (one) => virtioNeed(one.model, kinds));
  pick(found, 'rngs', devices.rngs, (one) => virtioNeed(one.model, kinds));
  pick(found, 'watchdogs', devices.watchdogs, (one) => (one.model === 'i6300esb' ? kinds.pci : undefined));
  pick(found, 'videos', devices.videos, (one) => videoNeed(one, kinds));
  pick(found, 'shmems', devices.shmems, () => kinds.pci);
  pick(found, 'inputs', devices.inputs, (one) =>
    one.bus === 'virtio' ? virtio(one.model, kinds) : undefined,
  );
  pick(found, 'serials', devices.serials, (one) =>
    one.target?.type === 'pci-serial' ? kinds.pci : undefined,
  );
  single(found, 'vsock', devices.vsock, (one) => virtio(one.model, kinds));
  pick(found, 'memories', devices.memories, (one) =>
    one.model.startsWith('virtio-') ? kinds.pcie : undefined,
  );
  single(found, 'iommu', devices.iommu, (one) => (one.model === 'virtio' ? kinds.integrated : undefined));
  return found;
}

/** The controllers that make PCI buses, roots excepted. */
export function pciControllers(definition: DomainDef): PciDevice<Controller>[] {
  const found: PciDevice<Controller>[] = [];
  let index = -1;
  for (const device of definition.devices.controllers) {
    index += 1;
    const { type, model } = device;
    if (type !== 'pci' || model === undefined || model === 'pci-root' || model === 'pcie-root') continue;
    found.push(new PciDevice(device, model as PciNeed, 'controllers', index));
  }
  return found;
}

function pick<T extends Addressable>(
  found: PciDevice[],
  family: string,
  list: readonly T[],
  needOf: (device: T) => PciNeed | undefined,
): void {
  let index = -1;
  for (const device of list) {
    index += 1;
    const need = needOf(device);
    if (isWanted(device, need)) found.push(new PciDevice(device, need, family, index));
  }
}

function single<T extends Addressable>(
  found: PciDevice[],
  name: string,
  device: T | undefined,
  needOf: (device: T) => PciNeed | undefined,
): void {
  if (device === undefined) return;
  const need = needOf(device);
  if (isWanted(device, need)) found.push(new PciDevice(device, need, name));
}

/** A device with an address of another kind than PCI is not ours; `unassigned` stays out of the guest. */
function isWanted(device: Addressable, need: PciNeed | undefined): need is PciNeed {
  return need !== undefined && (device.address === undefined || device.address.type === 'pci');
}

function virtioNeed(model: string, kinds: Kinds): PciNeed | undefined {
  return model.startsWith('virtio') ? virtio(model, kinds) : undefined;
}

function filesystemNeed(one: Devices['filesystems'][number], kinds: Kinds): PciNeed {
  return virtio(one.model, kinds);
}

function interfaceNeed(one: Devices['interfaces'][number], kinds: Kinds): PciNeed | undefined {
  if (one.source.type === 'hostdev') return kinds.pcie;
  if (one.model === 'usb-net') return undefined;
  if (one.model?.startsWith('virtio')) return virtio(one.model, kinds);
  // vmxnet3 could be either; libvirt puts it on a conventional bus.
  return one.model === 'e1000e' || one.model === 'igb' ? kinds.pcie : kinds.pci;
}

function soundNeed(one: Devices['sounds'][number], kinds: Kinds): PciNeed | undefined {
  return one.model === 'usb' || one.model === 'sb16' || one.model === 'pcspk' ? undefined : kinds.pci;
}

function controllerNeed(one: Controller, kinds: Kinds): PciNeed | undefined {
  switch (one.type) {
    case 'usb':
      if (one.model === 'none') return undefined;
      return one.model === 'nec-xhci' || one.model === 'qemu-xhci' ? kinds.pcie : kinds.pci;
    case 'virtio-serial':
      return virtio(one.model, kinds);
    case 'scsi':
      if (one.model === 'virtio-scsi' || one.model === 'virtio-non-transitional') return kinds.pcie;
      return one.model === 'ibmvscsi' ? undefined : kinds.pci;
    case 'sata':
    case 'ide':
      return kinds.pci;
    default:
      return undefined;
  }
}

function hostdevNeed(one: Devices['hostdevs'][number], kinds: Kinds): PciNeed | undefined {
  switch (one.source.type) {
    case 'pci':
      return kinds.pcie;
    case 'mdev':
      return one.model === undefined || one.model === 'vfio-pci' ? kinds.pcie : undefined;
    case 'scsi_host':
      return virtio(one.model, kinds);
    default:
      return undefined;
  }
}

function videoNeed(one: Devices['videos'][number], kinds: Kinds): PciNeed | undefined {
  switch (one.model?.type) {
    case undefined:
    case 'none':
    case 'ramfb':
      return undefined;
    case 'virtio':
    case 'bochs':
      return kinds.pcie;
    default:
      return kinds.pci;
  }
}
