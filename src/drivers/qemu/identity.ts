/**
 * The user ids that QEMU processes run with. In system mode each guest has its own uid and gid from a range that
 * belongs to us alone, so that one guest's QEMU can't touch another's, whatever it is made to do.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VirtError } from '../../base/errors.ts';

export interface UidRange {
  readonly first: number;
  readonly count: number;
}

/** Above all ranges that distributions hand out (systemd: below 1878982656 for containers), below 2^31. */
export const defaultUidRange: UidRange = { first: 1_900_000_000, count: 65_536 };

interface UidPoolOptions {
  readonly range: UidRange;
  /**
   * Directories by domain uuid (TPM state) whose owner is that domain's uid: they outlive the guest, so their uid stays
   * with the domain and is given to no other.
   */
  readonly ownedDirectory: string;
}

/**
 * Which guest has which uid. Nothing is stored here: a running guest's uid is in its record (`claim`), a stopped one's
 * is the owner of its directory.
 */
export class UidPool {
  private readonly inUse = new Map<number, string>();
  private readonly options: UidPoolOptions;

  constructor(options: UidPoolOptions) {
    this.options = options;
  }

  /** Takes a uid for a domain that starts. @throws VirtError operation.failed when all are in use */
  take(domainUuid: string): number {
    const owned = this.readOwned();
    const kept = owned.get(domainUuid);
    if (kept !== undefined && (this.inUse.get(kept) ?? domainUuid) === domainUuid)
      return this.claim(kept, domainUuid);
    const others = new Set(owned.values());
    const { first, count } = this.options.range;
    // Starting at a place of the uuid's own, a domain mostly gets the same uid again.
    const start = createHash('sha256').update(domainUuid).digest().readUInt32LE(0) % count;
    for (let step = 0; step < count; step++) {
      const uid = first + ((start + step) % count);
      if (!others.has(uid) && !this.inUse.has(uid)) return this.claim(uid, domainUuid);
    }
    throw new VirtError('operation.failed', {
      wanted: 'start a guest',
      reason: `all ${count} user ids from ${first} up are in use`,
      hint: 'give the daemon a larger range of user ids',
    });
  }

  /** Notes that a running guest has a uid, as after a restart of the daemon. */
  claim(uid: number, domainUuid: string): number {
    this.inUse.set(uid, domainUuid);
    return uid;
  }

  /** Gives a uid back, if it is that domain's. */
  release(uid: number, domainUuid: string): void {
    if (this.inUse.get(uid) === domainUuid) this.inUse.delete(uid);
  }

  /** The owners of the directories, by domain uuid. At once: a hundred of them take less than one trip to a thread each. */
  private readOwned(): Map<string, number> {
    const { range, ownedDirectory } = this.options;
    const owned = new Map<string, number>();
    for (const name of namesIn(ownedDirectory)) {
      const uid = ownerOf(join(ownedDirectory, name));
      if (uid !== undefined && uid >= range.first && uid < range.first + range.count) owned.set(name, uid);
    }
    return owned;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * True when every id of the range exists in this user namespace (user_namespaces(7), uid_map: inside, outside, count;
 * gid_map alike). A container may have a few thousand ids only.
 */
export function isRangeMapped(range: UidRange, readMap = readIdMap): boolean {
  return (['uid_map', 'gid_map'] as const).every((name) =>
    readMap(name)
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number))
      .some(
        ([inside = Number.NaN, , count = 0]) =>
          inside <= range.first && inside + count >= range.first + range.count,
      ),
  );
}

const idMaps = new Map<string, string>();

/** Read once: a map is written when its namespace is made, and never again (user_namespaces(7)). */
function readIdMap(name: 'uid_map' | 'gid_map'): string {
  const known = idMaps.get(name) ?? readFileSync(`/proc/self/${name}`, 'utf8');
  idMaps.set(name, known);
  return known;
}

/** The groups a guest needs besides its own: that of /dev/kvm, for KVM. */
export async function kvmGroups(path = '/dev/kvm'): Promise<number[]> {
  const node = await stat(path).catch((error: unknown) => {
    throw new VirtError('kvm.unusable', {
      wanted: 'use KVM',
      reason: `${path}: ${errnoOf(error) ?? String(error)}`,
    });
  });
  if ((node.mode & 0o006) === 0o006) return [];
  if ((node.mode & 0o060) === 0o060 && node.gid !== 0) return [node.gid];
  throw new VirtError('kvm.unusable', {
    wanted: 'use KVM',
    reason: `${path} is open to root only, and guests do not run as root`,
    hint: `make it usable for a group: chgrp kvm ${path} && chmod 0660 ${path}`,
  });
}
