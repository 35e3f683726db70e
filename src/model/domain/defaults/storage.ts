/** Defaults of disks and filesystems. */

import { diskIndex } from '../addresses/drive.ts';
import { isEmptySource } from '../devices/disk.ts';
import { familyOf } from '../machine.ts';
import type { Draft } from './facts.ts';

type Disk = Draft['devices']['disks'][number];
type Bus = NonNullable<Disk['target']['bus']>;

/** What the name of a target says about its bus (formatdomain, "target"). */
const busByPrefix: readonly (readonly [RegExp, Bus])[] = [
  [/^fd/, 'fdc'],
  [/^hd/, 'ide'],
  [/^sd/, 'scsi'],
  [/^vd/, 'virtio'],
  [/^xvd/, 'xen'],
  [/^ubd/, 'uml'],
];

function busOf(disk: Disk, hasIde: boolean): Bus | undefined {
  if (disk.device === 'floppy') return 'fdc';
  const name = disk.target.dev.replace(/^ioemu:/, '');
  const bus = busByPrefix.find(([rule]) => rule.test(name))?.[1];
  // q35 and virt have no IDE controller; what would be there is on SATA.
  return bus === 'ide' && !hasIde ? 'sata' : bus;
}

export function defaultDisks(draft: Draft): void {
  const family = familyOf(draft);
  const hasIde = family !== 'q35' && family !== 'virt';
  for (const disk of draft.devices.disks) {
    const bus = disk.target.bus ?? busOf(disk, hasIde);
    if (bus !== undefined) disk.target.bus = bus;
    if (disk.device === 'cdrom') disk.readonly = true;
    // An empty drive is of no kind; libvirt writes it as a file.
    if (disk.source.type === 'block' && isEmptySource(disk.source))
      disk.source = { ...disk.source, type: 'file' };
    defaultDriver(disk);
  }
  draft.devices.disks = inOrder(draft.devices.disks);
}

/** libvirt's order: disks of a bus by their names, each before the first that comes after it. */
function inOrder(disks: readonly Disk[]): Disk[] {
  const sorted: Disk[] = [];
  for (const disk of disks) {
    const index = diskIndex(disk.target.dev) ?? -1;
    const isSameBus = (other: Disk): boolean => other.target.bus === disk.target.bus;
    const later = sorted.findIndex(
      (other) => isSameBus(other) && (diskIndex(other.target.dev) ?? -1) > index,
    );
    const last = sorted.findLastIndex(isSameBus);
    sorted.splice(later >= 0 ? later : last >= 0 ? last + 1 : sorted.length, 0, disk);
  }
  return sorted;
}

function defaultDriver(disk: Disk): void {
  // A volume's pool knows the format; vhost-user has its own server.
  if (disk.source.type === 'vhostuser') return;
  disk.driver ??= {};
  disk.driver.name ??= 'qemu';
  if (disk.source.type !== 'volume') disk.driver.type ??= disk.source.type === 'dir' ? 'fat' : 'raw';
}

export function defaultFilesystems(draft: Draft): void {
  for (const filesystem of draft.devices.filesystems) {
    const { source } = filesystem;
    // Behind a socket somebody else's virtiofsd decides.
    if (source.type === 'mount' && source.socket !== undefined) continue;
    filesystem.accessmode ??= 'passthrough';
  }
}
