/** Drive addresses: which controller, bus and unit a disk is on, derived from the letters of its target. */
import type { Problem } from '../../../base/errors.ts';
import type { AddressOf } from '../devices/address.ts';
import type { DomainDef } from '../domain.ts';
import { type DefaultModels, ensureControllers, MAX_CONTROLLERS } from './controllers.ts';

type Devices = DomainDef['devices'];
type Disk = Devices['disks'][number];
type Drive = AddressOf<'drive'>;
type Bus = 'ide' | 'sata' | 'scsi' | 'fdc';

const driveBuses: ReadonlySet<string> = new Set(['ide', 'sata', 'scsi', 'fdc']);

export function isDriveBus(bus: string | undefined): bus is Bus {
  return bus !== undefined && driveBuses.has(bus);
}

/** `vda` is 0, `vdb` 1, `vdaa` 26; undefined when the name has no letters to count by. */
export function diskIndex(dev: string): number | undefined {
  const letters = /^(?:ioemu:)?(?:fd|hd|sd|vd|xvd|ubd)([a-z]{1,6})\d*$/.exec(dev)?.[1];
  if (letters === undefined) return undefined;
  let index = 0;
  for (const letter of letters) index = index * 26 + letter.charCodeAt(0) - 96;
  return index - 1;
}

/** libvirt's layout: 2 floppies, 2×2 IDE drives, 6 SATA drives, 7 SCSI units (a narrow bus) whatever the controller. */
function byIndex(bus: Bus, index: number): Drive {
  const at = (controller: number, unit: number, channel = 0): Drive => ({
    type: 'drive',
    controller,
    bus: channel,
    target: 0,
    unit,
  });
  switch (bus) {
    case 'fdc':
      return at(Math.floor(index / 2), index % 2);
    case 'ide':
      return at(Math.floor(index / 4), index % 2, Math.floor((index % 4) / 2));
    case 'sata':
      return at(Math.floor(index / 6), index % 6);
    case 'scsi':
      return at(Math.floor(index / 7), index % 7);
  }
}

const key = (bus: Bus, { controller, bus: channel, target, unit }: Drive): string =>
  `${bus} ${controller}:${channel}:${target}:${unit}`;

/** Places disks and SCSI host devices, and adds the controllers they need. */
export function assignDrives(draft: DomainDef, problems: Problem[], models: DefaultModels): void {
  const taken = takenDrives(draft, problems);
  for (const [index, disk] of draft.devices.disks.entries()) {
    const { bus } = disk.target;
    if (!isDriveBus(bus) || disk.address !== undefined) continue;
    const address = placeDisk(disk, bus, `devices.disks[${index}]`, problems);
    if (address === undefined) continue;
    const owner = taken.get(key(bus, address));
    if (owner !== undefined) problems.push(conflict(`devices.disks[${index}]`, disk, owner));
    taken.set(key(bus, address), `devices.disks[${index}]`);
    disk.address = address;
  }
  placeScsiHostdevs(draft, taken, problems);
  for (const type of ['scsi', 'fdc', 'ide', 'sata'] as const) {
    const highest = highestController(draft, type);
    if (highest !== undefined) ensureControllers(draft, type, highest, models);
  }
}

function conflict(path: string, disk: Disk, owner: string): Problem {
  return {
    path: `${path}.target.dev`,
    message: `'${disk.target.dev}' means a drive address that ${owner} has; give one of them an <address>`,
  };
}

function placeDisk(disk: Disk, bus: Bus, path: string, problems: Problem[]): Drive | undefined {
  const index = diskIndex(disk.target.dev);
  const address = index === undefined ? undefined : byIndex(bus, index);
  if (address !== undefined && address.controller < MAX_CONTROLLERS) return address;
  problems.push({
    path: `${path}.target.dev`,
    message: `'${disk.target.dev}' tells no place on the ${bus} bus; name one in <address>`,
  });
  return undefined;
}

function takenDrives(draft: DomainDef, problems: Problem[]): Map<string, string> {
  const taken = new Map<string, string>();
  const add = (bus: Bus, address: Drive, path: string): void => {
    const owner = taken.get(key(bus, address));
    if (owner !== undefined)
      problems.push({ path: `${path}.address`, message: `the drive address is in use by ${owner}` });
    taken.set(key(bus, address), path);
  };
  for (const [index, { target, address }] of draft.devices.disks.entries())
    if (isDriveBus(target.bus) && address?.type === 'drive')
      add(target.bus, address, `devices.disks[${index}]`);
  for (const [index, { address }] of draft.devices.hostdevs.entries())
    if (address?.type === 'drive') add('scsi', address, `devices.hostdevs[${index}]`);
  return taken;
}

/**
 * SCSI devices of the host take the lowest free unit of the lowest SCSI controller. libvirt keeps to the narrow bus
 * here, 7 units, whatever the controller.
 */
function placeScsiHostdevs(draft: DomainDef, taken: Map<string, string>, problems: Problem[]): void {
  let position = 0;
  for (const [index, hostdev] of draft.devices.hostdevs.entries()) {
    if (hostdev.source.type !== 'scsi' || hostdev.address !== undefined) continue;
    while (taken.has(key('scsi', narrow(position)))) position++;
    if (narrow(position).controller >= MAX_CONTROLLERS) {
      problems.push({ path: `devices.hostdevs[${index}]`, message: 'there is no free place on a SCSI bus' });
      return;
    }
    taken.set(key('scsi', narrow(position)), `devices.hostdevs[${index}]`);
    hostdev.address = narrow(position);
  }
}

function narrow(position: number): Drive {
  const controller = Math.floor(position / 7);
  return { type: 'drive', controller, bus: 0, target: 0, unit: position % 7 };
}

function highestController(draft: DomainDef, type: Bus): number | undefined {
  const disks = draft.devices.disks.filter(({ target }) => target.bus === type);
  const hostdevs = type === 'scsi' ? draft.devices.hostdevs : [];
  const used = [...disks, ...hostdevs].flatMap(({ address }) =>
    address?.type === 'drive' ? [address.controller] : [],
  );
  return used.length === 0 ? undefined : Math.max(...used);
}
