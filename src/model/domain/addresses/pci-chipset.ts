/** Slots that a chipset gives to certain devices: PIIX3 on i440fx, ICH9 on q35 (QEMU's docs/config/q35-*.cfg). */
import type { DomainDef } from '../domain.ts';
import type { MachineFamily } from '../machine.ts';
import type { PciMap } from './pci-map.ts';
import { type Addressable, isOpen, pciAddressOf } from './pci-needs.ts';

type Controller = DomainDef['devices']['controllers'][number];
type Problem = { readonly path: string; readonly message: string };

/** Functions of ICH9's USB: the 2.0 controller is function 7, its companions 0 to 2. */
const ich9Functions: Readonly<Record<string, number>> = {
  'ich9-ehci1': 7,
  'ich9-uhci1': 0,
  'ich9-uhci2': 1,
  'ich9-uhci3': 2,
};

export function ich9Function(controller: Controller): number | undefined {
  return controller.type === 'usb' && controller.model !== undefined
    ? ich9Functions[controller.model]
    : undefined;
}

/** Reserves what belongs to the chipset itself, before any device is placed. */
export function reserveChipset(map: PciMap, family: MachineFamily, definition: DomainDef): void {
  const reserve = (slot: number, fn: number, owner: string): void => {
    const taken = definition.devices.controllers.some((one) => {
      const address = pciAddressOf(one);
      return address?.bus === 0 && address.slot === slot && address.function === fn;
    });
    if (!taken) map.reserve({ domain: 0, bus: 0, slot, function: fn }, { path: owner });
  };
  if (family === 'i440fx') {
    reserve(1, 0, 'the ISA bridge');
    reserve(1, 1, 'the IDE controller');
    reserve(1, 3, 'the power management controller');
  }
  if (family === 'q35') {
    reserve(0x1f, 0, 'the ISA bridge');
    reserve(0x1f, 2, 'the SATA controller');
    reserve(0x1f, 3, 'the SMBus controller');
  }
}

/** Gives the devices that have a place of their own that place, as long as nobody else was put there. */
export function placeFixed(definition: DomainDef, family: MachineFamily, isFree: FreeTest): Problem[] {
  if (family === 'i440fx') return placePiix3(definition, isFree);
  if (family === 'q35') return placeIch9(definition, isFree);
  return [];
}

/** Tells whether an explicit address stands in a slot (function undefined: in any function of it). */
export type FreeTest = (slot: number, fn?: number) => boolean;

function place(device: Addressable, slot: number, fn: number): void {
  const old = device.address?.type === 'pci' ? device.address : undefined;
  device.address = {
    ...old,
    type: 'pci',
    domain: 0,
    bus: 0,
    slot,
    function: fn,
  };
}

/** PIIX3 has its IDE and USB functions in slot 1 and nowhere else. */
function placePiix3(definition: DomainDef, isFree: FreeTest): Problem[] {
  const problems: Problem[] = [];
  for (const [index, one] of definition.devices.controllers.entries()) {
    const fn = piix3Function(one);
    if (fn === undefined) continue;
    const address = pciAddressOf(one);
    if (isOpen(one, 'pci')) place(one, 1, fn);
    else if (address !== undefined && !(address.bus === 0 && address.slot === 1 && address.function === fn))
      problems.push({
        path: `devices.controllers[${index}].address`,
        message: `the ${one.type} controller of the chipset is at 0000:00:01.${fn} and nowhere else`,
      });
  }
  placePrimaryVideo(definition, 2, isFree);
  return problems;
}

function piix3Function(one: Controller): number | undefined {
  if ((one.index ?? 0) !== 0) return undefined;
  if (one.type === 'ide') return 1;
  return one.type === 'usb' && (one.model === 'piix3-uhci' || one.model === undefined) ? 2 : undefined;
}

function placeIch9(definition: DomainDef, isFree: FreeTest): Problem[] {
  const problems: Problem[] = [];
  const { controllers, sounds } = definition.devices;
  for (const [index, one] of controllers.entries()) {
    if (one.type !== 'sata' || (one.index ?? 0) !== 0) continue;
    const address = pciAddressOf(one);
    if (isOpen(one, 'pci')) place(one, 0x1f, 2);
    else if (address !== undefined && !(address.bus === 0 && address.slot === 0x1f && address.function === 2))
      problems.push({
        path: `devices.controllers[${index}].address`,
        message: 'the first SATA controller of the chipset is at 0000:00:1f.2 and nowhere else',
      });
  }
  placeIch9Usb(controllers, isFree);
  const bridge = controllers.find((one) => one.model === 'dmi-to-pci-bridge' && isOpen(one, 'pci'));
  if (bridge !== undefined && isFree(0x1e)) place(bridge, 0x1e, 0);
  const sound = sounds.find((one) => one.model === 'ich9' && isOpen(one, 'pci'));
  if (sound !== undefined && isFree(0x1b)) place(sound, 0x1b, 0);
  placePrimaryVideo(definition, 1, isFree);
  return problems;
}

/** The first two sets of USB 2.0 controllers are where ICH9 has them. */
function placeIch9Usb(controllers: readonly Controller[], isFree: FreeTest): void {
  const slots = [0x1d, 0x1a];
  const sets = new Set(
    controllers.filter((one) => ich9Function(one) !== undefined).map((one) => one.index ?? 0),
  );
  for (const index of sets) {
    const set = controllers.filter((one) => ich9Function(one) !== undefined && (one.index ?? 0) === index);
    if (set.some((one) => !isOpen(one, 'pci'))) continue;
    const slot = slots.find((candidate) => isFree(candidate));
    if (slot === undefined) return;
    slots.splice(slots.indexOf(slot), 1);
    for (const one of set) place(one, slot, ich9Function(one) ?? 0);
  }
}

/** Firmware and old guests look for the first display right behind the chipset. */
function placePrimaryVideo(definition: DomainDef, slot: number, isFree: FreeTest): void {
  const video = definition.devices.videos.find((one) => one.model?.primary) ?? definition.devices.videos[0];
  if (video === undefined || !isOpen(video, 'pci') || !isFree(slot)) return;
  if (video.model?.type === 'none' || video.model?.type === 'ramfb') return;
  place(video, slot, 0);
}
