/** What a start of a guest asks of storage: where a volume is, whether somebody works on it, who has an image already. */
import { stat } from 'node:fs/promises';
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { HeldFile, VolumeFinder, VolumePlace } from '../../drivers/driver.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import type { Pool } from './pool.ts';
import type { DiskDirectory, DiskUse } from './pool-world.ts';
import type { StorageService } from './storage-service.ts';

/** Work that only reads a volume. */
const harmless: readonly string[] = ['download', 'clone from'];

export function volumeFinder(storage: StorageService, disks: DiskDirectory): VolumeFinder {
  return {
    async find({ pool: name, volume: volumeName }) {
      await storage.whenUp();
      const pool = storage.find(name);
      const volume = await lookUp(storage, pool, volumeName);
      refuseWork(pool, volume.name);
      return placeOf(pool, volume);
    },
    async allowsBelow(directory) {
      await storage.whenUp();
      return storage.hasImagesIn(directory);
    },
    refuseBusy(paths) {
      for (const path of paths) {
        const found = storage.volumes.withPath(path);
        if (found !== undefined) refuseWork(found.pool, found.volume.name);
      }
    },
    holders: async (paths, exceptUuid) => {
      const uses = await disks.disks();
      return holdersOf(
        paths,
        uses.filter(({ domain, isActive }) => isActive && domain.uuid !== exceptUuid),
        storage,
      );
    },
  };
}

/** A file that came a moment ago may not have been noticed yet. */
async function lookUp(storage: StorageService, pool: Pool, name: string): Promise<VolumeFacts> {
  try {
    return storage.volumes.find(pool, name);
  } catch (error) {
    if (!isVirtError(error, 'volume.not-found')) throw error;
    await storage.lookAgain(pool, name);
    return storage.volumes.find(pool, name);
  }
}

function refuseWork(pool: Pool, name: string): void {
  const job = pool.live?.volumeJobs.get(name)?.current;
  if (job === undefined || harmless.includes(job.name)) return;
  throw new VirtError('volume.busy', {
    wanted: `use volume '${pool.name}/${name}'`,
    reason: `volume '${name}' is busy with '${job.name}'`,
    hint: "wait for it; 'vireo job list' shows how far it is",
  });
}

function placeOf(pool: Pool, volume: VolumeFacts): VolumePlace {
  const { path, type, format, problem } = volume;
  if (problem !== undefined)
    throw new VirtError('definition.unsupported', {
      reason: problem,
      hint: `if you trust it, say what it is with 'vireo volume set-format ${pool.name}/${volume.name}'`,
    });
  if (type === 'file' || type === 'block') return { path, type, format: imageFormat(format) };
  throw new VirtError('definition.unsupported', { reason: `a volume of type ${type} cannot be a disk` });
}

/** Words of pools that are no formats of images (partition types) say nothing of the bytes: those are raw. */
function imageFormat(format: VolumeFormat): VolumePlace['format'] {
  const images: readonly string[] = [
    'raw',
    'qcow2',
    'qcow',
    'qed',
    'vmdk',
    'vdi',
    'vpc',
    'vhd',
    'iso',
    'luks',
  ];
  return images.includes(format) ? (format as VolumePlace['format']) : 'raw';
}

async function holdersOf(
  paths: readonly string[],
  uses: readonly DiskUse[],
  storage: StorageService,
): Promise<HeldFile[]> {
  const wanted = new Map<string, string>();
  for (const path of paths) wanted.set((await identityOf(path)) ?? path, path);
  const found: HeldFile[] = [];
  for (const { domain, paths: named, volume } of uses) {
    const place = volume && storage.withName(volume.pool)?.live?.volumes.get(volume.name)?.path;
    for (const other of place === undefined ? named : [place, ...named]) {
      const path = wanted.get((await identityOf(other)) ?? other);
      if (path !== undefined && !found.some((one) => one.path === path && one.domain === domain.name))
        found.push({ path, domain: domain.name });
    }
  }
  return found;
}

/** What names a file or device, whatever its path. */
export async function identityOf(path: string): Promise<string | undefined> {
  try {
    const stats = await stat(path, { bigint: true });
    return stats.isBlockDevice() ? `device ${stats.rdev}` : `${stats.dev}:${stats.ino}`;
  } catch {
    return undefined; // Not there, or not to be seen by us: then its path is all that names it.
  }
}
