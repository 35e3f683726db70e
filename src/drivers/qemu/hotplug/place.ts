/** A new device's place in a running guest: defaults, address, alias, and the controllers it needs. Pure. */
import { VirtError } from '../../../base/errors.ts';
import { throwProblems } from '../../../base/xml/codec.ts';
import { assignAddresses } from '../../../model/domain/addresses/assign.ts';
import { completeAliases } from '../../../model/domain/aliases.ts';
import { applyDefaults, type DefaultsFacts } from '../../../model/domain/defaults.ts';
import {
  addDevice,
  addressOf,
  aliasOfDevice,
  allDevices,
  type OneDevice,
} from '../../../model/domain/device-list.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import { validateDomain } from '../../../model/domain/validate/validate.ts';
import { requirePluggable } from './refused.ts';

/** The definition with the device, and what of it is new: controllers and hubs first, the device last. */
export interface Placed {
  readonly after: DomainDef;
  readonly parts: readonly OneDevice[];
}

/**
 * Places a device in a guest whose other devices stay where they are.
 * @throws VirtError definition.unsupported, xml.invalid when there is no place, or what is there contradicts
 */
export function placeDevice(live: DomainDef, given: OneDevice, facts: DefaultsFacts, wanted: string): Placed {
  const draft = addDevice(live, given);
  // The LSI card, libvirt's default where nothing is said, takes no disks while the guest runs.
  const hasDevice = (name: string) => name !== 'lsi53c895a' && (facts.hasDevice?.(name) ?? true);
  const filled = applyDefaults(draft, facts);
  // Only now: a disk's bus may be told by its name.
  const [wish = given] = newDevices(live.devices, filled.devices).filter(
    ({ family }) => family === given.family,
  );
  requirePluggable(wish, wanted);
  const complete = assignAddresses(filled, { hasDevice });
  // Nothing else changes: the guest has its other devices as they are.
  const devices: Devices = {
    ...live.devices,
    controllers: neededControllers(live.devices, complete.devices, wanted),
    hubs: complete.devices.hubs,
    [given.family]: complete.devices[given.family],
  };
  const after = completeAliases({ ...complete, devices });
  throwProblems(validateDomain(after), wanted, 'definition.unsupported');
  return { after, parts: newParts(live.devices, after.devices, given) };
}

/** New controllers of PCI are only there for the next device, or cannot be plugged themselves. */
function neededControllers(before: Devices, after: Devices, wanted: string): Devices['controllers'] {
  const added = after.controllers.slice(before.controllers.length);
  const buses = new Set(added.flatMap((one) => (one.type === 'pci' ? [one.index ?? 0] : [])));
  const isUsed = allDevices(after).some((one) => {
    const address = addressOf(one);
    const isNewBus = added.some((bus) => bus === one.device && bus.type === 'pci');
    return address?.type === 'pci' && buses.has(address.bus ?? 0) && !isNewBus;
  });
  if (isUsed)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'the guest has no free PCI slot for it',
      hint: "add a controller of type 'pci' to the stored definition and start it again: model pcie-root-port, for conventional PCI on q35 pcie-to-pci-bridge",
    });
  return after.controllers.filter((one) => !(added.includes(one) && one.type === 'pci'));
}

/** Devices that a running guest has not: it has a name for each of its own. Lists are sorted when defaults are filled in. */
function newDevices(before: Devices, after: Devices): OneDevice[] {
  const known = new Set(allDevices(before).map(aliasOfDevice));
  return allDevices(after).filter((one) => {
    const alias = aliasOfDevice(one);
    return alias === undefined || !known.has(alias);
  });
}

/** What is new: what others sit on first. */
function newParts(before: Devices, after: Devices, given: OneDevice): OneDevice[] {
  const found = newDevices(before, after);
  const order: readonly string[] = ['controllers', 'hubs', given.family];
  return [...new Set(order)].flatMap((family) => found.filter((one) => one.family === family));
}
