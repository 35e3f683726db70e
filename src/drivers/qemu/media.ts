/** Media that may be missing: what `startupPolicy='optional'` means at a start. */
import { statIfPresent } from '../../base/files.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

type Disk = DomainDef['devices']['disks'][number];

/**
 * The definition without the optional images that are not there: a drive stays, empty; a hard disk is left out
 * (libvirt, formatdomain: startupPolicy). `onDrop` is told each path.
 */
export async function dropMissingMedia(
  definition: DomainDef,
  onDrop: (path: string) => void,
): Promise<DomainDef> {
  const disks: Disk[] = [];
  for (const disk of definition.devices.disks) {
    const path = optionalPath(disk);
    if (path === undefined || (await isThere(path))) {
      disks.push(disk);
      continue;
    }
    onDrop(path);
    if (disk.device === 'cdrom' || disk.device === 'floppy') disks.push(withoutMedium(disk));
  }
  return { ...definition, devices: { ...definition.devices, disks } };
}

function optionalPath({ source }: Disk): string | undefined {
  // What a client has handed over is there, whatever lies at its path.
  if (source.type === 'file')
    return source.startupPolicy === 'optional' && source.fdgroup === undefined ? source.file : undefined;
  if (source.type === 'block') return source.startupPolicy === 'optional' ? source.dev : undefined;
  return undefined;
}

function withoutMedium(disk: Disk): Disk {
  return { ...disk, source: { type: 'file', slices: [], seclabels: [] } };
}

/** A link whose target is missing counts as there: the open that follows tells it better. */
async function isThere(path: string): Promise<boolean> {
  return (await statIfPresent(path)) !== undefined;
}
