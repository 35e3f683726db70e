/** Puts new files into a pool's directory: under a temporary name until they are whole, never over another file. */
import { constants } from 'node:fs';
import { link, lstat, open, rename, stat, unlink } from 'node:fs/promises';
import { nanoid } from 'nanoid';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { partialVolumePrefix, temporaryVolumePrefix } from '../../model/storage/names.ts';
import type { Permissions } from '../../model/storage/permissions.ts';
import type { Work } from '../backend.ts';
import { PinnedDirectory } from '../directory-pin.ts';

export interface NewFile {
  readonly name: string;
  readonly permissions?: Permissions | undefined;
  /** It takes the place of a file of that name, all at once. */
  readonly replaces?: boolean | undefined;
}

/**
 * Makes a file: `fill` writes it at the path that it is given, then it gets its mode, its owner and its name, and is safe
 * on disk. On any failure nothing is left.
 * @throws VirtError volume.exists, file.*, and what `fill` throws
 */
export async function createFile(
  directoryPath: string,
  file: NewFile,
  fill: (path: string) => Promise<void>,
  { signal }: Work = {},
): Promise<void> {
  const wanted = `create volume '${file.name}'`;
  await using directory = await PinnedDirectory.open(directoryPath, wanted);
  if (file.replaces !== true) await refuseTaken(directory, file.name, wanted);
  const temporary = `${temporaryVolumePrefix}${nanoid(12)}`;
  // Programs that write the file have no descriptor of the directory, so they get its path.
  const path = `${directoryPath}/${temporary}`;
  try {
    await fill(path);
    if (signal?.aborted === true) throw new VirtError('operation.aborted', { wanted, reason: 'cancelled' });
    await settle(directory.at(temporary), file.permissions);
    if (file.replaces === true) await rename(directory.at(temporary), directory.at(file.name));
    else await giveName({ directory, name: temporary }, { directory, name: file.name }, wanted);
    await directory.sync();
  } catch (error) {
    // A file that was not made yet is not there to be removed; the first error is the one to tell.
    await unlink(directory.at(temporary)).catch(() => undefined);
    throw fileError(error, wanted, `${directoryPath}/${file.name}`);
  }
}

/** Told before the work begins; who is faster is decided when the file gets its name. */
async function refuseTaken(directory: PinnedDirectory, name: string, wanted: string): Promise<void> {
  try {
    await lstat(directory.at(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw taken(name, wanted);
}

function taken(name: string, wanted: string): VirtError {
  return new VirtError('volume.exists', {
    wanted,
    reason: `a file '${name}' is in the pool's directory already`,
    hint: 'use another name, or delete that volume',
  });
}

/** Mode and owner by descriptor, of a file that is ours alone and has one name (docs/security.md, class I); then its bytes to disk. */
async function settle(path: string, permissions: Permissions = {}): Promise<void> {
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const stats = await handle.stat();
    if (!stats.isFile() || stats.nlink !== 1)
      throw new VirtError('file.failed', { reason: 'the new file was replaced by something else' });
    await handle.chmod(permissions.mode ?? 0o600);
    const { owner = -1, group = -1 } = permissions;
    if (owner !== -1 || group !== -1)
      await handle.chown(owner === -1 ? stats.uid : owner, group === -1 ? stats.gid : group);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** File systems without a second name for one file: FAT, some network file systems (link(2)). */
const noLinks: readonly (string | undefined)[] = ['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'];

/** A file by its place. */
interface FilePlace {
  readonly directory: PinnedDirectory;
  readonly name: string;
}

/** Moves a file, never over another one. @throws VirtError volume.exists */
export async function giveName(from: FilePlace, to: FilePlace, wanted: string): Promise<void> {
  const [source, target] = [from.directory.at(from.name), to.directory.at(to.name)];
  try {
    await link(source, target);
    await unlink(source);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw taken(to.name, wanted);
    if (!noLinks.includes(errnoOf(error))) throw error;
    await refuseTaken(to.directory, to.name, wanted);
    await rename(source, target);
  }
}

/** How long an upload that broke off may be gone on with. */
const PART_MS = 24 * 3600 * 1000;

/** True for an unfinished file that nobody will finish any more. */
async function isLitter(path: string, name: string): Promise<boolean> {
  if (name.startsWith(temporaryVolumePrefix)) return true;
  if (!name.startsWith(partialVolumePrefix)) return false;
  const found = await stat(path).catch(() => undefined); // Gone meanwhile.
  return found !== undefined && Date.now() - found.mtimeMs > PART_MS;
}

/** Removes what a daemon that died left: files under temporary names, uploads nobody went on with. Returns how many. */
export async function sweepDirectory(directoryPath: string, names: readonly string[]): Promise<number> {
  await using directory = await PinnedDirectory.open(directoryPath, 'tidy a pool');
  let count = 0;
  for (const name of names) {
    if (!(await isLitter(directory.at(name), name))) continue;
    try {
      await unlink(directory.at(name));
      count += 1;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove a file', `${directoryPath}/${name}`);
    }
  }
  return count;
}

/** Takes a volume's file, or the link to it, away for good. @throws VirtError volume.not-found, file.* */
export async function removeFile(directoryPath: string, name: string): Promise<void> {
  const wanted = `delete volume '${name}'`;
  await using directory = await PinnedDirectory.open(directoryPath, wanted);
  try {
    await unlink(directory.at(name));
    await directory.sync();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT')
      throw new VirtError('volume.not-found', { wanted, reason: 'its file is gone', cause: error });
    throw fileError(error, wanted, `${directoryPath}/${name}`);
  }
}
