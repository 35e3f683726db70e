/** Which device of a definition a client means: by the part of its XML that names it, or by a word. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { aliasOfDevice, allDevices, type Device, type OneDevice } from './device-list.ts';
import type { Devices } from './devices/devices.ts';
import type { DomainDef } from './domain.ts';

/**
 * Finds the device that an element describes, as libvirt does: a disk by its target, an interface by its MAC address,
 * everything else by all that the element says. An alias decides, unless the element has the name of another device.
 * @throws VirtError domain.no-device when there is none, or more than one fits
 */
export function findLike(definition: DomainDef, wanted: OneDevice): OneDevice {
  const alias = aliasOfDevice(wanted);
  const family = allDevices(definition.devices).filter((one) => one.family === wanted.family);
  const byAlias = alias === undefined ? [] : family.filter((one) => aliasOfDevice(one) === alias);
  const found =
    byAlias.length > 0
      ? byAlias.filter((one) => hasNameOf(one, wanted))
      : family.filter((one) => isMeant(wanted, one));
  if (found.length === 1 && found[0] !== undefined) return found[0];
  throw noDevice(definition, `<${wanted.element}${nameOf(wanted)}>`, found.length);
}

/** Devices that have a name, or are what they are of the host: another description is of another device. */
const namedFamilies: ReadonlySet<string> = new Set([
  'disks',
  'interfaces',
  'filesystems',
  'controllers',
  'graphics',
  'hostdevs',
]);

/**
 * Finds the device whose new description an element is: as `findLike`, and where nothing tells it but what is to change,
 * the only one of its kind.
 * @throws VirtError domain.no-device, with `details.toUpdate`
 */
export function findToUpdate(definition: DomainDef, wanted: OneDevice): OneDevice {
  try {
    return findLike(definition, wanted);
  } catch (error) {
    if (!isVirtError(error, 'domain.no-device')) throw error;
    const family = allDevices(definition.devices).filter((one) => one.family === wanted.family);
    const [only] = family;
    if (only !== undefined && family.length === 1 && !namedFamilies.has(only.family) && !hasAlias(wanted))
      return only;
    const { code, wanted: what = 'update a device', reason, hint } = error;
    const details = { toUpdate: true };
    throw new VirtError(code, { wanted: what, reason, ...(hint !== undefined && { hint }), details });
  }
}

const hasAlias = (one: OneDevice): boolean => aliasOfDevice(one) !== undefined;

/**
 * Finds a device by alias, by target (`vdb`, of disks and directories), or by MAC address or host device (`vnet0`).
 * @throws VirtError domain.no-device
 */
export function findByWord(definition: DomainDef, word: string): OneDevice {
  const devices = allDevices(definition.devices);
  const byAlias = devices.filter((one) => aliasOfDevice(one) === word);
  const found = byAlias.length > 0 ? byAlias : devices.filter((one) => wordsOf(one).includes(word));
  const lower = found.length > 0 ? found : devices.filter((one) => wordsOf(one).includes(word.toLowerCase()));
  if (lower.length === 1 && lower[0] !== undefined) return lower[0];
  throw noDevice(definition, `'${word}'`, lower.length);
}

function noDevice({ name, devices }: DomainDef, what: string, count: number): VirtError {
  const known = allDevices(devices).flatMap((one) => wordsOf(one)[0] ?? []);
  return new VirtError('domain.no-device', {
    wanted: `find device ${what} of domain '${name}'`,
    reason: count === 0 ? 'it has no such device' : `${count} of its devices fit`,
    ...(known.length > 0 && {
      hint: count === 0 ? `it has ${known.slice(0, 20).join(', ')}` : 'name it by its alias',
    }),
  });
}

/** What people call a device: target, MAC, device on the host. */
function wordsOf({ family, device }: OneDevice): string[] {
  switch (family) {
    case 'disks':
      return [(device as Devices['disks'][number]).target.dev];
    case 'interfaces': {
      const nic = device as Devices['interfaces'][number];
      return [nic.mac?.address, nic.target?.dev].filter((word) => word !== undefined);
    }
    case 'filesystems':
      return [(device as Devices['filesystems'][number]).target];
    default:
      return [];
  }
}

function nameOf(one: OneDevice): string {
  const [word] = wordsOf(one);
  return word === undefined ? '' : ` ${word}`;
}

function isMeant(wanted: OneDevice, candidate: OneDevice): boolean {
  switch (wanted.family) {
    case 'disks':
      return wordsOf(wanted)[0] === wordsOf(candidate)[0];
    case 'interfaces': {
      const nic = wanted.device as Devices['interfaces'][number];
      const other = candidate.device as Devices['interfaces'][number];
      if (nic.mac !== undefined && nic.mac.address !== other.mac?.address) return false;
      return isSaid(placeOf(nic), placeOf(other));
    }
    case 'filesystems':
      return wordsOf(wanted)[0] === wordsOf(candidate)[0];
    case 'controllers': {
      const one = wanted.device as Devices['controllers'][number];
      const other = candidate.device as Devices['controllers'][number];
      return one.type === other.type && (one.index === undefined || one.index === other.index);
    }
    case 'graphics':
      return (
        (wanted.device as Devices['graphics'][number]).type ===
        (candidate.device as Devices['graphics'][number]).type
      );
    default:
      return isSaid(identityOf(wanted.device), candidate.device);
  }
}

/** False where what has the alias bears another name than the one that is said: no guess which of the two is meant. */
function hasNameOf(candidate: OneDevice, wanted: OneDevice): boolean {
  const [word] = wordsOf(wanted);
  return word === undefined || wordsOf(candidate).includes(word);
}

/** The parts by which one device is told from its like: its place in the guest may be left out. */
const placeOf = (device: { readonly address?: unknown }) =>
  device.address === undefined ? {} : { address: device.address };

/** What a device is without its alias, which nobody who describes it needs to know. */
function identityOf(device: Device): object {
  const { alias: _alias, ...rest } = device as { readonly alias?: string };
  return rest;
}

/** True when everything that `said` says is so in `actual`; what it leaves open, and empty lists, fit all. */
export function isSaid(said: unknown, actual: unknown): boolean {
  if (said === undefined) return true;
  if (Array.isArray(said)) return said.length === 0 || isDeepStrictEqual(said, actual);
  if (typeof said === 'object' && said !== null)
    return (
      typeof actual === 'object' &&
      actual !== null &&
      Object.entries(said).every(([key, value]) => isSaid(value, (actual as Record<string, unknown>)[key]))
    );
  return said === actual;
}
