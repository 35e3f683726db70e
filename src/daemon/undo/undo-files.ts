/** What is kept beside the definition of a deleted domain: hard links where the file system is the same, so that it costs no space. */
import { chmod, constants, copyFile, lchown, link, lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, fileError } from '../../base/errors.ts';
import { ensureDirectory } from '../../base/files.ts';

/**
 * Gives a file, or all files of a directory, a second name; copies where a link cannot be made. Owners and modes stay as they
 * are. Sockets and the like are left out.
 * @throws VirtError file.*
 */
export async function keepTree(from: string, to: string): Promise<void> {
  try {
    await ensureDirectory(dirname(to), 0o700);
    await keepOne(from, to);
  } catch (error) {
    throw fileError(error, 'keep a file for undo', from);
  }
}

async function keepOne(from: string, to: string): Promise<void> {
  const stats = await lstat(from);
  if (stats.isDirectory()) {
    await mkdir(to, { mode: 0o700 });
    for (const name of await readdir(from)) await keepOne(join(from, name), join(to, name));
    await lchown(to, stats.uid, stats.gid);
    await chmod(to, stats.mode & 0o777);
  } else if (stats.isFile()) {
    await link(from, to).catch(async (error: unknown) => {
      // Another file system, or one without hard links.
      if (errnoOf(error) !== 'EXDEV' && errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'EMLINK')
        throw error;
      await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await lchown(to, stats.uid, stats.gid);
      await chmod(to, stats.mode & 0o777);
    });
  }
}

/**
 * Brings what was kept back to where it was. What is there already stays: it is newer.
 * @throws VirtError file.*
 */
export async function bringBack(kept: string, to: string): Promise<void> {
  const isThere = await lstat(to).then(
    () => true,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return false;
      throw fileError(error, 'bring a file back', to);
    },
  );
  if (!isThere) await keepTree(kept, to);
}

/** Takes what was kept away; what is not there is no error. */
export async function forgetTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
    throw fileError(error, 'remove what was kept for undo', path);
  });
}
