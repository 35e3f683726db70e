/** PCI functions with their SR-IOV relations, IOMMU group, link and mediated types. */
import { basename } from 'node:path';
import type { HostFiles } from '../../../kvm/host-files.ts';
import type { MdevType, PciCapability, PciLink, PciPlace } from '../../../model/node-device/node-device.ts';
import type { SysfsNode } from './sysfs-node.ts';

/** Names of devices, which the caller adds; ids are numbers here. */
export function readPciCapability(files: HostFiles, node: SysfsNode): PciCapability | undefined {
  const place = placeOf(node.sysname);
  const vendor = node.number('vendor');
  const product = node.number('device');
  if (place === undefined || vendor === undefined || product === undefined) return undefined;
  const deviceClass = node.number('class') ?? 0;
  const parts = {
    physicalFunction: placeOf(basename(node.link('physfn') ?? '')),
    virtualFunctions: virtualFunctions(node),
    iommuGroup: iommuGroup(files, node),
    numaNode: numaNode(node),
    express: express(node),
  };
  const types = mdevTypes(node);
  return {
    type: 'pci',
    place,
    class: deviceClass,
    vendor: { id: vendor },
    product: { id: product },
    ...onlyDefined(parts),
    ...(deviceClass >>> 8 === 0x0604 && { isBridge: true }),
    ...(types.length > 0 && { mdevTypes: types }),
  };
}

/** Leaves out what is undefined. */
export function onlyDefined<T extends object>(parts: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}

/** `0000:00:02.0` */
export function placeOf(address: string): PciPlace | undefined {
  const found = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/i.exec(address);
  if (found === null) return undefined;
  const [domain = 0, bus = 0, slot = 0, fn = 0] = found.slice(1).map((digits) => Number.parseInt(digits, 16));
  return { domain, bus, slot, function: fn };
}

/** The kernel links each virtual function as virtfnN (sysfs-bus-pci). */
function virtualFunctions(node: SysfsNode): PciCapability['virtualFunctions'] {
  const max = node.number('sriov_totalvfs');
  if (max === undefined || max === 0) return undefined;
  const links = node
    .list()
    .filter((name) => /^virtfn\d+$/.test(name))
    .toSorted((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  return { max, places: links.flatMap((name) => placeOf(basename(node.link(name) ?? '')) ?? []) };
}

function iommuGroup(files: HostFiles, node: SysfsNode): PciCapability['iommuGroup'] {
  const group = basename(node.link('iommu_group') ?? '');
  if (!/^\d+$/.test(group)) return undefined;
  const places = files
    .list(`/sys/kernel/iommu_groups/${group}/devices`)
    .flatMap((address) => placeOf(address) ?? []);
  // A group whose members cannot be read has this one at least.
  const own = placeOf(node.sysname);
  return { number: Number(group), places: places.length > 0 || own === undefined ? places : [own] };
}

/** The kernel writes -1 where the firmware does not tell. */
function numaNode(node: SysfsNode): number | undefined {
  const number = node.number('numa_node');
  return number === undefined || number < 0 ? undefined : number;
}

function express(node: SysfsNode): PciCapability['express'] {
  const capable = link(node, 'max');
  const now = link(node, 'current');
  return capable === undefined && now === undefined ? undefined : onlyDefined({ capable, now });
}

/** `8.0 GT/s PCIe` and `4`; a width of 255 or 0 means that nobody knows. */
function link(node: SysfsNode, which: 'max' | 'current'): PciLink | undefined {
  const width = node.number(`${which}_link_width`);
  if (width === undefined || width === 0 || width === 255) return undefined;
  const speed = /^(\d+)(?:\.(\d+))? GT\/s/.exec(node.text(`${which}_link_speed`) ?? '');
  const fraction = speed?.[2]?.replace(/0+$/, '');
  if (speed === null) return { width };
  return { width, speed: fraction ? `${speed[1]}.${fraction}` : `${speed[1]}` };
}

function mdevTypes(node: SysfsNode): MdevType[] {
  return node.list('mdev_supported_types').flatMap((id): MdevType[] => {
    const at = (name: string) => `mdev_supported_types/${id}/${name}`;
    const deviceApi = node.text(at('device_api'));
    if (deviceApi === undefined) return [];
    const name = node.text(at('name'));
    const availableInstances = node.number(at('available_instances')) ?? 0;
    return [{ id, deviceApi, availableInstances, ...(name !== undefined && { name }) }];
  });
}
