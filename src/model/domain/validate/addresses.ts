/** Guest addresses: no two devices at one place. */
import type { Problem } from '../../../base/errors.ts';
import { formatPci } from '../addresses/pci-map.ts';
import { type Address, pciNumbersOf } from '../devices/address.ts';
import type { DomainDef } from '../domain.ts';
import { type AnyDevice, eachDevice } from './each-device.ts';
import { repeated } from './unique.ts';

export function addressProblems({ devices }: DomainDef): Problem[] {
  const buses = devices.disks.map((disk) => disk.target.bus ?? 'unknown');
  const all = eachDevice(devices);
  const claims = all.map((device) => ({
    path: `${device.path}.address`,
    key: device.address && placeOf(device.address, () => driveBus(device, buses)),
  }));
  return [...repeated(claims, (place, first) => `${place} is taken by ${first}`), ...sharedSlotProblems(all)];
}

/** Drive addresses count for each kind of controller. */
function driveBus(device: AnyDevice, buses: readonly string[]): string {
  const index = /^devices\.disk\[(\d+)\]$/.exec(device.path)?.[1];
  return index === undefined ? 'scsi' : (buses[Number(index)] ?? 'unknown');
}

const hex = (number: number, digits: number): string => number.toString(16).padStart(digits, '0');

/** An address in words that are the same for the same place; undefined when it does not name one. */
function placeOf(address: Address, driveBusOf: () => string): string | undefined {
  switch (address.type) {
    case 'pci': {
      const pci = pciNumbersOf(address);
      return pci && `PCI ${formatPci(pci)}`;
    }
    case 'drive':
      return `${driveBusOf()} ${address.controller}:${address.bus}:${address.target}:${address.unit}`;
    case 'virtio-serial':
      return address.port === undefined
        ? undefined
        : `virtio-serial ${address.controller}:${address.bus}:${address.port}`;
    case 'ccid':
      return address.slot === undefined ? undefined : `ccid ${address.controller}:${address.slot}`;
    case 'usb':
      return address.port && `USB ${address.bus}:${address.port}`;
    case 'dimm':
      return address.slot === undefined ? undefined : `memory slot ${address.slot}`;
    case 'spapr-vio':
      return address.reg === undefined ? undefined : `spapr-vio 0x${hex(address.reg, 8)}`;
    case 'ccw':
      return address.devno === undefined
        ? undefined
        : `ccw ${address.cssid}.${address.ssid}.${hex(address.devno, 4)}`;
    case 'isa':
      return address.iobase === undefined ? undefined : `ISA port 0x${hex(address.iobase, 1)}`;
    default:
      return undefined;
  }
}

/** PCI 3.0, 6.2.1: functions above 0 are looked for only when function 0 says that it is one of several. */
function sharedSlotProblems(all: readonly AnyDevice[]): Problem[] {
  const heads = new Map<number, AnyDevice>();
  const others = new Map<number, AnyDevice>();
  for (const device of all) {
    const pci = pciNumbersOf(device.address);
    if (!pci) continue;
    // 32 slots on a bus, 256 buses in a domain.
    const slot = (pci.domain * 256 + pci.bus) * 32 + pci.slot;
    (pci.function === 0 ? heads : others).set(slot, device);
  }
  const problems: Problem[] = [];
  for (const [slot, other] of others) {
    const head = heads.get(slot);
    if (head?.address?.type !== 'pci' || head.address.multifunction !== false) continue;
    const pci = pciNumbersOf(head.address);
    const place = pci && formatPci(pci).replace(/\.0$/, '');
    const message = `${other.path} shares slot ${place}, so function 0 needs multifunction='on'`;
    problems.push({ path: `${head.path}.address`, message });
  }
  return problems;
}
