/** The target directory of a pool: made with its mode and owner, never taken from somebody else. */
import { constants } from 'node:fs';
import { chmod, mkdir, open, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import { trashDirectory } from '../../model/storage/names.ts';
import type { CompletePoolDef } from '../../model/storage/pool/pool.ts';
import { directoryOf } from './directory-volumes.ts';

/** The mode that libvirt gives a pool's directory when the definition says none. */
const DEFAULT_MODE = 0o711;

/**
 * Makes the directory, with its parents, and gives it mode and owner of the definition. One that is there stays as it is,
 * whoever made it: a pool is often put on a directory that others use too.
 * @throws VirtError file.*
 */
export async function ensureTarget(pool: CompletePoolDef): Promise<{ readonly isNew: boolean }> {
  const path = directoryOf(pool);
  const wanted = `make the directory of pool '${pool.name}'`;
  try {
    const present = await statIfPresent(path);
    if (present !== undefined) return { isNew: false };
    const { mode = DEFAULT_MODE, owner = -1, group = -1 } = pool.target?.permissions ?? {};
    const made = await mkdir(path, { recursive: true, mode: 0o700 });
    if (made !== undefined) await openParents(made, path);
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      const stats = await handle.stat();
      if (owner !== -1 || group !== -1)
        await handle.chown(owner === -1 ? stats.uid : owner, group === -1 ? stats.gid : group);
      await handle.chmod(mode);
    } finally {
      await handle.close();
    }
    return { isNew: true };
  } catch (error) {
    throw fileError(error, wanted, path);
  }
}

/** Parents that were made on the way: others may pass, as below /var/lib (our umask would keep them out). */
async function openParents(first: string, path: string): Promise<void> {
  const steps = path.slice(first.length).split('/').filter(Boolean);
  let parent = first;
  for (const step of steps) {
    await chmod(parent, 0o755);
    parent = `${parent}/${step}`;
  }
}

/** @throws VirtError file.not-found with the way to make it, file.failed when it is something else */
export async function requireTarget(pool: CompletePoolDef): Promise<void> {
  const path = directoryOf(pool);
  const wanted = `start pool '${pool.name}'`;
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK);
    await handle.close();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT')
      throw new VirtError('file.not-found', {
        wanted,
        reason: `its directory ${path} is not there`,
        hint: `have it made: --build where the pool is created or started, 'vireo pool build ${pool.name}' for one that is defined`,
        details: { path },
      });
    if (errno === 'ENOTDIR')
      throw new VirtError('file.failed', { wanted, reason: `${path} is not a directory` });
    throw fileError(error, wanted, path);
  }
}

/** An empty trash is ours to take away; one that has something in it keeps the directory. */
async function removeEmptyTrash(path: string): Promise<void> {
  try {
    await rmdir(join(path, trashDirectory));
  } catch (error) {
    const isNone = ['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '');
    if (!isNone) throw error;
  }
}

/** Removes the directory of a pool, which must be empty: never what is in it. */
export async function removeTarget(pool: CompletePoolDef): Promise<void> {
  const path = directoryOf(pool);
  const wanted = `delete pool '${pool.name}'`;
  try {
    await removeEmptyTrash(path);
    await rmdir(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return;
    if (errno === 'ENOTEMPTY' || errno === 'EEXIST')
      throw new VirtError('file.exists', {
        wanted,
        reason: `its directory ${path} is not empty`,
        hint: 'delete its volumes and empty its trash first; other files in it are yours to remove',
      });
    throw fileError(error, wanted, path);
  }
}
