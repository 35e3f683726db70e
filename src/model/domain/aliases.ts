/** Aliases: the names by which QEMU, QMP events and the live XML know a guest's devices. */
import { clonePlain } from '../../base/clone.ts';
import { diskIndex } from './addresses/drive.ts';
import { isUserAlias } from './devices/address.ts';
import type { DomainDef } from './domain.ts';
import { familyOf, type MachineFamily } from './machine.ts';

type Devices = DomainDef['devices'];
type Controller = Devices['controllers'][number];
type Disk = Devices['disks'][number];

interface Named {
  alias?: string | undefined;
}

/**
 * The definition with an alias on every device, as libvirt names them when a domain starts. Aliases of the user
 * (`ua-…`) stay; all others are made anew, so that the same definition always gets the same names. Companions of a USB
 * controller share their master's alias, and a console that mirrors a serial port has that port's.
 */
export function assignAliases(definition: DomainDef): DomainDef {
  return nameDevices(clonePlain(definition));
}

/** As assignAliases, for one who only reads: all but the devices' names is the given definition's own. */
export function withAliases(definition: DomainDef): DomainDef {
  const devices: Record<string, unknown> = { ...definition.devices };
  for (const family in devices) {
    const found = devices[family];
    if (Array.isArray(found)) devices[family] = found.map((device: object) => ({ ...device }));
    else if (typeof found === 'object' && found !== null) devices[family] = { ...found };
  }
  return nameDevices({ ...definition, devices: devices as Devices });
}

function nameDevices(draft: DomainDef): DomainDef {
  const { devices } = draft;
  nameControllers(devices.controllers, familyOf(draft));
  for (const disk of devices.disks) name(disk, diskAlias(disk, devices.controllers));
  nameHostdevs(devices);
  nameChardevs(devices);
  nameMemories(devices);
  for (const [prefix, list] of families(devices)) numbered(prefix, list);
  single('balloon0', devices.memballoon?.model === 'none' ? undefined : devices.memballoon);
  single('vsock0', devices.vsock);
  return draft;
}

/**
 * The definition of a running guest with an alias on each device that has none: QEMU knows the others by theirs, whatever
 * their place in the lists is after some were unplugged. A new name is one that no device has.
 */
export function completeAliases(definition: DomainDef): DomainDef {
  const named = assignAliases(definition);
  const draft = clonePlain(definition);
  const taken = new Set(pairs(draft, draft).flatMap(([device]) => device.alias ?? []));
  for (const [device, other] of pairs(draft, named)) {
    if (device.alias !== undefined || other.alias === undefined) continue;
    device.alias = isShared(draft.devices, device) ? other.alias : freeName(other.alias, taken);
    taken.add(device.alias);
  }
  return draft;
}

/** Companions of a USB controller, and a console that is the first serial port, have another's name. */
function isShared(devices: Devices, device: Named): boolean {
  const console = devices.consoles[0];
  return device === console || devices.controllers.some((one) => one === device && isCompanion(one));
}

const isCompanion = (controller: Controller): boolean => controller.masterStartPort !== undefined;

/** The name itself, or the lowest number behind its prefix that is free. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name;
  const prefix = name.replace(/\d+$/, '');
  let number = 0;
  while (taken.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}

/** Each device of one definition with the one in its place in another of the same shape. */
function pairs(one: DomainDef, other: DomainDef): [Named, Named][] {
  const found: [Named, Named][] = [];
  for (const [key, value] of Object.entries(one.devices)) {
    const like = other.devices[key as keyof Devices];
    if (Array.isArray(value))
      for (const [index, device] of value.entries())
        found.push([device as Named, (like as readonly Named[])[index] ?? {}]);
    else if (typeof value === 'object' && value !== null) found.push([value as Named, (like ?? {}) as Named]);
  }
  return found;
}

/** Families whose aliases are a prefix and the place in their list. */
function families(devices: Devices): readonly (readonly [string, readonly Named[]])[] {
  const cards = devices.interfaces.filter((card) => card.source.type !== 'hostdev');
  return [
    ['fs', devices.filesystems],
    ['net', cards],
    ['smartcard', devices.smartcards],
    ['input', devices.inputs],
    ['tpm', devices.tpms],
    ['sound', devices.sounds],
    ['video', devices.videos],
    ['redir', devices.redirdevs],
    ['hub', devices.hubs],
    ['watchdog', devices.watchdogs],
    ['rng', devices.rngs],
    ['panic', devices.panics],
    ['shmem', devices.shmems],
  ];
}

function isKept(device: Named): boolean {
  return device.alias !== undefined && isUserAlias(device.alias);
}

function name(device: Named, alias: string): void {
  if (!isKept(device)) device.alias = alias;
}

function single(alias: string, device: Named | undefined): void {
  if (device !== undefined) name(device, alias);
}

/** Numbers run over the devices that have no alias of the user's. */
function numbered(prefix: string, list: readonly Named[]): void {
  for (const [index, device] of list.filter((one) => !isKept(one)).entries())
    name(device, `${prefix}${index}`);
}

/** `virtio-disk0` from vda, `sata0-0-1` from the address. */
function diskAlias(disk: Disk, controllers: readonly Controller[]): string {
  const { bus = 'virtio', dev } = disk.target;
  const { address } = disk;
  if (address?.type === 'drive') {
    const { controller, bus: channel, target, unit } = address;
    // SCSI alone has targets, except that libvirt leaves them out for the narrow LSI chip; guests see it in the name.
    const scsi = controllers.find((one) => one.type === 'scsi' && one.index === controller);
    const hasTarget = bus === 'scsi' && scsi?.model !== 'lsilogic';
    const place = hasTarget ? [controller, channel, target, unit] : [controller, channel, unit];
    return `${bus}${place.join('-')}`;
  }
  return `${bus}-disk${diskIndex(dev) ?? dev}`;
}

function nameControllers(controllers: readonly Controller[], family: MachineFamily): void {
  for (const controller of controllers) name(controller, controllerAlias(controller, family));
}

/** The buses that a chipset has by itself keep the names that QEMU gives them. */
function controllerAlias(controller: Controller, family: MachineFamily): string {
  const { type, index = 0, model } = controller;
  switch (type) {
    case 'pci':
      return model === 'pcie-root' ? `pcie.${index}` : `pci.${index}`;
    case 'ide':
      return index === 0 && family === 'i440fx' ? 'ide' : `ide${index}`;
    case 'sata':
      return index === 0 && family === 'q35' ? 'ide' : `sata${index}`;
    case 'usb':
      return index === 0 ? 'usb' : `usb${index}`;
    default:
      return `${type}${index}`;
  }
}

/** Devices of the host count together, those that are network cards included. */
function nameHostdevs(devices: Devices): void {
  const cards = devices.interfaces.filter((card) => card.source.type === 'hostdev');
  numbered('hostdev', [...cards, ...devices.hostdevs]);
}

function nameChardevs(devices: Devices): void {
  numbered('serial', devices.serials);
  numbered('parallel', devices.parallels);
  numbered('channel', devices.channels);
  const [first] = devices.consoles;
  const serial = devices.serials[0];
  const isMirror = serial !== undefined && (first?.target?.type ?? 'serial') === 'serial';
  for (const [index, console] of devices.consoles.entries())
    if (index === 0 && isMirror && serial.alias !== undefined) console.alias = serial.alias;
    else name(console, `console${index}`);
}

/** libvirt's prefixes by model. */
const memoryPrefix: Readonly<Record<Devices['memories'][number]['model'], string>> = {
  dimm: 'dimm',
  nvdimm: 'nvdimm',
  'virtio-pmem': 'virtiopmem',
  'virtio-mem': 'virtiomem',
  'sgx-epc': 'epc',
};

/** Modules with a slot are named after it, since that is what stays when another is unplugged. */
function nameMemories(devices: Devices): void {
  const counts = new Map<string, number>();
  for (const memory of devices.memories) {
    const prefix = memoryPrefix[memory.model];
    const count = counts.get(prefix) ?? 0;
    counts.set(prefix, count + 1);
    const slot = memory.address?.type === 'dimm' ? memory.address.slot : undefined;
    name(memory, `${prefix}${slot ?? count}`);
  }
}
