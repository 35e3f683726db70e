/** One device by itself: read from its element, put into a definition, found there again, taken out. Pure. */
import { VirtError } from '../../base/errors.ts';
import { type ParseMode, readDocument, writeElement } from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { formatXml, xmlElement } from '../../base/xml/tree.ts';
import type { Address } from './devices/address.ts';
import { type Devices, devicesCodec } from './devices/devices.ts';
import type { DomainDef } from './domain.ts';
import { elementNames } from './validate/each-device.ts';

/** Families of devices that come in lists. */
const listNames = { ...elementNames, graphics: 'graphics' } as const;
export type DeviceList = keyof typeof listNames;
/** Families of which a domain has one at most. */
const singleNames = ['memballoon', 'iommu', 'vsock', 'nvram'] as const;
type SingleName = (typeof singleNames)[number];

/** Any device of a definition. */
export type Device = Devices[DeviceList][number] | NonNullable<Devices[SingleName]>;

/** A device, and which family it belongs to. `element` is its name in XML, for people. */
export interface OneDevice<Family extends DeviceList | SingleName = DeviceList | SingleName> {
  readonly family: Family;
  readonly element: string;
  readonly device: Device;
}

const isList = (family: DeviceList | SingleName): family is DeviceList => Object.hasOwn(listNames, family);

/**
 * Reads one device, as `<disk …>…</disk>`.
 * @throws VirtError xml.malformed, xml.invalid
 */
export function parseDevice(xml: string, options: { readonly mode: ParseMode }): OneDevice {
  const root = parseXml(xml);
  const family = familyOfElement(root.name);
  const { value } = readDocument(devicesCodec, xmlElement('devices', [], [root]), 'devices', {
    mode: options.mode,
    what: 'device',
  });
  const found = allDevices(value).find((one) => one.family === family);
  if (found === undefined) throw new Error(`<${root.name}> was read and is not there`);
  return found;
}

function familyOfElement(name: string): DeviceList | SingleName {
  const list = Object.entries(listNames).find(([, element]) => element === name)?.[0] as
    | DeviceList
    | undefined;
  const found = list ?? singleNames.find((single) => single === name);
  if (found !== undefined) return found;
  throw new VirtError('definition.unsupported', {
    wanted: 'read the device',
    reason: `<${name.slice(0, 64)}> is no device`,
    hint: `devices are ${[...Object.values(listNames), ...singleNames].join(', ')}`,
  });
}

/** Every device of a definition, in the order of libvirt's document. */
export function allDevices(devices: Devices): OneDevice[] {
  const found: OneDevice[] = [];
  for (const [family, element] of Object.entries(listNames) as [DeviceList, string][])
    for (const device of devices[family]) found.push({ family, element, device });
  for (const family of singleNames) {
    const device = devices[family];
    if (device !== undefined) found.push({ family, element: family, device });
  }
  return found;
}

/** Devices as a document, with secrets: what a daemon that dies in the middle of a change leaves to the next. */
export function formatDevices(parts: readonly OneDevice[]): string {
  let devices = noDevices();
  for (const part of parts) devices = withDevice(devices, part);
  return formatXml(writeElement(devicesCodec, 'devices', devices, { secure: true }));
}

/** @throws VirtError xml.* */
export function parseDevices(xml: string): OneDevice[] {
  const { value } = readDocument(devicesCodec, parseXml(xml), 'devices', {
    mode: 'lenient',
    what: 'devices',
  });
  return allDevices(value);
}

/** No device of any family. */
export function noDevices(): Devices {
  return readDocument(devicesCodec, xmlElement('devices'), 'devices', { mode: 'strict', what: 'devices' })
    .value;
}

/** The devices with one more. @throws VirtError definition.unsupported for a second one of a family that has one */
export function withDevice(devices: Devices, { family, element, device }: OneDevice): Devices {
  if (isList(family)) return { ...devices, [family]: [...devices[family], device] };
  if (devices[family] !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted: `add a <${element}>`,
      reason: `the domain already has a <${element}>, and can have one only`,
    });
  return { ...devices, [family]: device };
}

/** The devices without one, which must be the very object that is in them. */
export function withoutDevice(devices: Devices, { family, device }: OneDevice): Devices {
  if (isList(family))
    return { ...devices, [family]: (devices[family] as readonly Device[]).filter((one) => one !== device) };
  return { ...devices, [family]: undefined };
}

/** The devices with another in place of one, which must be the very object that is in them. */
export function replaceDevice(devices: Devices, old: OneDevice, device: Device): Devices {
  if (!isList(old.family)) return { ...devices, [old.family]: device };
  const list = devices[old.family] as readonly Device[];
  return { ...devices, [old.family]: list.map((one) => (one === old.device ? device : one)) };
}

/** The definition with other devices. */
export function withDevices(definition: DomainDef, devices: Devices): DomainDef {
  return { ...definition, devices };
}

/** The definition with one more device. Memory modules are part of its memory. Errors as withDevice. */
export function addDevice(definition: DomainDef, one: OneDevice): DomainDef {
  return withModule(withDevices(definition, withDevice(definition.devices, one)), one, 1);
}

/** The definition without a device, which must be the very object that is in it. */
export function removeDevice(definition: DomainDef, one: OneDevice): DomainDef {
  return withModule(withDevices(definition, withoutDevice(definition.devices, one)), one, -1);
}

/** The guest has a module's memory when it comes, unless its balloon holds some back; and no more when it has gone. */
function withModule(definition: DomainDef, { family, device }: OneDevice, sign: 1 | -1): DomainDef {
  if (family !== 'memories') return definition;
  const { memory, currentMemoryKiB } = definition;
  const { sizeKiB } = (device as Devices['memories'][number]).target;
  const total = memory.sizeKiB + sign * sizeKiB;
  return {
    ...definition,
    memory: { ...memory, sizeKiB: total },
    ...(currentMemoryKiB !== undefined && {
      currentMemoryKiB: Math.min(total, currentMemoryKiB + sign * sizeKiB),
    }),
  };
}

/** The alias of a device, where it has one. */
export function aliasOfDevice({ device }: Pick<OneDevice, 'device'>): string | undefined {
  return 'alias' in device ? device.alias : undefined;
}

/** Where a device sits in the guest, where it has a place of its own. */
export function addressOf({ device }: Pick<OneDevice, 'device'>): Address | undefined {
  // Display servers have addresses of another kind.
  return 'address' in device && typeof device.address === 'object' ? device.address : undefined;
}
