/** Disks, CD-ROM and floppy drives: the device in front of a chain of block nodes. */
import type { AddressOf } from '../../../model/domain/devices/address.ts';
import { type Disk, isEmptySource } from '../../../model/domain/devices/disk.ts';
import { aliasOf, controllerAlias, placement } from './address.ts';
import { buildDiskNodes, NodeNames } from './blockdev.ts';
import type { BootOrder } from './boot.ts';
import { buildChardev } from './chardev.ts';
import type { Build } from './context.ts';
import { buildThrottleFilters, buildThrottleGroups, ThrottleGroups } from './throttle.ts';
import type { JsonObject } from './types.ts';
import { refuseVirtioOptions, virtioDevice, virtioOptions } from './virtio.ts';

/** What all disks of one command line share. */
interface Shared {
  readonly names: NodeNames;
  readonly groups: ThrottleGroups;
  readonly boot: BootOrder;
}

/** All of <disk>. */
export function buildDisks(b: Build, boot: BootOrder): void {
  buildThrottleGroups(b);
  const shared = { names: new NodeNames(), groups: new ThrottleGroups(), boot };
  for (const [index, disk] of b.definition.devices.disks.entries())
    buildDisk(b, disk, `devices.disk[${index}]`, shared);
}

function buildDisk(b: Build, disk: Disk, path: string, shared: Shared): void {
  refuseParts(b, disk, path);
  if (disk.source.type === 'vhostuser') buildVhostUser(b, disk, path, shared);
  else {
    const drive = isLoaded(b, disk, path) ? buildNodes(b, disk, path, shared) : undefined;
    buildFront(b, disk, path, shared, drive);
  }
}

/** A drive with its tray open, or without medium, has no node behind it. */
function isLoaded(b: Build, disk: Disk, path: string): boolean {
  const isRemovable = disk.device === 'cdrom' || disk.device === 'floppy';
  if (!isEmptySource(disk.source)) return disk.target.tray !== 'open';
  if (!isRemovable) b.problem(`${path}.source`, 'is missing');
  return false;
}

function buildNodes(b: Build, disk: Disk, path: string, shared: Shared): string {
  const node = buildThrottleFilters(b, disk, buildDiskNodes(b, disk, path, shared.names));
  return shared.groups.build(b, disk, node, aliasOf(disk, path), path);
}

function refuseParts(b: Build, disk: Disk, path: string): void {
  b.refuse(path, { transient: disk.transient, mirror: disk.mirror });
  if (disk.source.type !== 'network') b.refuse(path, { auth: disk.auth }, 'is for sources over the network');
  if (disk.source.type === 'vhostuser')
    b.refuse(path, { encryption: disk.encryption }, 'is for the program that serves the disk');
  b.refuse(path, { rawio: disk.rawio || undefined }, 'would need capabilities that QEMU is never given');
  b.refuse(path, { sgio: disk.sgio === 'unfiltered' ? 'unfiltered' : undefined });
  if (disk.driver?.name !== undefined && disk.driver.name !== 'qemu')
    b.problem(`${path}.driver.name`, `'${disk.driver.name}' is of another hypervisor; use qemu`);
  if (disk.device === 'lun' && (disk.target.bus !== 'scsi' || disk.source.type === 'file'))
    b.problem(`${path}.device`, `'lun' needs bus scsi and a source of type block or network`);
}

/** The device by bus, with what this kind of device has of its own. */
function buildFront(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  const bus = disk.target.bus;
  if (bus !== 'virtio') refuseVirtio(b, disk, path);
  switch (bus) {
    case 'virtio':
      return buildVirtio(b, disk, path, shared, drive);
    case 'ide':
    case 'sata':
      return buildIde(b, disk, path, shared, drive);
    case 'scsi':
      return buildScsi(b, disk, path, shared, drive);
    case 'usb':
      return buildUsb(b, disk, path, shared, drive);
    case 'fdc':
      return buildFloppy(b, disk, path, shared, drive);
    case 'sd':
    case 'xen':
    case 'uml':
    case undefined:
      b.problem(`${path}.target.bus`, `'${bus ?? ''}' is not supported`);
  }
}

function refuseVirtio(b: Build, disk: Disk, path: string): void {
  refuseVirtioOptions(b, path, disk.driver);
  const { ioeventfd, eventIdx, iothread, queues, queueSize } = disk.driver ?? {};
  b.refuse(
    `${path}.driver`,
    { ioeventfd, event_idx: eventIdx, iothread, queues, queue_size: queueSize },
    'needs bus virtio',
  );
  b.refuse(path, { model: disk.model }, 'needs bus virtio');
}

/** Options of all block devices. */
function common(b: Build, disk: Disk, path: string, drive: string | undefined): JsonObject {
  const { driver, geometry, blockio } = disk;
  if (geometry !== undefined && disk.target.bus === 'usb')
    b.problem(`${path}.geometry`, 'is not known for usb disks');
  return {
    drive,
    'share-rw': drive !== undefined && disk.shareable ? true : undefined,
    logical_block_size: blockio?.logicalBlockBytes,
    physical_block_size: blockio?.physicalBlockBytes,
    cyls: geometry?.cylinders,
    heads: geometry?.heads,
    secs: geometry?.sectors,
    serial: disk.serial,
    'write-cache': writeCache(driver?.cache),
    werror: errorPolicy(driver?.errorPolicy),
    rerror: errorPolicy(driver?.rerrorPolicy ?? readPolicy(driver?.errorPolicy)),
  };
}

type Driver = NonNullable<Disk['driver']>;

function writeCache(cache: Driver['cache']): 'on' | 'off' | undefined {
  if (cache === undefined || cache === 'default') return undefined;
  return cache === 'writethrough' || cache === 'directsync' ? 'off' : 'on';
}

function errorPolicy(policy: Driver['errorPolicy']): string | undefined {
  return policy === 'enospace' ? 'enospc' : policy;
}

/** What error_policy says holds for reads too, but for the one that is only about space. */
function readPolicy(policy: Driver['errorPolicy']): Driver['rerrorPolicy'] {
  return policy === 'enospace' ? undefined : policy;
}

function bootIndex(disk: Disk, shared: Shared): number | undefined {
  const kind = disk.device === 'cdrom' ? 'cdrom' : disk.device === 'floppy' ? 'fd' : 'hd';
  return shared.boot.indexFor(kind, disk.boot?.order);
}

function refuseIdentity(b: Build, disk: Disk, path: string, why: string): void {
  b.refuse(path, { wwn: disk.wwn, vendor: disk.vendor, product: disk.product }, why);
}

function buildVirtio(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  refuseIdentity(b, disk, path, 'is not known for virtio disks');
  b.refuse(
    `${path}.target`,
    { rotation_rate: disk.target.rotationRate, removable: disk.target.removable },
    'is not known for virtio disks',
  );
  b.refuse(`${path}.geometry`, { trans: disk.geometry?.translation }, 'is only known for ide disks');
  if (disk.device !== 'disk') b.problem(`${path}.device`, `'${disk.device}' cannot be on bus virtio`);
  b.device(path, {
    driver: virtioDevice('virtio-blk-pci', disk.model),
    ...virtioBlkOptions(b, disk, path),
    ...common(b, disk, path, drive),
    ...placement(b, disk, path),
    bootindex: bootIndex(disk, shared),
  });
}

function virtioBlkOptions(b: Build, disk: Disk, path: string): JsonObject {
  const driver = disk.driver;
  return {
    ioeventfd: driver?.ioeventfd,
    event_idx: driver?.eventIdx,
    'num-queues': driver?.queues,
    'queue-size': driver?.queueSize,
    iothread: iothreadName(b, driver?.iothread, `${path}.driver.iothread`),
    ...virtioOptions(driver),
  };
}

/** The id of an iothread object, after looking whether the domain has it. */
export function iothreadName(b: Build, id: number | undefined, path: string): string | undefined {
  if (id === undefined) return undefined;
  const { iothreadids, iothreads } = b.definition;
  const isKnown = iothreadids.some((thread) => thread.id === id) || (id >= 1 && id <= (iothreads ?? 0));
  if (!isKnown) b.problem(path, `the domain has no iothread ${id}`);
  return `iothread${id}`;
}

function driveAddress(b: Build, disk: Disk, path: string): AddressOf<'drive'> {
  if (disk.address?.type === 'drive') return disk.address;
  b.problem(`${path}.address`, `must be of type 'drive' for bus ${disk.target.bus}`);
  return { type: 'drive', controller: 0, bus: 0, target: 0, unit: 0 };
}

/** Channels of the machine's own controller are named `ide.N`; those of another by its alias. */
function ideBus(b: Build, bus: 'ide' | 'sata', address: AddressOf<'drive'>, path: string): string {
  const isBuiltIn = address.controller === 0 && (bus === 'ide' ? b.isI440fx : b.isQ35);
  const name = isBuiltIn ? 'ide' : controllerAlias(b, bus, address.controller, path);
  return `${name}.${bus === 'ide' ? address.bus : address.unit}`;
}

function buildIde(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  const address = driveAddress(b, disk, path);
  const bus = disk.target.bus === 'sata' ? 'sata' : 'ide';
  const isCdrom = disk.device === 'cdrom';
  // QEMU hw/ide/core.c: an ATA disk has no way to say that it cannot be written.
  if (!isCdrom && disk.readonly)
    b.problem(`${path}.readonly`, `a ${bus} disk cannot be read-only; use virtio or scsi`);
  b.refuse(path, { vendor: disk.vendor, product: disk.product }, 'is only known for scsi disks');
  b.refuse(`${path}.target`, { removable: disk.target.removable }, 'is only known for usb and scsi disks');
  b.device(path, {
    driver: isCdrom ? 'ide-cd' : 'ide-hd',
    bus: ideBus(b, bus, address, path),
    unit: bus === 'ide' ? address.unit : undefined,
    wwn: disk.wwn === undefined ? undefined : wwnNumber(disk.wwn),
    rotation_rate: isCdrom ? undefined : disk.target.rotationRate,
    'bios-chs-trans': isCdrom ? undefined : disk.geometry?.translation,
    ...common(b, disk, path, drive),
    id: aliasOf(disk, path),
    bootindex: bootIndex(disk, shared),
  });
}

const wwnNumber = (wwn: string): bigint => BigInt(wwn.startsWith('0x') ? wwn : `0x${wwn}`);

/** Controllers that address their disks by one number. */
const narrow: ReadonlySet<string | undefined> = new Set([
  'lsilogic',
  'ncr53c90',
  'dc390',
  'am53c974',
  'buslogic',
]);

/** The place on a SCSI controller's bus, as QEMU has it. */
export function scsiPlace(b: Build, address: AddressOf<'drive'>, path: string): JsonObject {
  const alias = controllerAlias(b, 'scsi', address.controller, path);
  const controller = b.definition.devices.controllers.find(
    (candidate) => candidate.type === 'scsi' && (candidate.index ?? 0) === address.controller,
  );
  if (narrow.has(controller?.model)) return { bus: `${alias}.0`, 'scsi-id': address.unit };
  return { bus: `${alias}.0`, channel: address.bus, 'scsi-id': address.target, lun: address.unit };
}

function buildScsi(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  const address = driveAddress(b, disk, path);
  const id = aliasOf(disk, path);
  b.refuse(`${path}.geometry`, { trans: disk.geometry?.translation }, 'is only known for ide disks');
  if (disk.device === 'lun') return buildLun(b, disk, path, shared, drive);
  if (disk.device === 'floppy') b.problem(`${path}.device`, `'floppy' cannot be on bus scsi`);
  const isCdrom = disk.device === 'cdrom';
  b.device(path, {
    driver: isCdrom ? 'scsi-cd' : 'scsi-hd',
    ...scsiPlace(b, address, path),
    // Page 0x83 of the disk's identity: it names the same disk whatever its place in /dev.
    device_id: disk.serial ?? `drive-${id}`,
    wwn: disk.wwn === undefined ? undefined : wwnNumber(disk.wwn),
    vendor: disk.vendor,
    product: disk.product,
    removable: isCdrom ? undefined : disk.target.removable,
    rotation_rate: isCdrom ? undefined : disk.target.rotationRate,
    ...common(b, disk, path, drive),
    id,
    bootindex: bootIndex(disk, shared),
  });
}

/** A SCSI device of the host, whose commands go through as they are. */
function buildLun(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  const { wwn, vendor, product, serial, geometry, blockio } = disk;
  b.refuse(path, { wwn, vendor, product, serial, geometry, blockio }, `comes from the host's device`);
  b.device(path, {
    driver: 'scsi-block',
    ...scsiPlace(b, driveAddress(b, disk, path), path),
    drive,
    'share-rw': disk.shareable,
    werror: errorPolicy(disk.driver?.errorPolicy),
    rerror: errorPolicy(disk.driver?.rerrorPolicy),
    id: aliasOf(disk, path),
    bootindex: bootIndex(disk, shared),
  });
}

function buildUsb(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  refuseIdentity(b, disk, path, 'is not known for usb disks');
  b.refuse(`${path}.target`, { rotation_rate: disk.target.rotationRate }, 'is not known for usb disks');
  // usb-storage cannot be without a drive (QEMU hw/usb/dev-storage-classic.c).
  if (drive === undefined) b.problem(`${path}.source`, 'is missing: a usb drive cannot be empty');
  b.device(path, {
    driver: 'usb-storage',
    removable: disk.target.removable ?? (disk.device === 'cdrom' ? true : undefined),
    ...common(b, disk, path, drive),
    ...placement(b, disk, path),
    bootindex: bootIndex(disk, shared),
  });
}

/** Floppies boot by a property of their controller, which the machine makes itself, or which we make on q35. */
function buildFloppy(b: Build, disk: Disk, path: string, shared: Shared, drive: string | undefined): void {
  const { unit } = driveAddress(b, disk, path);
  const index = bootIndex(disk, shared);
  const { serial, wwn, vendor, product, geometry, blockio } = disk;
  b.refuse(path, { serial, wwn, vendor, product, geometry, blockio }, 'is not known for floppies');
  b.refuse(
    `${path}.driver`,
    { error_policy: disk.driver?.errorPolicy, rerror_policy: disk.driver?.rerrorPolicy },
    'is not known for floppies',
  );
  if (index !== undefined) b.pairs('-global', [['', `isa-fdc.bootindex${unit === 0 ? 'A' : 'B'}=${index}`]]);
  b.device(path, {
    driver: 'floppy',
    unit,
    drive,
    'write-cache': writeCache(disk.driver?.cache),
    id: aliasOf(disk, path),
  });
}

function buildVhostUser(b: Build, disk: Disk, path: string, shared: Shared): void {
  if (disk.source.type !== 'vhostuser') return;
  if (disk.target.bus !== 'virtio') b.problem(`${path}.target.bus`, 'a vhost-user disk needs bus virtio');
  const { serial, wwn, vendor, product, geometry, blockio, iotune, readonly, shareable } = disk;
  b.refuse(
    path,
    { serial, wwn, vendor, product, geometry, blockio, iotune, readonly, shareable },
    'is up to the vhost-user server',
  );
  const alias = aliasOf(disk, path);
  const { path: socket, reconnect } = disk.source;
  const source = {
    type: 'unix' as const,
    mode: 'connect' as const,
    path: socket,
    seclabels: [],
    ...(reconnect && { reconnect }),
  };
  b.device(path, {
    driver: virtioDevice('vhost-user-blk-pci', disk.model),
    chardev: buildChardev(b, { alias, source, path }),
    'num-queues': disk.driver?.queues,
    'queue-size': disk.driver?.queueSize,
    event_idx: disk.driver?.eventIdx,
    ...virtioOptions(disk.driver),
    ...placement(b, disk, path),
    bootindex: bootIndex(disk, shared),
  });
}
