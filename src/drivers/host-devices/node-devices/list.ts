/** All devices of the host that libvirt counts, with their parents, from sysfs. Only looks, and needs no rights. */
import { dirname, resolve } from 'node:path';
import type { HostFiles } from '../../../kvm/host-files.ts';
import { readHostUuid, readSmbios } from '../../../kvm/identity.ts';
import { COMPUTER, type NodeCapability, type NodeDevice } from '../../../model/node-device/node-device.ts';
import { findNames, idsOf } from '../names.ts';
import {
  readBlock,
  readDrm,
  readMdev,
  readNet,
  readScsi,
  readScsiGeneric,
  readUsb,
  readVdpa,
} from './read-others.ts';
import { onlyDefined, readPciCapability } from './read-pci.ts';
import { SysfsNode } from './sysfs-node.ts';

type Reader = (files: HostFiles, node: SysfsNode) => NodeCapability | undefined;

interface Place {
  /** A directory of links to devices. */
  readonly directory: string;
  readonly subsystem: string;
  readonly read: Reader;
}

const places: readonly Place[] = [
  { directory: '/sys/bus/pci/devices', subsystem: 'pci', read: readPciCapability },
  { directory: '/sys/bus/usb/devices', subsystem: 'usb', read: (_, node) => readUsb(node) },
  { directory: '/sys/bus/scsi/devices', subsystem: 'scsi', read: readScsi },
  { directory: '/sys/class/net', subsystem: 'net', read: (_, node) => readNet(node) },
  { directory: '/sys/class/block', subsystem: 'block', read: (_, node) => readBlock(node) },
  {
    directory: '/sys/class/scsi_generic',
    subsystem: 'scsi_generic',
    read: (_, node) => readScsiGeneric(node),
  },
  { directory: '/sys/class/drm', subsystem: 'drm', read: (_, node) => readDrm(node) },
  { directory: '/sys/bus/mdev/devices', subsystem: 'mdev', read: (_, node) => readMdev(node) },
  { directory: '/sys/bus/vdpa/devices', subsystem: 'vdpa', read: (_, node) => readVdpa(node) },
];

/** Subsystems whose uevents may change the list; the names that the kernel gives, `usb` for interfaces too. */
export const nodeDeviceSubsystems: ReadonlySet<string> = new Set(places.map(({ subsystem }) => subsystem));

interface Found {
  readonly node: SysfsNode;
  readonly capability: NodeCapability;
}

export interface NodeDeviceHost {
  readonly files: HostFiles;
  readonly hostName: string;
  /** A uuid that the configuration gave the host. */
  readonly hostUuid?: string;
}

/** All devices, the computer first, then by path: parents stand before what is on them. */
export function listNodeDevices(host: NodeDeviceHost): NodeDevice[] {
  return [computer(host), ...withNames(host.files, listBareDevices(host.files))];
}

/** The same without the computer and the names of vendors and products, for which long lists are searched. */
export function listBareDevices(files: HostFiles): NodeDevice[] {
  const found = places
    .flatMap((place) => readPlace(files, place))
    .toSorted((a, b) => (a.node.path < b.node.path ? -1 : 1));
  const byPath = new Map(found.map((one) => [one.node.path, nameOf(one)]));
  return found.map((one) => describe(one, byPath));
}

function readPlace(files: HostFiles, { directory, subsystem, read }: Place): Found[] {
  return files.list(directory).flatMap((name): Found[] => {
    const target = files.link(`${directory}/${name}`);
    if (target === undefined) return [];
    const node = new SysfsNode(files, subsystem, resolve(directory, target));
    const capability = read(files, node);
    return capability === undefined ? [] : [{ node, capability }];
  });
}

function describe({ node, capability }: Found, names: ReadonlyMap<string, string>): NodeDevice {
  return {
    name: names.get(node.path) ?? '',
    path: node.path,
    parent: parentOf(node.path, names),
    ...onlyDefined({ driver: node.driver, devnode: node.devnode }),
    devlinks: node.devlinks,
    capability,
  };
}

/** The nearest device above it in sysfs. */
function parentOf(path: string, names: ReadonlyMap<string, string>): string {
  for (let above = dirname(path); above.length > 1; above = dirname(above)) {
    const name = names.get(above);
    if (name !== undefined) return name;
  }
  return COMPUTER;
}

/**
 * libvirt's name: subsystem, name in sysfs, and what makes it the same one tomorrow (serial, MAC address, parent);
 * everything but letters and digits becomes `_`.
 */
function nameOf({ node, capability }: Found): string {
  const more =
    capability.type === 'net'
      ? (capability.address ?? '')
      : capability.type === 'storage'
        ? (capability.serial ?? '')
        : capability.type === 'mdev'
          ? (capability.parentAddress ?? '')
          : '';
  return [node.subsystem, node.sysname, more]
    .filter((word) => word !== '')
    .join('_')
    .replace(/[^A-Za-z0-9]/g, '_');
}

/** Names of vendors and products from the lists of ids, in one pass for all devices that have none yet. */
function withNames(files: HostFiles, devices: readonly NodeDevice[]): NodeDevice[] {
  const lists = { pci: namesFor(files, 'pci', devices), usb_device: namesFor(files, 'usb', devices) };
  return devices.map((device): NodeDevice => {
    const { capability } = device;
    if (capability.type !== 'pci' && capability.type !== 'usb_device') return device;
    const { vendor, product } = capability;
    const names = lists[capability.type].get(idsOf({ vendor: vendor.id, product: product.id }));
    const named = {
      vendor: { ...(names?.vendor !== undefined && { name: names.vendor }), ...vendor },
      product: { ...(names?.product !== undefined && { name: names.product }), ...product },
    };
    return { ...device, capability: { ...capability, ...named } };
  });
}

function namesFor(files: HostFiles, kind: 'pci' | 'usb', devices: readonly NodeDevice[]) {
  const type = kind === 'pci' ? 'pci' : 'usb_device';
  const ids = devices.flatMap(({ capability }) =>
    capability.type === type && capability.product.name === undefined
      ? [{ vendor: capability.vendor.id, product: capability.product.id }]
      : [],
  );
  if (ids.length === 0) return new Map<string, never>();
  const key = `${kind} ${ids.map(idsOf).join(' ')}`;
  const known = namesOf.get(files) ?? new Map<string, ReturnType<typeof findNames>>();
  const names = known.get(key) ?? findNames(files, kind, ids);
  // Only the last answer of each kind: devices seldom change.
  for (const old of known.keys()) if (old.startsWith(`${kind} `)) known.delete(old);
  namesOf.set(files, known.set(key, names));
  return names;
}

/** Names that were looked up: the lists are long (30 ms), and clients ask for one device after the other. */
const namesOf = new WeakMap<HostFiles, Map<string, ReturnType<typeof findNames>>>();

/** The host itself, by its SMBIOS strings. */
function computer({ files, hostName, hostUuid }: NodeDeviceHost): NodeDevice {
  const { system = {}, bios = {} } = readSmbios(files) ?? {};
  return {
    name: COMPUTER,
    devlinks: [],
    capability: {
      type: 'system',
      ...onlyDefined({ product: system['product'] }),
      hardware: {
        ...onlyDefined({
          vendor: system['manufacturer'],
          version: system['version'],
          serial: system['serial'],
        }),
        uuid: hostUuid ?? readHostUuid(files, hostName).value,
      },
      firmware: onlyDefined({
        vendor: bios['vendor'],
        version: bios['version'],
        releaseDate: bios['date'],
      }),
    },
  };
}
