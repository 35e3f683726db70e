/** Which volume a path means: by the pool's own spelling of its directory, or by where that really is. */
import type { VolumeFacts } from '../../storage/backend.ts';
import type { Pool } from './pool.ts';
import { factsOf } from './pool-world.ts';

/** A volume where it is. */
export interface PlacedVolume {
  readonly pool: Pool;
  readonly volume: VolumeFacts;
}

/** The volume of an active pool that fits; the last step of `text` is tried as its name first. */
export function searchVolumes(
  pools: readonly Pool[],
  text: string,
  fits: (volume: VolumeFacts) => boolean,
): PlacedVolume | undefined {
  const name = text.slice(text.lastIndexOf('/') + 1);
  for (const pool of pools) {
    const volume = pool.live?.volumes.get(name);
    if (volume !== undefined && fits(volume)) return { pool, volume };
  }
  // Volumes of some pools are named otherwise than the last step of their path.
  for (const pool of pools)
    for (const volume of pool.live?.volumes.values() ?? []) if (fits(volume)) return { pool, volume };
  return undefined;
}

/** The volume of a path; undefined when it is none of an active pool. */
export function volumeAt(pools: readonly Pool[], path: string): PlacedVolume | undefined {
  const found = searchVolumes(pools, path, ({ path: its }) => its === path);
  if (found !== undefined) return found;
  const end = path.lastIndexOf('/');
  const [directory, name] = [path.slice(0, end), path.slice(end + 1)];
  for (const pool of pools) {
    const volume = pool.live?.realDirectory === directory ? pool.live.volumes.get(name) : undefined;
    if (volume !== undefined) return { pool, volume };
  }
  return undefined;
}

/** Whether that directory, by whatever name, is where an active pool has its images. */
export function isPoolDirectory(pools: readonly Pool[], directory: string): boolean {
  return pools.some(({ live }) => {
    if (live === undefined) return false;
    const { type, path } = factsOf(live.definition);
    const isThere = path === directory || live.realDirectory === directory;
    return isThere && (type === 'dir' || type === 'fs' || type === 'netfs' || type === 'logical');
  });
}

/** For many paths: how the pool spells the path of its volume. */
export function spellings(pools: readonly Pool[]): (path: string) => string | undefined {
  const known = new Map<string, string>();
  for (const { live } of pools)
    for (const { name, path } of live?.volumes.values() ?? []) {
      if (live?.realDirectory !== undefined) known.set(`${live.realDirectory}/${name}`, path);
      known.set(path, path);
    }
  return (path) => known.get(path);
}
