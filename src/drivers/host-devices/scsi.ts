/** SCSI devices of the host's adapters for guests: what sysfs tells of them, and whether one can be given away. */
import { basename } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import { scsiKindOf } from './node-devices/read-others.ts';
import { mountsBehind } from './pci.ts';

/** One logical unit, of whatever adapter: SATA, USB and NVMe-over-SCSI disks are SCSI devices to Linux too. */
export interface ScsiDevice {
  /** `HOST:BUS:TARGET:UNIT`, as the kernel numbers them: `2:0:0:1`. */
  readonly place: string;
  /** `/dev/sg3`; undefined while the kernel's module sg is not loaded. */
  readonly node: string | undefined;
  /** `sdb`, of a disk. */
  readonly block: string | undefined;
  /** `disk`, `tape`, `cdrom`; undefined for one that says nothing we know. */
  readonly kind: string | undefined;
  /** What the device says of itself. */
  readonly vendorName: string | undefined;
  readonly productName: string | undefined;
}

const root = '/sys/bus/scsi/devices';

/** All logical units, by host, bus, target and unit. */
export function listScsi(files: HostFiles): ScsiDevice[] {
  return files
    .list(root)
    .map((name) => readScsiDevice(files, name))
    .filter((device) => device !== undefined)
    .toSorted((a, b) => a.place.localeCompare(b.place, 'en', { numeric: true }));
}

/** One of them, or undefined when the host has none there. */
export function readScsiDevice(files: HostFiles, place: string): ScsiDevice | undefined {
  const path = `${root}/${place}`;
  if (!/^\d+:\d+:\d+:\d+$/.test(place) || !files.exists(path)) return undefined;
  const text = (name: string) => files.read(`${path}/${name}`)?.trim() || undefined;
  const generic = files.list(`${path}/scsi_generic`).find((name) => /^sg\d+$/.test(name));
  const type = text('type');
  return {
    place,
    node: generic === undefined ? undefined : `/dev/${generic}`,
    block: files.list(`${path}/block`)[0],
    kind: type === undefined ? undefined : scsiKindOf(Number(type)),
    vendorName: text('vendor'),
    productName: text('model'),
  };
}

/**
 * The device with its node, if a guest can have it.
 * @throws VirtError host-device.not-found; host-device.unusable without sg, and for one that the host has mounted
 */
export function usableScsi(
  files: HostFiles,
  place: string,
  wish: { readonly wanted: string; readonly path: string; readonly isReadonly: boolean },
): ScsiDevice & { readonly node: string } {
  const { wanted, path, isReadonly } = wish;
  const device = readScsiDevice(files, place);
  if (device === undefined)
    throw new VirtError('host-device.not-found', {
      wanted,
      reason: `${path}: the host has no SCSI device ${place}`,
      hint: "'vireo host devices --type scsi' lists those it has",
    });
  const { node } = device;
  if (node === undefined)
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `${path}: SCSI device ${place} has no generic node`,
      hint: "load the kernel's module: modprobe sg",
    });
  const [mount] = isReadonly ? [] : mountsBehind(files, place);
  if (mount !== undefined)
    throw new VirtError('host-device.unusable', {
      wanted,
      reason: `${path}: the host has a file system of SCSI device ${place} mounted at ${mount}`,
      hint: 'unmount it first, or give the device with <readonly/>',
    });
  return { ...device, node };
}

/** @throws VirtError host-device.not-found when the kernel's targets can be seen, and this is none */
export function requireVhostTarget(files: HostFiles, wwpn: string, wanted: string, path: string): void {
  const targets = '/sys/kernel/config/target/vhost';
  if (!files.exists('/sys/kernel/config/target')) return; // configfs is not mounted: QEMU's own error tells.
  if (files.list(targets).some((name) => basename(name) === wwpn)) return;
  throw new VirtError('host-device.not-found', {
    wanted,
    reason: `${path}: the kernel has no vhost-scsi target ${wwpn}`,
    hint: "make it first, with targetcli: 'vhost/ create'",
  });
}
