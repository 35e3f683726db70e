/** Ports of USB devices: on the controllers that are there, and on hubs that are added when those are full. */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';
import type { DefaultModels } from './controllers.ts';
import type { Addressable } from './pci-needs.ts';

type Devices = DomainDef['devices'];
type Controller = Devices['controllers'][number];

/** Ports by controller model (QEMU's hw/usb/hcd-*); companions serve their master's ports. */
const portsByModel: Readonly<Record<string, number>> = {
  'piix3-uhci': 2,
  'piix4-uhci': 2,
  'vt82c686b-uhci': 2,
  ehci: 6,
  'ich9-ehci1': 6,
  'pci-ohci': 3,
  'nec-xhci': 4,
  'qemu-xhci': 4,
};

/** Ports of QEMU's usb-hub. */
const HUB_PORTS = 8;

/** USB 2.0, section 4.1.1: five hubs deep; QEMU's port paths and libvirt's schema stop at four numbers. */
const MAX_DEPTH = 4;

interface UsbDevice {
  readonly path: string;
  readonly device: Addressable;
  readonly isHub: boolean;
}

function usbDevices({ devices }: DomainDef): UsbDevice[] {
  const pick = <T extends Addressable>(
    family: string,
    list: readonly T[],
    wanted: (one: T) => boolean,
    isHub = false,
  ) =>
    list.flatMap((device, index) =>
      wanted(device) ? [{ path: `devices.${family}[${index}]`, device, isHub }] : [],
    );
  return [
    ...pick('hubs', devices.hubs, () => true, true),
    ...pick('disks', devices.disks, (one) => one.target.bus === 'usb'),
    ...pick('interfaces', devices.interfaces, (one) => one.model === 'usb-net'),
    ...pick('controllers', devices.controllers, (one) => one.type === 'ccid'),
    ...pick('serials', devices.serials, (one) => one.target?.type === 'usb-serial'),
    ...pick('inputs', devices.inputs, (one) => one.bus === 'usb'),
    ...pick('sounds', devices.sounds, (one) => one.model === 'usb'),
    ...pick('hostdevs', devices.hostdevs, (one) => one.source.type === 'usb'),
    ...pick('redirdevs', devices.redirdevs, () => true),
  ];
}

/** The ports of all buses: free and taken, the numbers from the controller down joined by dots. */
class UsbPorts {
  private readonly taken = new Map<string, string>();
  private readonly roots = new Map<number, number>();
  private readonly hubs: { bus: number; port: string }[] = [];

  addController(controller: Controller): void {
    const count = controller.ports ?? portsByModel[controller.model ?? ''];
    if (count !== undefined) this.roots.set(controller.index ?? 0, count);
  }

  /** The bus numbers that devices may be on. */
  hasBus(bus: number): boolean {
    return this.roots.has(bus);
  }

  /** The owner that was there before, or undefined when the port is now the new owner's. */
  take(bus: number, port: string, owner: string, isHub: boolean): string | undefined {
    const previous = this.taken.get(`${bus}:${port}`);
    if (previous !== undefined) return previous;
    this.taken.set(`${bus}:${port}`, owner);
    if (isHub) this.hubs.push({ bus, port });
    return undefined;
  }

  /** The lowest free port, on controllers first and then on hubs. */
  find(onlyBus?: number): { bus: number; port: string } | undefined {
    for (const [bus, count] of [...this.roots].sort(([a], [b]) => a - b))
      if (onlyBus === undefined || onlyBus === bus)
        for (let port = 1; port <= count; port++)
          if (!this.taken.has(`${bus}:${port}`)) return { bus, port: String(port) };
    for (const hub of this.hubs) {
      if (onlyBus !== undefined && hub.bus !== onlyBus) continue;
      if (hub.port.split('.').length >= MAX_DEPTH) continue;
      for (let port = 1; port <= HUB_PORTS; port++)
        if (!this.taken.has(`${hub.bus}:${hub.port}.${port}`))
          return { bus: hub.bus, port: `${hub.port}.${port}` };
    }
    return undefined;
  }

  freeCount(): number {
    let free = 0;
    for (const [bus, count] of this.roots)
      for (let port = 1; port <= count; port++) if (!this.taken.has(`${bus}:${port}`)) free++;
    return free + this.hubs.length * HUB_PORTS - [...this.taken.keys()].filter((k) => k.includes('.')).length;
  }
}

const isOpen = ({ device }: UsbDevice): boolean =>
  device.address === undefined || (device.address.type === 'usb' && device.address.port === undefined);

export function assignUsb(draft: DomainDef, problems: Problem[], models: DefaultModels): void {
  if (usbDevices(draft).length === 0) return;
  ensureUsbController(draft, models);
  addHubs(draft, problems);
  const ports = portsOf(draft, problems);
  for (const one of usbDevices(draft).filter(isOpen)) {
    const wanted = one.device.address?.type === 'usb' ? one.device.address.bus : undefined;
    const found = ports.find(wanted);
    if (found === undefined) {
      problems.push({ path: one.path, message: 'there is no free USB port; add a USB controller or a hub' });
      return;
    }
    ports.take(found.bus, found.port, one.path, one.isHub);
    one.device.address = { type: 'usb', ...found };
  }
}

function portsOf(draft: DomainDef, problems: Problem[]): UsbPorts {
  const ports = new UsbPorts();
  for (const one of draft.devices.controllers) if (one.type === 'usb') ports.addController(one);
  for (const { device, path, isHub } of usbDevices(draft)) {
    if (device.address?.type !== 'usb' || device.address.port === undefined) continue;
    const { bus, port } = device.address;
    const owner = ports.take(bus, port, path, isHub);
    if (owner !== undefined)
      problems.push({ path: `${path}.address`, message: `USB port ${bus}:${port} is in use by ${owner}` });
  }
  return ports;
}

/** A machine without USB of its own gets a controller with its first USB device. */
function ensureUsbController(draft: DomainDef, models: DefaultModels): void {
  const { controllers } = draft.devices;
  if (controllers.some((one) => one.type === 'usb')) return;
  controllers.push({ type: 'usb', index: 0, ...(models.usb !== undefined && { model: models.usb }) });
}

/** Each hub takes one port and gives eight. */
function addHubs(draft: DomainDef, problems: Problem[]): void {
  const open = usbDevices(draft).filter(isOpen);
  const hubs = open.filter(({ isHub }) => isHub).length;
  const free = portsOf(draft, []).freeCount() + hubs * HUB_PORTS;
  const missing = open.length - free;
  if (missing <= 0) return;
  const count = Math.ceil(missing / (HUB_PORTS - 1));
  if (free <= hubs || count > 64) {
    problems.push({ path: 'devices', message: 'there are more USB devices than ports can be made for' });
    return;
  }
  for (let i = 0; i < count; i++) draft.devices.hubs.push({ type: 'usb' });
}
