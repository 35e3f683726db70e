/** Changes a device of a running guest to what a new description says, as far as that can be done while it runs. */
import { aliasOfDevice, type Device, replaceDevice, withDevices } from '../../../model/domain/device-list.ts';
import { isSaid } from '../../../model/domain/device-match.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { MemoryDevice } from '../../../model/domain/devices/memory-devices.ts';
import type { QemuGuest } from '../guest.ts';
import type { StartDeps } from '../starting.ts';
import { changeBoot, requireBoot } from './boot.ts';
import { type DeviceChange, refuseOthers } from './change.ts';
import { findAlias } from './detach.ts';
import { changeMedia } from './media.ts';
import { changeGraphics } from './update-graphics.ts';
import { changeInterface } from './update-interface.ts';

/**
 * Changes it, in QEMU and in the running definition.
 * @throws VirtError definition.unsupported with each part that cannot change while the guest runs, and what the change throws
 */
export async function updateDevice(deps: StartDeps, guest: QemuGuest, change: DeviceChange): Promise<void> {
  const device = await changed(deps, guest, change);
  const { definition } = guest;
  const now = findAlias(guest, aliasOfDevice(change.old) ?? '') ?? change.old;
  guest.setDefinition(withDevices(definition, replaceDevice(definition.devices, now, device)));
}

function changed(deps: StartDeps, guest: QemuGuest, change: DeviceChange): Promise<Device> {
  switch (change.old.family) {
    case 'disks':
      return changeDisk(deps, guest, change);
    case 'interfaces':
      return changeInterface(deps, guest, change);
    case 'graphics':
      return changeGraphics(guest, change);
    case 'memories':
      return changeMemory(guest, change);
    default:
      refuseOthers(guest, change, []);
      return Promise.resolve(change.old.device);
  }
}

async function changeDisk(deps: StartDeps, guest: QemuGuest, change: DeviceChange): Promise<Disk> {
  const before = change.old.device as Disk;
  const disk = change.device as Disk;
  const isRemovable = before.device === 'cdrom' || before.device === 'floppy';
  const medium = isRemovable ? ['source', 'backingStore', 'driver', 'target', 'readonly'] : [];
  const fixed = { ...change, device: { ...disk, source: withoutPolicy(disk.source) } as Device };
  refuseOthers(guest, fixed, ['boot', ...medium]);
  requireBoot(guest, change);
  const isSame =
    isSaid(disk.source, before.source) && JSON.stringify(pathOf(disk)) === JSON.stringify(pathOf(before));
  const after: Disk = {
    ...before,
    source: disk.source,
    backingStore: disk.backingStore,
    driver: driverOf(before, disk),
  };
  const loaded =
    isRemovable && !isSame
      ? await changeMedia(deps, guest, change.old, { disk: after, force: change.force })
      : withPolicyOf(before, disk);
  return changeBoot(guest, loaded, disk);
}

/** What a missing image means is settled at starts: it changes in the running definition alone. */
function withoutPolicy(source: Disk['source']): Disk['source'] {
  if (!('startupPolicy' in source)) return source;
  const { startupPolicy: _policy, ...rest } = source;
  return rest;
}

function withPolicyOf(before: Disk, { source }: Disk): Disk {
  if (!('startupPolicy' in source) || source.startupPolicy === undefined) return before;
  return { ...before, source: { ...before.source, startupPolicy: source.startupPolicy } as Disk['source'] };
}

/** A pool knows the format of its volumes; anything else that says none is raw. */
function driverOf({ driver }: Disk, wish: Disk): NonNullable<Disk['driver']> {
  const { type: _type, ...rest } = { ...driver, ...wish.driver };
  const type = wish.driver?.type ?? (wish.source.type === 'volume' ? undefined : 'raw');
  return { ...rest, ...(type !== undefined && { type }) };
}

/** What tells one medium from another; none says nothing, which would fit any. */
function pathOf({ source }: Disk): unknown {
  switch (source.type) {
    case 'file':
      return source.fdgroup === undefined ? source.file : ['group', source.fdgroup];
    case 'block':
      return source.dev;
    case 'vhostuser':
      return source.path;
    default: {
      const { index: _index, ...rest } = source;
      return rest;
    }
  }
}

/** How much of a virtio-mem device the guest is to have (QEMU docs/system/devices/virtio-mem): it takes its time. */
async function changeMemory(guest: QemuGuest, change: DeviceChange): Promise<MemoryDevice> {
  const before = change.old.device as MemoryDevice;
  const { target } = change.device as MemoryDevice;
  const { requestedKiB = before.target.requestedKiB, currentKiB: _now, ...rest } = target;
  refuseOthers(guest, { ...change, device: { ...change.device, target: rest } as Device }, []);
  if (before.model !== 'virtio-mem' || requestedKiB === before.target.requestedKiB) return before;
  await guest.monitorClient().execute('qom-set', {
    path: `/machine/peripheral/${before.alias ?? ''}`,
    property: 'requested-size',
    value: (requestedKiB ?? 0) * 1024,
  });
  // While that was under way the guest may have taken some of it already.
  const now = guest.definition.devices.memories.find(({ alias }) => alias === before.alias) ?? before;
  return { ...now, target: { ...now.target, requestedKiB } };
}
