/** The images of a disk that comes into a running guest: found, followed down, free, and numbered after those it has. */
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import { followChains, highestImage, numberImages } from '../backing-chain.ts';
import type { QemuGuest } from '../guest.ts';
import { imagePaths } from '../image-paths.ts';
import type { QemuDriverOptions } from '../options.ts';
import type { PassedGroups } from '../passed-groups.ts';
import { withVolumePaths } from '../volume-sources.ts';

/**
 * The one disk of `alone` as it will be opened: a volume by its path, with all layers below.
 * @throws VirtError pool.*, volume.not-found, volume.busy, definition.unsupported, file.*
 */
export async function pluggableDisk(
  options: QemuDriverOptions,
  guest: QemuGuest,
  alone: DomainDef,
  { wanted, passed }: { readonly wanted: string; readonly passed: PassedGroups },
): Promise<Disk> {
  const placed = await withVolumePaths(alone, options.volumes, { wanted });
  const chained = await followChains(placed, options, passed);
  options.volumes?.refuseBusy(imagePaths(chained));
  const [disk] = numberImages(chained, highestImage(guest.definition) + 1).devices.disks;
  if (disk === undefined) throw new Error('the disk that was prepared is gone');
  return disk;
}
