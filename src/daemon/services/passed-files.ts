/** Descriptors that clients have handed over for disks of domains: each group goes with the client that brought it. */
import { constants, fstatSync } from 'node:fs';
import { VirtError } from '../../base/errors.ts';
import { close, duplicateAbove, statusFlags } from '../../base/ffi.ts';
import type { PassedFile, PassedFileSource, PassedGroup } from '../../drivers/driver.ts';
import type { Domain } from './domain.ts';

/** So many a client may leave with us, and all together: each takes a place in the daemon's own table. */
export const MAX_PER_OWNER = 64;
export const MAX_IN_ALL = 512;
/** A name's length (what a definition may have in `fdgroup`). */
const MAX_NAME = 256;

/** A descriptor that only names a file, and reads nothing (asm-generic/fcntl.h; the same on x86 and arm64). */
const O_PATH = 0o10000000;

interface Kept extends PassedGroup {
  readonly owner: object;
  readonly domain: Domain;
}

/** What a client hands over. */
export interface Association {
  /** Whose they are: what `release` is called with. */
  readonly owner: object;
  /** What `<source fdgroup=...>` says. */
  readonly name: string;
  /** Ours from now on, whatever comes of the call. */
  readonly fds: readonly number[];
  readonly isWritable: boolean;
}

export class PassedFiles implements PassedFileSource {
  private readonly groups = new Map<string, Kept>();
  private readonly current: (uuid: string) => Domain | undefined;

  /** `current`: the domain that has that uuid now. */
  constructor(current: (uuid: string) => Domain | undefined) {
    this.current = current;
  }

  /** How many descriptors are kept. */
  get count(): number {
    return this.countOf(() => true);
  }

  /**
   * Keeps descriptors for a domain's disks, in place of those that had that name before.
   * @throws VirtError request.invalid for what can be no disk, request.busy over the limits
   */
  associate(domain: Domain, { owner, name, fds, isWritable }: Association): void {
    const key = keyOf(domain.uuid, name);
    const wanted = `associate descriptors with domain '${domain.name}'`;
    try {
      if (name === '' || name.length > MAX_NAME)
        throw new VirtError('request.invalid', {
          wanted,
          reason: `the name of a group has 1 to ${MAX_NAME} characters`,
        });
      const before = this.groups.get(key);
      const others = (fits: (kept: Kept) => boolean) => this.countOf((kept) => kept !== before && fits(kept));
      if (
        others((kept) => kept.owner === owner) + fds.length > MAX_PER_OWNER ||
        others(() => true) + fds.length > MAX_IN_ALL
      )
        throw new VirtError('request.busy', {
          wanted,
          reason: `at most ${MAX_PER_OWNER} descriptors of one client are kept, and ${MAX_IN_ALL} in all`,
          hint: 'close connections that are not needed any more',
        });
      const files = fds.map((fd, index) => fileOf(fd, index, wanted));
      if (before !== undefined) closeAll(before);
      this.groups.set(key, { owner, domain, files, isWritable });
    } catch (error) {
      for (const fd of fds) close(fd);
      throw error;
    }
  }

  /** Closes what this client has brought. Guests that were started with it have copies. */
  release(owner: object): void {
    for (const [key, kept] of this.groups)
      if (kept.owner === owner) {
        this.groups.delete(key);
        closeAll(kept);
      }
  }

  take(domainUuid: string, name: string): PassedGroup | undefined {
    const key = keyOf(domainUuid, name);
    const kept = this.groups.get(key);
    if (kept === undefined) return undefined;
    // Another domain that got the same uuid is not the one they were meant for.
    if (kept.domain !== this.current(domainUuid)) return undefined;
    const copies: PassedFile[] = [];
    try {
      for (const file of kept.files) copies.push({ ...file, fd: duplicateAbove(file.fd, 3) });
    } catch (error) {
      for (const { fd } of copies) close(fd);
      throw error;
    }
    return { files: copies, isWritable: kept.isWritable };
  }

  private countOf(fits: (kept: Kept) => boolean): number {
    let count = 0;
    for (const kept of this.groups.values()) if (fits(kept)) count += kept.files.length;
    return count;
  }
}

const keyOf = (uuid: string, name: string): string => `${uuid} ${name}`;

function closeAll({ files }: Kept): void {
  for (const { fd } of files) close(fd);
}

/** What a descriptor is. @throws VirtError request.invalid */
function fileOf(fd: number, index: number, wanted: string): PassedFile {
  const stat = fstatSync(fd);
  const isDevice = stat.isBlockDevice();
  const flags = statusFlags(fd);
  const mode = flags & (constants.O_RDWR | constants.O_WRONLY);
  const problem =
    !isDevice && !stat.isFile()
      ? 'is neither a regular file nor a block device'
      : (flags & O_PATH) !== 0
        ? 'only names a file (O_PATH), and cannot be read'
        : mode === constants.O_WRONLY
          ? 'is open for writing alone: an image has to be read, too'
          : undefined;
  if (problem !== undefined)
    throw new VirtError('request.invalid', { wanted, reason: `descriptor ${index} ${problem}` });
  const isDirect = (flags & constants.O_DIRECT) !== 0;
  return { fd, access: mode === constants.O_RDWR ? 'rw' : 'ro', isDirect, isDevice };
}
