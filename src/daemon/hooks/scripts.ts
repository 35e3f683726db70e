/** Finds the hook scripts of an object's kind, and refuses those that somebody else could have written. */
import { constants, readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf, reasonOf } from '../../base/errors.ts';

/** What hooks are about: libvirt's names of its scripts (hooks.html, "Script names"). */
export const hookKinds = ['daemon', 'qemu', 'network'] as const;
export type HookKind = (typeof hookKinds)[number];

/** Scripts in the order in which they run, and what is there but is not run. */
export interface HookScripts {
  readonly scripts: readonly string[];
  readonly refused: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * The scripts of that kind: `DIRECTORY/KIND`, then the executable files of `DIRECTORY/KIND.d/` by name. What runs here
 * runs with the daemon's rights: files and their directories must belong to root or the daemon's user, and nobody else
 * may write to them. Looked up anew for each use, so that a new script needs no restart; where there is none this is two
 * system calls.
 */
export function findHooks(directory: string, kind: HookKind): HookScripts {
  const scripts: string[] = [];
  const refused: { path: string; reason: string }[] = [];
  for (const path of candidates(directory, kind)) {
    const reason = refusal(path, directory);
    if (reason === undefined) scripts.push(path);
    else refused.push({ path, reason });
  }
  return { scripts, refused };
}

function candidates(directory: string, kind: HookKind): string[] {
  const single = join(directory, kind);
  const many = join(directory, `${kind}.d`);
  return [...(stat(single) === undefined ? [] : [single]), ...entries(many).map((name) => join(many, name))];
}

/** Names that a person gave a script; not what editors and package managers leave behind. */
function entries(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => !name.startsWith('.') && !/(?:~|\.(?:bak|dpkg-\w+|rpm\w+))$/.test(name))
      .filter((name) => isExecutable(join(directory, name)))
      .sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}

function isExecutable(path: string): boolean {
  const found = stat(path);
  return found?.isFile() === true && (found.mode & 0o111) !== 0;
}

/** Why a script is not run; undefined when it may. */
function refusal(path: string, top: string): string | undefined {
  try {
    const real = realpathSync(path);
    for (const directory of new Set([top, dirname(path), dirname(real)])) {
      const reason = foreign(statSync(directory), `its directory ${directory}`);
      if (reason !== undefined) return reason;
    }
    const found = statSync(real);
    if (!found.isFile()) return 'it is not a regular file';
    if ((found.mode & 0o111) === 0) return 'it is not executable';
    return foreign(found, 'it');
  } catch (error) {
    return reasonOf(error);
  }
}

function foreign({ uid, mode }: Stats, what: string): string | undefined {
  if (uid !== 0 && uid !== process.geteuid?.()) return `${what} belongs to user ${uid}`;
  if ((mode & (constants.S_IWGRP | constants.S_IWOTH)) !== 0) return `${what} can be written by others`;
  return undefined;
}

function stat(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}
