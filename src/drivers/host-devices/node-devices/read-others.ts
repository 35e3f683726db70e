/** All kinds of devices but PCI: what sysfs and udev tell of each. Undefined for what is no device of libvirt's count. */
import { basename } from 'node:path';
import type { HostFiles } from '../../../kvm/host-files.ts';
import type { NodeCapability, StorageCapability } from '../../../model/node-device/node-device.ts';
import { onlyDefined } from './read-pci.ts';
import type { SysfsNode } from './sysfs-node.ts';

type Found = NodeCapability | undefined;

/** Devices, and their interfaces, which have a colon in their names. */
export function readUsb(node: SysfsNode): Found {
  return node.sysname.includes(':') ? usbInterface(node) : usbDevice(node);
}

function usbDevice(node: SysfsNode): Found {
  const [bus, device] = [node.number('busnum'), node.number('devnum')];
  const [vendor, product] = [node.hex('idVendor'), node.hex('idProduct')];
  if (bus === undefined || device === undefined || vendor === undefined || product === undefined)
    return undefined;
  const named = (id: number, name: string | undefined) => ({ id, ...(name && { name }) });
  return {
    type: 'usb_device',
    bus,
    device,
    vendor: named(vendor, node.property('ID_VENDOR_FROM_DATABASE') ?? node.text('manufacturer')),
    product: named(product, node.property('ID_MODEL_FROM_DATABASE') ?? node.text('product')),
  };
}

function usbInterface(node: SysfsNode): Found {
  const number = node.hex('bInterfaceNumber');
  if (number === undefined) return undefined;
  return {
    type: 'usb',
    number,
    class: node.hex('bInterfaceClass') ?? 0,
    subclass: node.hex('bInterfaceSubClass') ?? 0,
    protocol: node.hex('bInterfaceProtocol') ?? 0,
  };
}

export function readNet(node: SysfsNode): Found {
  const address = node.text('address');
  const speed = node.number('speed');
  const state = node.text('operstate') ?? 'unknown';
  return {
    type: 'net',
    interface: node.sysname,
    ...(address !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(address) && { address }),
    // The kernel says -1 where there is no speed.
    link: { state, ...(speed !== undefined && speed > 0 && state === 'up' && { speedMbps: speed }) },
    kind: node.exists('wireless') || node.exists('phy80211') ? '80211' : '80203',
  };
}

/** Drives; loop devices, RAM disks, volumes of others and partitions are none. */
export function readBlock(node: SysfsNode): Found {
  const block = node.devnode;
  const driveType = driveTypeOf(node);
  if (block === undefined || driveType === undefined || node.exists('partition')) return undefined;
  const isRemovable = driveType === 'cdrom' || driveType === 'floppy' || node.number('removable') === 1;
  // Always in units of 512 bytes (sysfs-block).
  const sizeBytes = (node.number('size') ?? 0) * 512;
  const serial = node.property('ID_SERIAL_SHORT') ?? node.text('serial') ?? node.text('device/serial');
  return {
    type: 'storage',
    block,
    driveType,
    ...onlyDefined({
      bus: node.property('ID_BUS') ?? busOf(node),
      model: node.property('ID_MODEL') ?? node.text('device/model'),
      vendor: node.property('ID_VENDOR') ?? vendorOf(node),
      serial: node.property('ID_SERIAL') ?? (serial === '' ? undefined : serial),
      logicalBlockBytes: node.number('queue/logical_block_size'),
    }),
    isRemovable,
    hasMedium: hasMedium(node, sizeBytes),
    sizeBytes,
  };
}

/** A drive without a medium keeps the size of the last one, so udev's word counts where there is one. */
function hasMedium(node: SysfsNode, sizeBytes: number): boolean {
  return node.property('ID_CDROM') === undefined ? sizeBytes > 0 : node.property('ID_CDROM_MEDIA') === '1';
}

/** udev's word for it, else by the name that the kernel's drivers give. */
function driveTypeOf(node: SysfsNode): string | undefined {
  const told = node.property('ID_TYPE');
  if (told === 'cd' || node.property('ID_CDROM') === '1') return 'cdrom';
  if (told !== undefined && told !== 'generic') return told;
  const { sysname } = node;
  if (/^(vd[a-z]+|sd[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+|dasd[a-z]+|pmem\d+)$/.test(sysname)) return 'disk';
  if (/^sr\d+$/.test(sysname)) return 'cdrom';
  return /^fd\d+$/.test(sysname) ? 'floppy' : undefined;
}

function busOf({ path, sysname }: SysfsNode): StorageCapability['bus'] {
  if (sysname.startsWith('nvme')) return 'nvme';
  if (path.includes('/virtio')) return 'virtio';
  if (path.includes('/usb')) return 'usb';
  if (path.includes('/ata')) return 'ata';
  return path.includes('/target') ? 'scsi' : undefined;
}

/** virtio has a number there, which is no name. */
function vendorOf(node: SysfsNode): string | undefined {
  const text = node.text('device/vendor');
  return text === undefined || text.startsWith('0x') ? undefined : text;
}

/** What a SCSI device says that it is (SPC-4, peripheral device type; kernel scsi_device_type). */
const scsiKinds: Readonly<Record<number, string>> = {
  0: 'disk',
  1: 'tape',
  2: 'printer',
  3: 'processor',
  4: 'worm',
  5: 'cdrom',
  6: 'scanner',
  7: 'mod',
  8: 'changer',
  9: 'communications device',
  12: 'RAID',
  13: 'enclosure',
  14: 'disk',
  17: 'disk',
};

/** The word for a SCSI peripheral device type; undefined for one that has none. */
export const scsiKindOf = (type: number): string | undefined => scsiKinds[type];

/** Hosts, targets and units, told apart by their names: `host0`, `target0:0:0`, `0:0:0:0`. */
export function readScsi(files: HostFiles, node: SysfsNode): Found {
  const { sysname } = node;
  if (/^host\d+$/.test(sysname)) return scsiHost(files, node);
  if (sysname.startsWith('target')) return { type: 'scsi_target', target: sysname };
  const numbers = /^(\d+):(\d+):(\d+):(\d+)$/.exec(sysname)?.slice(1).map(Number);
  if (numbers === undefined) return undefined;
  const [host = 0, bus = 0, target = 0, lun = 0] = numbers;
  const kind = scsiKindOf(node.number('type') ?? -1);
  return { type: 'scsi', host, bus, target, lun, ...(kind !== undefined && { kind }) };
}

function scsiHost(files: HostFiles, { sysname }: SysfsNode): Found {
  const text = (path: string) => files.read(`/sys/class/${path}`)?.trim();
  const wwn = (name: string) => text(`fc_host/${sysname}/${name}`)?.replace(/^0x/, '');
  const uniqueId = text(`scsi_host/${sysname}/unique_id`);
  const [wwnn, wwpn] = [wwn('node_name'), wwn('port_name')];
  const fabricWwn = wwn('fabric_name');
  const max = Number(text(`fc_host/${sysname}/max_npiv_vports`));
  return {
    type: 'scsi_host',
    host: Number(sysname.slice('host'.length)),
    ...(uniqueId && { uniqueId: Number(uniqueId) }),
    ...(wwnn && wwpn && { fibreChannel: { wwnn, wwpn, ...(fabricWwn && { fabricWwn }) } }),
    ...(max > 0 && { vports: { max, inUse: Number(text(`fc_host/${sysname}/npiv_vports_inuse`) ?? 0) } }),
  };
}

export function readScsiGeneric(node: SysfsNode): Found {
  return { type: 'scsi_generic', char: node.devnode ?? `/dev/${node.sysname}` };
}

/** `card0`, `renderD128`; `card0-HDMI-A-1` is a connector, and no device. */
export function readDrm(node: SysfsNode): Found {
  const kinds = { card: 'primary', controlD: 'control', renderD: 'render' } as const;
  const word = /^(card|controlD|renderD)\d+$/.exec(node.sysname)?.[1] as keyof typeof kinds | undefined;
  return word === undefined ? undefined : { type: 'drm', kind: kinds[word] };
}

export function readMdev(node: SysfsNode): Found {
  const typeId = basename(node.link('mdev_type') ?? '');
  if (typeId === '' || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(node.sysname)) return undefined;
  const group = basename(node.link('iommu_group') ?? '');
  return {
    type: 'mdev',
    typeId,
    uuid: node.sysname,
    parentAddress: basename(node.path.slice(0, -node.sysname.length - 1)),
    ...(/^\d+$/.test(group) && { iommuGroup: Number(group) }),
  };
}

/** Of a vDPA device that vhost-vdpa serves. */
export function readVdpa(node: SysfsNode): Found {
  const name = node.list().find((entry) => /^vhost-vdpa-\d+$/.test(entry));
  return name === undefined ? undefined : { type: 'vdpa', chardev: `/dev/${name}` };
}
