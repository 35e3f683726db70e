/** Interfaces on networks of mode hostdev become virtual functions of the host before a guest gets its devices. */
import { VirtError } from '../../base/errors.ts';
import type { Undo } from '../../base/undo.ts';
import type { OneDevice } from '../../model/domain/device-list.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { QemuDriverOptions } from './options.ts';

type Options = Pick<QemuDriverOptions, 'links' | 'hostDevices'>;

/** What is set aside is given back when what asks for it fails. */
interface Wish {
  readonly wanted: string;
  readonly undo: Undo;
}

/** True when devices of the host have to be taken for a guest. */
export function hasHostDevices({ devices }: DomainDef): boolean {
  return devices.hostdevs.length > 0 || devices.interfaces.some(({ source }) => source.type === 'hostdev');
}

/**
 * The definition with a free function in place of each interface on a network of mode hostdev.
 * @throws VirtError host-device.not-found, host-device.in-use, definition.unsupported
 */
export async function withFunctions(options: Options, definition: DomainDef, undo: Undo): Promise<DomainDef> {
  const { devices } = definition;
  const wish = { wanted: `start '${definition.name}'`, undo };
  const interfaces: Interface[] = [];
  for (const [index, nic] of devices.interfaces.entries())
    interfaces.push(await chosen(options, definition, nic, { ...wish, path: `devices.interface[${index}]` }));
  const isSame = interfaces.every((nic, index) => nic === devices.interfaces[index]);
  return isSame ? definition : { ...definition, devices: { ...devices, interfaces } };
}

/** The same for one device that is plugged in. @throws as withFunctions */
export async function withFunction(
  options: Options,
  definition: DomainDef,
  one: OneDevice,
  wish: Wish,
): Promise<OneDevice> {
  if (one.family !== 'interfaces') return one;
  const nic = one.device as Interface;
  const device = await chosen(options, definition, nic, { ...wish, path: 'interface' });
  return device === nic ? one : { ...one, device };
}

async function chosen(
  { links, hostDevices }: Options,
  definition: DomainDef,
  nic: Interface,
  { wanted, undo, path }: Wish & { readonly path: string },
): Promise<Interface> {
  const pool = await links?.functionsFor?.(nic, path);
  if (pool === undefined) return nic;
  if (hostDevices === undefined) throw new Error(`${wanted}: nobody has the devices of the host`);
  const domainUuid = definition.uuid ?? '';
  const text = await hostDevices.reserveFunction({ domainUuid, pool, wanted });
  const address = pciNumbers(text);
  if (address === undefined)
    throw new VirtError('host-device.not-found', { wanted, reason: `'${text}' is no PCI address` });
  const card: Interface = {
    ...nic,
    ...pool.actual,
    source: { type: 'hostdev', address, missing: undefined },
  };
  undo.add('give back a virtual function', () => hostDevices.releaseOne(domainUuid, card));
  return card;
}

function pciNumbers(text: string) {
  const found = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/i.exec(text)?.slice(1);
  if (found === undefined) return undefined;
  const [domain = 0, bus = 0, slot = 0, fn = 0] = found.map((digits) => Number.parseInt(digits, 16));
  return { type: 'pci' as const, domain, bus, slot, function: fn };
}
