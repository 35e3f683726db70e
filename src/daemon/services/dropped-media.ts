/** Media that a start went on without: `startupPolicy='optional'` lets them be missing. */
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

export interface DroppedMedium {
  /** As the guest sees it: `vda`. */
  readonly disk: string;
  readonly alias: string | undefined;
  readonly path: string;
  /** The drive is there and empty; a hard disk is left out. */
  readonly isDrive: boolean;
}

/** What of a stored definition the running one has not. Pure. */
export function droppedMedia(stored: DomainDef, running: DomainDef): DroppedMedium[] {
  return stored.devices.disks.flatMap((disk) => {
    const path = optionalPath(disk);
    if (path === undefined) return [];
    const now = running.devices.disks.find(({ target }) => target.dev === disk.target.dev);
    if (now !== undefined && optionalPath(now) !== undefined) return [];
    return [{ disk: disk.target.dev, alias: now?.alias, path, isDrive: now !== undefined }];
  });
}

function optionalPath({ source }: Disk): string | undefined {
  if (source.type === 'file')
    return source.startupPolicy === 'optional' && source.fdgroup === undefined ? source.file : undefined;
  if (source.type === 'block') return source.startupPolicy === 'optional' ? source.dev : undefined;
  return undefined;
}
