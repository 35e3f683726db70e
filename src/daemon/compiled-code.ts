/** Compiled code of the daemon, kept between its starts (Node's compile cache): a quarter of a start's processor time. */
import { lstatSync, mkdirSync } from 'node:fs';
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';

/**
 * Lets Node keep compiled code in the daemon's cache directory, and use what is there, for modules that are loaded from
 * now on. Only for the built program: sources are for developing and tests, where each start has another root.
 */
export function keepCompiledCode(cache: string, uid: number): void {
  const directory = import.meta.filename.endsWith('.js') ? compiledCodeDirectory(cache, uid) : undefined;
  if (directory !== undefined) enableCompileCache(directory);
}

/**
 * Writes what was compiled since the start, once in the life of a build. Some tens of milliseconds, then: not while
 * somebody waits. Code that is loaded from the cache is not written again.
 */
export function storeCompiledCode(): void {
  flushCompileCache();
}

/**
 * Where compiled code is kept, made if need be: `node/` below the cache directory. Undefined when others than we could put
 * something there, since what lies there is run, and when it cannot be made: then the daemon starts without.
 */
export function compiledCodeDirectory(cache: string, uid: number): string | undefined {
  const directory = join(cache, 'node');
  return isOurs(cache, uid) && isOurs(directory, uid) ? directory : undefined;
}

/** True for a directory, made if need be, that only we may write to. One whose parent is missing is made by others. */
function isOurs(directory: string, uid: number): boolean {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') return false;
  }
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return stat?.isDirectory() === true && stat.uid === uid && (stat.mode & 0o022) === 0;
}
