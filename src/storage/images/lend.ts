/** Lends files to the user that qemu-img runs as. */
import type { FileHandle } from 'node:fs/promises';
import { openAs } from '../../base/mapped-files.ts';
import type { ProcessIdentity } from '../../base/spawn.ts';
import { identityFor, isForAll, NOBODY } from '../qemu-img.ts';

export interface LendableFile {
  readonly handle: FileHandle;
  readonly writes?: boolean;
  readonly isPrivate?: boolean;
}

/** Files as a program without privileges may open them; they are taken back at its end. */
export interface Lent extends AsyncDisposable {
  /** Who it runs as; undefined: as this process does, which is not root. */
  readonly identity: ProcessIdentity | undefined;
  /** In the order in which they were given. */
  readonly files: readonly FileHandle[];
}

/**
 * Files of which we alone know are handed to the user that may open the others, for as long as the program runs. Where only
 * root may open one of those, the program is nobody's all the same, and sees them as nobody's own (base/mapped-files.ts).
 * Only where the file system cannot do that, it runs as a root without capabilities.
 */
export async function lend(files: readonly LendableFile[]): Promise<Lent> {
  const others = files.filter(({ isPrivate }) => isPrivate !== true);
  const wanted = await identityFor(others);
  const mapped = wanted?.uid === 0 ? await mapAll(others) : undefined;
  const identity = mapped === undefined ? wanted : nobody;
  const ours = identity === undefined ? [] : files.filter(({ isPrivate }) => isPrivate === true);
  const before = await Promise.all(ours.map(async ({ handle }) => ({ handle, stats: await handle.stat() })));
  const modes = await Promise.all(
    Array.from(mapped?.keys() ?? [], async (handle) => ({
      handle,
      mode: (await handle.stat()).mode & 0o7777,
    })),
  );
  const takeBack = async () => {
    await closeAll(mapped?.values() ?? []);
    // An owner may change them, to setuid as well.
    await Promise.all(modes.map(({ handle, mode }) => handle.chmod(mode)));
    await Promise.all(before.map(({ handle, stats }) => handle.chown(stats.uid, stats.gid)));
  };
  if (identity !== undefined)
    await Promise.all(ours.map(({ handle }) => handle.chown(identity.uid, identity.gid)));
  return {
    identity,
    files: files.map(({ handle }) => mapped?.get(handle) ?? handle),
    [Symbol.asyncDispose]: takeBack,
  };
}

const nobody: ProcessIdentity = { uid: NOBODY, gid: NOBODY, groups: [] };

/** Those that nobody may not open, as nobody's own; undefined when one of them can't be. */
async function mapAll(files: readonly LendableFile[]): Promise<Map<FileHandle, FileHandle> | undefined> {
  const mapped = new Map<FileHandle, FileHandle>();
  for (const { handle, writes = false } of files) {
    if (isForAll((await handle.stat()).mode, writes)) continue;
    const view = await openAs(handle, writes ? 'write' : 'read', NOBODY);
    if (view === undefined) {
      await closeAll(mapped.values());
      return undefined;
    }
    mapped.set(handle, view);
  }
  return mapped;
}

async function closeAll(handles: Iterable<FileHandle>): Promise<void> {
  await Promise.all(Array.from(handles, (handle) => handle.close()));
}
