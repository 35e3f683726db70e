/** Where a device sits, in QEMU's words: bus, addr, port, slot. */
import type { Address, AddressOf } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** What every device that can be addressed has. */
export interface Placed {
  readonly alias?: string | undefined;
  readonly address?: Address | undefined;
  readonly acpiIndex?: number | undefined;
}

/**
 * The alias, which `assignAliases` gave every device.
 * @throws Error when the definition was not completed, which is a bug of the caller
 */
export function aliasOf(device: Placed, path: string): string {
  if (device.alias === undefined) throw new Error(`${path} has no alias: assignAliases was not called`);
  return device.alias;
}

/** id and place of a device that sits on the bus its address names. */
export function placement(b: Build, device: Placed, path: string): JsonObject {
  return { id: aliasOf(device, path), ...place(b, device, path) };
}

/** Only the place; for companions of a device that have no id of their own. */
export function place(b: Build, device: Placed, path: string): JsonObject {
  const { address } = device;
  switch (address?.type) {
    case 'pci':
      return pciPlace(b, address, device.acpiIndex, path);
    case 'usb':
      return usbPlace(b, address, path);
    case 'virtio-serial':
      return virtioSerialPlace(b, address, path);
    case 'ccid':
      return { bus: `${controllerAlias(b, 'ccid', address.controller, path)}.0`, slot: address.slot };
    case 'isa':
      return { iobase: address.iobase, irq: address.irq };
    case 'dimm':
      return { slot: address.slot, addr: address.base };
    case 'unassigned':
    case undefined:
      b.problem(`${path}.address`, 'was not assigned');
      return {};
    case 'drive':
    case 'spapr-vio':
    case 'ccw':
    case 'virtio-mmio':
      b.problem(`${path}.address`, `type '${address.type}' is not supported for this device`);
      return {};
  }
}

function pciPlace(
  b: Build,
  address: AddressOf<'pci'>,
  acpiIndex: number | undefined,
  path: string,
): JsonObject {
  if (address.bus === undefined || address.slot === undefined) {
    b.problem(`${path}.address`, 'was not assigned');
    return {};
  }
  if ((address.domain ?? 0) !== 0) b.problem(`${path}.address.domain`, 'guests have only PCI domain 0');
  b.refuse(`${path}.address`, { zpci: address.zpci }, 'is only there on s390x');
  const slot = `0x${address.slot.toString(16)}`;
  return {
    bus: pciBus(b, address.bus, path),
    multifunction: address.multifunction,
    addr: address.function ? `${slot}.0x${address.function.toString(16)}` : slot,
    'acpi-index': acpiIndex,
  };
}

/** The name of PCI bus number `index`: the root's is the machine's own, any other is its controller's alias. */
function pciBus(b: Build, index: number, path: string): string {
  const found = b.definition.devices.controllers.find(
    (controller) => controller.type === 'pci' && (controller.index ?? 0) === index,
  );
  if (found?.model === 'pcie-root' || (found === undefined && index === 0 && !b.isI440fx)) return 'pcie.0';
  if (found?.model === 'pci-root' || (found === undefined && index === 0)) return 'pci.0';
  return controllerAlias(b, 'pci', index, path);
}

/** The alias of a controller by type and index; a missing one is a problem. */
export function controllerAlias(b: Build, type: Controller['type'], index: number, path: string): string {
  const found = b.definition.devices.controllers.find(
    (controller) =>
      controller.type === type &&
      (controller.index ?? 0) === index &&
      controller.masterStartPort === undefined,
  );
  if (found === undefined) {
    b.problem(`${path}.address`, `there is no ${type} controller ${index}`);
    return '';
  }
  return aliasOf(found, `controller ${type} ${index}`);
}

function usbPlace(b: Build, address: AddressOf<'usb'>, path: string): JsonObject {
  return { bus: `${controllerAlias(b, 'usb', address.bus, path)}.0`, port: address.port };
}

function virtioSerialPlace(b: Build, address: AddressOf<'virtio-serial'>, path: string): JsonObject {
  const alias = controllerAlias(b, 'virtio-serial', address.controller, path);
  return { bus: `${alias}.${address.bus}`, nr: address.port };
}
