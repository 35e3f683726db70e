/** Who depends on a volume, and which of them stand in the way of what. */
import { Turns } from '../../base/turns.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import type { Pool } from './pool.ts';
import type { DiskUse } from './pool-world.ts';
import { identityOf } from './volume-finder.ts';

/** Who depends on a volume. */
export interface VolumeUser {
  readonly type: 'domain' | 'volume';
  readonly name: string;
  /** For a volume: its pool. */
  readonly pool?: string;
  readonly isActive: boolean;
  /** What for: `disk vda`, `nvram`, `below 'pool/overlay'`. */
  readonly as: readonly string[];
}

/** `domain 'web' (running, disk vda)`, `volume 'default/top.qcow2'`. */
export function userText({ type, name, pool, isActive, as }: VolumeUser): string {
  if (type === 'volume') return `volume '${pool}/${name}'`;
  return `domain '${name}' (${[...(isActive ? ['running'] : []), ...as].join(', ')})`;
}

/** A guest that runs on it. */
export const runs = (user: VolumeUser): boolean => user.type === 'domain' && user.isActive;

/** A guest that runs on it, or an image on top of it, which reads wrong when it changes. */
export const runsOrLiesOn = (user: VolumeUser): boolean => runs(user) || user.type === 'volume';

/** A volume where it is, as far as it matters here. */
interface Place {
  readonly pool: Pool;
  readonly volume: Pick<VolumeFacts, 'name' | 'path'>;
}

/**
 * Who depends on a volume: the volumes on top of it, and each domain that uses it or one of those. A file counts as the
 * same under whatever name, by device and inode.
 */
export async function usersOf(
  { pool, volume }: Place,
  pools: readonly Pool[],
  uses: readonly DiskUse[],
): Promise<VolumeUser[]> {
  const on = volumesOn(volume.path, pools);
  const isSame = await sameFile(volume.path, uses);
  const domains = new Map<string, VolumeUser>();
  const add = ({ domain, isActive }: DiskUse, as: string) => {
    const known = domains.get(domain.uuid);
    if (known?.as.includes(as) === true) return;
    domains.set(domain.uuid, {
      type: 'domain',
      name: domain.name,
      isActive,
      as: [...(known?.as ?? []), as],
    });
  };
  for (const use of uses) {
    const names = use.volume?.pool === pool.name && use.volume.name === volume.name;
    const [first, ...below] = use.paths;
    if (names || (first !== undefined && isSame(first))) add(use, use.as);
    else if (below.some((path) => isSame(path))) add(use, `below ${use.as}`);
    else {
      const through = on.find(
        (other) =>
          use.paths.includes(other.path) ||
          (use.volume?.pool === other.pool && use.volume.name === other.name),
      );
      if (through !== undefined) add(use, `below ${use.as}`);
    }
  }
  const volumes = on
    .filter(({ isDirect }) => isDirect)
    .map(
      ({ pool: of, name }): VolumeUser => ({
        type: 'volume',
        name,
        pool: of,
        isActive: false,
        as: ['image on top'],
      }),
    );
  return [...domains.values(), ...volumes];
}

interface Upper {
  readonly pool: string;
  readonly name: string;
  readonly path: string;
  readonly isDirect: boolean;
}

/** The volumes of active pools that lie on an image, directly or through others. */
function volumesOn(path: string, pools: readonly Pool[]): Upper[] {
  const byBacking = new Map<string, Omit<Upper, 'isDirect'>[]>();
  for (const { name: pool, live } of pools)
    for (const { name, path: own, backing } of live?.volumes.values() ?? [])
      if (backing !== undefined)
        byBacking.set(backing.path, [...(byBacking.get(backing.path) ?? []), { pool, name, path: own }]);
  const found = new Map<string, Upper>();
  let level = [path];
  for (let depth = 0; level.length > 0; depth++) {
    const next: string[] = [];
    for (const upper of level.flatMap((one) => byBacking.get(one) ?? [])) {
      if (found.has(upper.path)) continue; // A chain that leads back to itself.
      found.set(upper.path, { ...upper, isDirect: depth === 0 });
      next.push(upper.path);
    }
    level = next;
  }
  return [...found.values()];
}

/** Tells whether a path is the file at `path`: by its text, else by device and inode where both can be seen. */
async function sameFile(path: string, uses: readonly DiskUse[]): Promise<(other: string) => boolean> {
  const own = await identityOf(path);
  const same = new Set([path]);
  const others = new Set(uses.flatMap(({ paths }) => paths));
  const turns = new Turns();
  for (const other of own === undefined ? [] : others) {
    if ((await identityOf(other)) === own) same.add(other);
    await turns.share();
  }
  return (other) => same.has(other);
}
