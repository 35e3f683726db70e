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
export interface PciDevice {
  /** Where in the definition, for messages: `devices.interfaces[0]`. */
  readonly path: string;
  readonly device: Addressable;
  readonly need: PciNeed;
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
  return [
    ...pick('filesystems', devices.filesystems, (one) => filesystemNeed(one, kinds)),
    ...pick('interfaces', devices.interfaces, (one) => interfaceNeed(one, kinds)),
    ...pick('sounds', devices.sounds, (one) => soundNeed(one, kinds)),
    ...pick('controllers', devices.controllers, (one) => controllerNeed(one, kinds)),
    ...pick('disks', devices.disks, (one) =>
      one.target.bus === 'virtio' ? virtio(one.model, kinds) : undefined,
    ),
    ...pick('hostdevs', devices.hostdevs, (one) => hostdevNeed(one, kinds)),
    ...single('memballoon', devices.memballoon, (one) => virtioNeed(one.model, kinds)),
    ...pick('rngs', devices.rngs, (one) => virtioNeed(one.model, kinds)),
    ...pick('watchdogs', devices.watchdogs, (one) => (one.model === 'i6300esb' ? kinds.pci : undefined)),
    ...pick('videos', devices.videos, (one) => videoNeed(one, kinds)),
    ...pick('shmems', devices.shmems, () => kinds.pci),
    ...pick('inputs', devices.inputs, (one) => (one.bus === 'virtio' ? virtio(one.model, kinds) : undefined)),
    ...pick('serials', devices.serials, (one) => (one.target?.type === 'pci-serial' ? kinds.pci : undefined)),
    ...single('vsock', devices.vsock, (one) => virtio(one.model, kinds)),
    ...pick('memories', devices.memories, (one) =>
      one.model.startsWith('virtio-') ? kinds.pcie : undefined,
    ),
    ...single('iommu', devices.iommu, (one) => (one.model === 'virtio' ? kinds.integrated : undefined)),
  ];
}

/** The controllers that make PCI buses, roots excepted. */
export function pciControllers(definition: DomainDef): (PciDevice & { readonly device: Controller })[] {
  const found: (PciDevice & { readonly device: Controller })[] = [];
  for (const [index, device] of definition.devices.controllers.entries()) {
    const { type, model } = device;
    if (type !== 'pci' || model === undefined || model === 'pci-root' || model === 'pcie-root') continue;
    found.push({ path: `devices.controllers[${index}]`, device, need: model as PciNeed });
  }
  return found;
}

function pick<T extends Addressable>(
  family: string,
  list: readonly T[],
  needOf: (device: T) => PciNeed | undefined,
): PciDevice[] {
  return list.flatMap((device, index) => wanted(`devices.${family}[${index}]`, device, needOf(device)));
}

function single<T extends Addressable>(
  name: string,
  device: T | undefined,
  needOf: (device: T) => PciNeed | undefined,
): PciDevice[] {
  return device === undefined ? [] : wanted(`devices.${name}`, device, needOf(device));
}

/** A device with an address of another kind than PCI is not ours; `unassigned` stays out of the guest. */
function wanted(path: string, device: Addressable, need: PciNeed | undefined): PciDevice[] {
  const elsewhere = device.address !== undefined && device.address.type !== 'pci';
  return need === undefined || elsewhere ? [] : [{ path, device, need }];
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
