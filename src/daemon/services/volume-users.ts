/** Who depends on a volume, and which of them stand in the way of what. */
import { Turns } from '../../base/turns.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import type { Pool } from './pool.ts';
import type { DiskUse } from './pool-world.ts';
import { identityOf } from './volume-finder.ts';
import { spellings } from './volume-places.ts';

/** Who depends on a volume. */
export interface VolumeUser {
  readonly type: 'domain' | 'volume';
  readonly name: string;
  /** For a volume: its pool. */
  readonly pool?: string;
  readonly isActive: boolean;
  /** What for: `disk vda`, `nvram`, `below disk vda`, `snapshot 'one' of disk vda`. */
  readonly as: readonly string[];
  /**
   * What it has elsewhere makes no sense without these bytes, even while it does not run: an image on top, a snapshot. What
   * a domain keeps inside its own disk goes with that disk.
   */
  readonly needsBytes: boolean;
}

/** `domain 'web' (running, disk vda)`, `volume 'default/top.qcow2'`. */
export function userText({ type, name, pool, isActive, as }: VolumeUser): string {
  if (type === 'volume') return `volume '${pool}/${name}'`;
  return `domain '${name}' (${[...(isActive ? ['running'] : []), ...as].join(', ')})`;
}

/** A guest that runs on it. */
export const runs = (user: VolumeUser): boolean => user.type === 'domain' && user.isActive;

/** A guest that runs on it, or an image or snapshot of anybody that reads wrong when it changes. */
export const runsOrLiesOn = (user: VolumeUser): boolean => runs(user) || user.needsBytes;

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
  const on = await volumesOn(volume.path, pools);
  const isSame = await sameFile(volume.path, uses);
  const domains = new Map<string, DomainRoles>();
  for (const use of uses) {
    const role = roleOf(use, { pool, volume }, on, isSame);
    if (role === undefined) continue;
    const { domain, isActive } = use;
    const known = domains.get(domain.uuid) ?? {
      name: domain.name,
      isActive,
      as: new Set(),
      roles: new Set(),
    };
    domains.set(domain.uuid, known);
    known.as.add(role === 'below' ? `below ${use.as}` : use.as);
    known.roles.add(role);
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
        needsBytes: true,
      }),
    );
  return [...[...domains.values()].map(domainUser), ...volumes];
}

/** What a volume is to a use: its own image, what a snapshot keeps, or something below the image. */
type Role = 'own' | 'snapshot' | 'below';

/** One domain's uses of a volume, gathered. */
interface DomainRoles {
  readonly name: string;
  readonly isActive: boolean;
  readonly as: Set<string>;
  readonly roles: Set<Role>;
}

function domainUser({ name, isActive, as, roles }: DomainRoles): VolumeUser {
  return { type: 'domain', name, isActive, as: [...as], needsBytes: !roles.has('own') };
}

function roleOf(
  use: DiskUse,
  { pool, volume }: Place,
  on: readonly Upper[],
  isSame: (path: string) => boolean,
): Role | undefined {
  const names = (of: string, name: string) => use.volume?.pool === of && use.volume.name === name;
  const [first, ...below] = use.paths;
  if (names(pool.name, volume.name) || (first !== undefined && isSame(first)))
    return use.isSnapshot === true ? 'snapshot' : 'own';
  const isBelow =
    below.some((path) => isSame(path)) ||
    on.some((other) => use.paths.includes(other.path) || names(other.pool, other.name));
  return isBelow ? 'below' : undefined;
}

interface Upper {
  readonly pool: string;
  readonly name: string;
  readonly path: string;
  readonly isDirect: boolean;
}

/** The volumes of active pools that lie on an image under whatever of its names, directly or through others. */
async function volumesOn(path: string, pools: readonly Pool[]): Promise<Upper[]> {
  const byBacking = uppersByBacking(pools);
  const found = new Map<string, Upper>();
  let level = [path, ...(await otherNames(path, [...byBacking.keys()]))];
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

/** All volumes that lie on another, by its path. */
function uppersByBacking(pools: readonly Pool[]): Map<string, Omit<Upper, 'isDirect'>[]> {
  const byBacking = new Map<string, Omit<Upper, 'isDirect'>[]>();
  const spelling = spellings(pools);
  for (const { name: pool, live } of pools)
    for (const { name, path, backing } of live?.volumes.values() ?? []) {
      // What is no volume is nobody's to look at: a header may name any path of the host.
      const below = backing && spelling(backing.path);
      if (below === undefined) continue;
      const uppers = byBacking.get(below);
      if (uppers === undefined) byBacking.set(below, [{ pool, name, path }]);
      else uppers.push({ pool, name, path });
    }
  return byBacking;
}

/** Of these paths of volumes, those that are the same file: hard links and links. */
async function otherNames(path: string, volumes: readonly string[]): Promise<string[]> {
  const own = await identityOf(path);
  if (own === undefined) return [];
  const same: string[] = [];
  const turns = new Turns();
  for (const other of volumes) {
    if (other !== path && (await identityOf(other)) === own) same.push(other);
    await turns.share();
  }
  return same;
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
