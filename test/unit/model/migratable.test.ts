import { expect, it } from 'vitest';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { migratableForm } from '../../../src/model/domain/migratable.ts';

const controllersOf = (controllers: string): string[] => {
  const text = `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='pc'>hvm</type></os><devices>${controllers}</devices></domain>`;
  const { definition } = parseDomain(text, { mode: 'strict' });
  return migratableForm(definition).devices.controllers.map(
    ({ type, index, model }) => `${type}${index ?? ''} ${model ?? ''}`,
  );
};

const usb = "<controller type='usb' index='0' model='piix3-uhci'/>";
const root = "<controller type='pci' index='0' model='pci-root'/>";

it.each([
  ['what every PC has is left out', `${usb}${root}`, []],
  ['a bridge stays', `${root}<controller type='pci' index='1' model='pci-bridge'/>`, ['pci1 pci-bridge']],
  [
    'a root with a hole of its own stays',
    "<controller type='pci' index='0' model='pci-root'><pcihole64 unit='KiB'>1048576</pcihole64></controller>",
    ['pci0 pci-root'],
  ],
  [
    'two USB controllers stay',
    `${usb}<controller type='usb' index='1' model='qemu-xhci'/>`,
    ['usb0 piix3-uhci', 'usb1 qemu-xhci'],
  ],
  [
    'another USB controller stays',
    "<controller type='usb' index='0' model='qemu-xhci'/>",
    ['usb0 qemu-xhci'],
  ],
])('%s', (_what, controllers, expected) => {
  expect(controllersOf(controllers)).toEqual(expected);
});
