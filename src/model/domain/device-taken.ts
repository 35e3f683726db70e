/** What a new device would share with one that a definition has: its name, number or place. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { VirtError } from '../../base/errors.ts';
import { type OneDevice } from './device-list.ts';
import type { Devices } from './devices/devices.ts';
import type { DomainDef } from './domain.ts';

/**
 * Refuses a device that a definition has already, in one of the ways in which libvirt tells devices apart. `where` says
 * which definition it is, since libvirt's clients know the two by different numbers.
 * @throws VirtError domain.device-exists
 */
export function refuseTaken({ name, devices }: DomainDef, given: OneDevice, where: 'live' | 'stored'): void {
  const taken = takenBy(devices, given);
  if (taken === undefined) return;
  throw new VirtError('domain.device-exists', {
    wanted: `attach a <${given.element}> to ${where === 'live' ? 'the running' : 'the definition of'} domain '${name}'`,
    reason: taken.reason,
    hint: taken.hint,
    details: { element: given.element, where, ...(taken.isPlace && { isPlace: true }) },
  });
}

interface Taken {
  readonly reason: string;
  readonly hint: string;
  /** Set where the guest's place is taken, not the name. */
  readonly isPlace?: boolean;
}

function takenBy(devices: Devices, { family, device }: OneDevice): Taken | undefined {
  switch (family) {
    case 'disks':
      return takenDisk(devices.disks, device as Devices['disks'][number]);
    case 'controllers': {
      const { type, index } = device as Devices['controllers'][number];
      const isTaken = devices.controllers.some((one) => one.type === type && (one.index ?? 0) === index);
      return isTaken
        ? { reason: `it has a controller ${type} ${index}`, hint: 'give it another index, or none' }
        : undefined;
    }
    case 'channels': {
      const { target } = device as Devices['channels'][number];
      const isTaken =
        target.type === 'virtio' &&
        target.name !== undefined &&
        devices.channels.some((one) => one.target.type === 'virtio' && one.target.name === target.name);
      return isTaken
        ? {
            reason: `it has a channel '${target.name}'`,
            hint: 'give it another name, or detach that one first',
          }
        : undefined;
    }
    case 'filesystems': {
      const { target } = device as Devices['filesystems'][number];
      return devices.filesystems.some((one) => one.target === target)
        ? {
            reason: `it has a directory under the name ${target}`,
            hint: 'give it another target, or detach that one first',
          }
        : undefined;
    }
    case 'watchdogs':
      return devices.watchdogs.length > 0
        ? { reason: 'it has a watchdog', hint: 'a domain has one at most: detach that one first' }
        : undefined;
    case 'hostdevs': {
      const { source } = device as Devices['hostdevs'][number];
      return devices.hostdevs.some((one) => isDeepStrictEqual(one.source, source))
        ? { reason: 'it has that device of the host', hint: 'detach it first' }
        : undefined;
    }
    default:
      return undefined;
  }
}

/** A name is a disk's own whatever its bus; a drive address belongs to its bus. */
function takenDisk(disks: Devices['disks'], disk: Devices['disks'][number]): Taken | undefined {
  const { target, address } = disk;
  if (disks.some((one) => one.target.dev === target.dev))
    return {
      reason: `it has a disk at target ${target.dev}`,
      hint: 'give it another target, or detach that disk first',
    };
  if (address?.type !== 'drive') return undefined;
  const other = disks.find((one) => one.target.bus === target.bus && isDeepStrictEqual(one.address, address));
  return (
    other && {
      reason: `its disk ${other.target.dev} has that address`,
      hint: 'leave out the address, and it gets one that is free',
      isPlace: true,
    }
  );
}
