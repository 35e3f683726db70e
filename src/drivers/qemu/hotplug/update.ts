/** Changes a device of a running guest to what a new description says, as far as that can be done while it runs. */
import { type Problem, VirtError } from '../../../base/errors.ts';
import {
  aliasOfDevice,
  type Device,
  type OneDevice,
  replaceDevice,
  withDevices,
} from '../../../model/domain/device-list.ts';
import { isSaid } from '../../../model/domain/device-match.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Graphics } from '../../../model/domain/devices/graphics.ts';
import type { Interface } from '../../../model/domain/devices/interface.ts';
import type { MemoryDevice } from '../../../model/domain/devices/memory-devices.ts';
import type { QemuGuest } from '../guest.ts';
import { setPasswords } from '../monitor.ts';
import type { StartDeps } from '../starting.ts';
import { findAlias } from './detach.ts';
import { changeMedia } from './media.ts';

export interface DeviceChange {
  readonly old: OneDevice;
  readonly device: Device;
  /** Opens a tray that the guest has locked. */
  readonly force: boolean;
}

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

/** Everything but these parts has to be as it is; what the new description leaves open stays. */
function refuseOthers(guest: QemuGuest, { old, device }: DeviceChange, free: readonly string[]): void {
  const problems: Problem[] = [];
  const actual = old.device as Readonly<Record<string, unknown>>;
  for (const [key, value] of Object.entries(device))
    if (!free.includes(key) && !isSaid(value, actual[key]))
      problems.push({ path: `${old.element}.${key}`, message: 'cannot be changed while the guest runs' });
  const [first] = problems;
  if (first === undefined) return;
  throw new VirtError('definition.unsupported', {
    wanted: `update <${old.element}> of domain '${guest.definition.name}'`,
    reason: `${first.path}: ${first.message}`,
    hint: 'change the stored definition; it holds from the next start on',
    details: { problems },
  });
}

async function changeDisk(deps: StartDeps, guest: QemuGuest, change: DeviceChange): Promise<Disk> {
  const before = change.old.device as Disk;
  const disk = change.device as Disk;
  const isRemovable = before.device === 'cdrom' || before.device === 'floppy';
  refuseOthers(guest, change, isRemovable ? ['source', 'backingStore', 'driver', 'target', 'readonly'] : []);
  const isSame =
    isSaid(disk.source, before.source) && JSON.stringify(pathOf(disk)) === JSON.stringify(pathOf(before));
  if (!isRemovable || isSame) return before;
  const after: Disk = {
    ...before,
    source: disk.source,
    backingStore: disk.backingStore,
    driver: driverOf(before, disk),
  };
  return changeMedia(deps, guest, change.old, { disk: after, force: change.force });
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

async function changeInterface(deps: StartDeps, guest: QemuGuest, change: DeviceChange): Promise<Interface> {
  let nic = change.old.device as Interface;
  const wish = change.device as Interface;
  refuseOthers(guest, change, ['link', 'source', 'bandwidth', 'filterref']);
  if (!isSameNetwork(wish.source, nic.source)) nic = await moveInterface(deps, guest, nic, wish.source);
  if (!isSame(wish.bandwidth, nic.bandwidth) || !isSame(wish.filterref, nic.filterref))
    nic = await retuneInterface(deps, guest, nic, wish);
  const link = wish.link ?? 'up';
  if (link !== (nic.link ?? 'up')) {
    await guest.setLink(aliasOfDevice(change.old) ?? '', link === 'up');
    nic = { ...nic, link };
  }
  return nic;
}

const isSame = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);

/** Limits and filter become those of the wish; one that it leaves out goes, as with libvirt. */
async function retuneInterface(
  deps: StartDeps,
  guest: QemuGuest,
  before: Interface,
  { bandwidth, filterref }: Interface,
): Promise<Interface> {
  const { links } = deps.options;
  const deviceName = before.target?.dev;
  const { bandwidth: _limits, filterref: _filter, ...rest } = before;
  const definition = { ...rest, ...(bandwidth && { bandwidth }), ...(filterref && { filterref }) };
  if (deviceName === undefined || links?.retune === undefined)
    throw new VirtError('definition.unsupported', {
      wanted: `update ${before.alias} of domain '${guest.definition.name}'`,
      reason: `interface.bandwidth: an interface of type ${before.source.type} has no device on the host to limit`,
    });
  await links.retune({
    domainUuid: guest.definition.uuid ?? '',
    domainName: guest.definition.name,
    interfaceIndex: guest.definition.devices.interfaces.indexOf(before),
    definition,
    before,
    deviceName,
  });
  return definition;
}

/** A network that has no bridge of its own runs as what it leads to. */
function isSameNetwork(wish: Interface['source'], actual: Interface['source']): boolean {
  if (wish.type === 'network' && 'network' in actual) return wish.network === actual.network;
  return isSaid(wish, actual);
}

async function moveInterface(
  deps: StartDeps,
  guest: QemuGuest,
  nic: Interface,
  source: Interface['source'],
): Promise<Interface> {
  const { links } = deps.options;
  const deviceName = nic.target?.dev;
  const isBridged = (one: Interface['source']) => one.type === 'network' || one.type === 'bridge';
  if (!isBridged(source) || !isBridged(nic.source) || deviceName === undefined || links?.move === undefined)
    throw new VirtError('definition.unsupported', {
      wanted: `connect ${nic.alias} of domain '${guest.definition.name}' to something else`,
      reason: `interface.source: an interface of type ${nic.source.type} cannot become one of type ${source.type} while the guest runs`,
      hint: 'detach it and attach another',
      details: {
        problems: [{ path: 'interface.source', message: 'cannot be changed while the guest runs' }],
      },
    });
  const definition = { ...nic, source };
  const actual = await links.move({
    domainUuid: guest.definition.uuid ?? '',
    domainName: guest.definition.name,
    interfaceIndex: guest.definition.devices.interfaces.indexOf(nic),
    definition,
    queues: nic.driver?.queues ?? 1,
    deviceName,
  });
  return { ...definition, ...actual };
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

async function changeGraphics(guest: QemuGuest, change: DeviceChange): Promise<Graphics> {
  const wish = change.device as Graphics;
  const before = change.old.device as Graphics;
  refuseOthers(guest, change, [
    'passwd',
    'passwdValidTo',
    'connected',
    'listens',
    'port',
    'tlsPort',
    'websocket',
    'autoport',
  ]);
  if ((wish.type !== 'vnc' && wish.type !== 'spice') || wish.type !== before.type) return before;
  if (wish.passwd === undefined) return before;
  const { passwd, passwdValidTo, connected } = wish;
  const after = { ...before, passwd, passwdValidTo, connected } as Graphics;
  const { definition } = guest;
  const only = { ...definition.devices, graphics: [after] };
  await setPasswords(guest.monitorClient(), withDevices(definition, only));
  return after;
}
