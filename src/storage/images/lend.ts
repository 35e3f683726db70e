/** Lends files to the user that qemu-img runs as. */
import type { FileHandle } from 'node:fs/promises';
import type { ProcessIdentity } from '../../base/spawn.ts';
import { identityFor } from '../qemu-img.ts';

export interface LendableFile {
  readonly handle: FileHandle;
  readonly writes?: boolean;
  readonly isPrivate?: boolean;
}

/** Files of which we alone know, handed to the user that may read the others, for as long as the program runs. */
export async function lend(
  files: readonly LendableFile[],
): Promise<{ readonly identity: ProcessIdentity | undefined } & AsyncDisposable> {
  const identity = await identityFor(files.filter(({ isPrivate }) => isPrivate !== true));
  const ours = identity === undefined ? [] : files.filter(({ isPrivate }) => isPrivate === true);
  const before = await Promise.all(ours.map(async ({ handle }) => ({ handle, stats: await handle.stat() })));
  const giveBack = async () => {
    await Promise.all(before.map(({ handle, stats }) => handle.chown(stats.uid, stats.gid)));
  };
  if (identity !== undefined)
    await Promise.all(ours.map(({ handle }) => handle.chown(identity.uid, identity.gid)));
  return { identity, [Symbol.asyncDispose]: giveBack };
}
