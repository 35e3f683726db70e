/** Making and ending mediated devices by sysfs (kernel, Documentation/driver-api/vfio-mediated-device.rst). */
import { closeSync, constants, openSync } from 'node:fs';
import { errnoOf, isVirtError, VirtError } from '../../base/errors.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import type { HostWriter } from '../../kvm/host-writer.ts';
import type { MdevAttribute } from '../../model/node-device/mdev-definition.ts';

export interface MdevHost {
  readonly files: HostFiles;
  readonly write: HostWriter;
  /** Whether somebody has opened the VFIO group of that number; asked of /dev/vfio when left out. */
  readonly isGroupBusy?: (group: number) => boolean;
}

export interface MdevRequest {
  readonly uuid: string;
  /** The parent's directory, `/sys/devices/pci0000:00/0000:00:02.0`. */
  readonly parentPath: string;
  readonly typeId: string;
  readonly attributes: readonly MdevAttribute[];
}

/**
 * Makes one and sets its attributes; when one of these is refused it is ended again.
 * @throws VirtError host-device.unusable for a type that the parent has not, or has none left of; file.*
 */
export function makeMdev(host: MdevHost, { uuid, parentPath, typeId, attributes }: MdevRequest): void {
  const wanted = `make mediated device ${uuid}`;
  const type = `${parentPath}/mdev_supported_types/${typeId}`;
  if (!host.files.exists(type))
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `${parentPath} has no mediated devices of the type '${typeId}'`,
      hint: `it has: ${host.files.list(`${parentPath}/mdev_supported_types`).join(', ') || 'none'}`,
    });
  if (host.files.read(`${type}/available_instances`)?.trim() === '0')
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `no instance of the type '${typeId}' is left`,
    });
  host.write(`${type}/create`, `${uuid}\n`);
  try {
    for (const { name, value } of attributes) host.write(`/sys/bus/mdev/devices/${uuid}/${name}`, value);
  } catch (error) {
    host.write(`/sys/bus/mdev/devices/${uuid}/remove`, '1\n');
    throw error;
  }
}

/**
 * Ends one. The kernel waits for whoever has opened it, so one that is open is refused.
 * @throws VirtError host-device.in-use, file.*
 */
export function endMdev(host: MdevHost, uuid: string, group: number | undefined): void {
  const isBusy = group !== undefined && (host.isGroupBusy ?? isGroupOpen)(group);
  const inUse = () =>
    new VirtError('host-device.in-use', {
      wanted: `end mediated device ${uuid}`,
      reason: 'a guest, or another program, has opened it',
    });
  if (isBusy) throw inUse();
  try {
    host.write(`/sys/bus/mdev/devices/${uuid}/remove`, '1\n');
  } catch (error) {
    if (isVirtError(error) && errnoOf(error.cause) === 'EBUSY') throw inUse();
    throw error;
  }
}

/** A VFIO group can be opened once at a time. */
function isGroupOpen(group: number): boolean {
  try {
    closeSync(openSync(`/dev/vfio/${group}`, constants.O_RDONLY));
    return false;
  } catch (error) {
    return errnoOf(error) === 'EBUSY';
  }
}
