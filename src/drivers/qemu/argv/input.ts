/** Keyboards, mice, tablets, and input devices of the host; USB hubs. */
import type { Hub } from '../../../model/domain/devices/hostdev.ts';
import type { Input } from '../../../model/domain/devices/small.ts';
import { aliasOf, placement } from './address.ts';
import type { Build } from './context.ts';
import { refuseVirtioOptions, virtioOptions } from './virtio.ts';

/** All of <hub>; a hub comes before what is plugged into it, so the ones near the root come first. */
export function buildHubs(b: Build): void {
  const depth = (hub: Hub) => (hub.address?.type === 'usb' ? (hub.address.port ?? '').split('.').length : 0);
  const entries = [...b.definition.devices.hubs.entries()].sort(
    ([, one], [, other]) => depth(one) - depth(other),
  );
  for (const [index, hub] of entries) {
    const path = `devices.hub[${index}]`;
    b.device(path, { driver: 'usb-hub', ...placement(b, hub, path) });
  }
}

/** All of <input>. */
export function buildInputs(b: Build): void {
  for (const [index, input] of b.definition.devices.inputs.entries())
    buildInput(b, input, `devices.input[${index}]`);
}

const usbDevices = { tablet: 'usb-tablet', mouse: 'usb-mouse', keyboard: 'usb-kbd' } as const;

function buildInput(b: Build, input: Input, path: string): void {
  if (input.type === 'evdev') return buildEvdev(b, input, path);
  if (input.bus !== 'virtio') {
    refuseVirtioOptions(b, path, input.driver);
    b.refuse(path, { model: input.model }, 'needs bus virtio');
  }
  if (input.type === 'passthrough') return buildPassthrough(b, input, path);
  switch (input.bus) {
    case 'usb':
      return b.device(path, { driver: usbDevices[input.type], ...placement(b, input, path) });
    case 'virtio':
      refuseTransitional(b, input, path);
      return b.device(path, {
        driver: `virtio-${input.type}-pci`,
        ...virtioOptions(input.driver),
        ...placement(b, input, path),
      });
    case 'ps2':
      // The keyboard controller of the board has both ports; a tablet does not speak PS/2.
      if (!b.isX86 || input.type === 'tablet') b.problem(path, `there is no ps2 ${input.type} on ${b.arch}`);
      return;
    case 'xen':
    case undefined:
      b.problem(`${path}.bus`, `'${input.bus ?? ''}' is not supported`);
  }
}

/** virtio input devices are modern only. */
function refuseTransitional(b: Build, input: Input, path: string): void {
  if (input.model === 'virtio-transitional')
    b.problem(`${path}.model`, 'virtio input devices have no transitional model');
}

/** QEMU opens the event device by its path: it has no way to be handed a descriptor for it. */
function buildPassthrough(b: Build, input: Input, path: string): void {
  const evdev = input.source?.evdev;
  if (evdev === undefined) b.problem(`${path}.source.evdev`, 'is missing');
  if (input.bus !== 'virtio') b.problem(`${path}.bus`, `'passthrough' needs bus virtio`);
  refuseTransitional(b, input, path);
  b.device(path, {
    driver: 'virtio-input-host-pci',
    evdev,
    ...virtioOptions(input.driver),
    ...placement(b, input, path),
  });
}

function buildEvdev(b: Build, input: Input, path: string): void {
  const { source } = input;
  if (source?.dev === undefined) b.problem(`${path}.source.dev`, 'is missing');
  b.object(path, {
    'qom-type': 'input-linux',
    id: aliasOf(input, path),
    evdev: source?.dev,
    grab_all: source?.grab === 'all' ? true : undefined,
    repeat: source?.repeat,
    'grab-toggle': source?.grabToggle,
  });
}
