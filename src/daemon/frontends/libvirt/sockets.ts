/** Where clients look for libvirt: the sockets' paths and names, and who may connect to each. */
import { lstatSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf, fileError } from '../../../base/errors.ts';
import type { DaemonPaths } from '../../paths.ts';

/** The one socket that every libvirt client falls back to, and its read-only sister. */
export const socketName = 'libvirt-sock';
export const readOnlySocketName = 'libvirt-sock-ro';

/**
 * The sockets of libvirt's modular daemons (remote_sockets.c). A client takes the one of its driver when it exists; all of
 * them lead to the one daemon here.
 */
const modularDaemons = [
  'virtqemud',
  'virtnetworkd',
  'virtstoraged',
  'virtnodedevd',
  'virtinterfaced',
  'virtsecretd',
  'virtnwfilterd',
  'virtproxyd',
] as const;

/** Directory of the sockets that stock clients of this mode look in (below --root when that was given). */
export function socketDirectory(
  { mode, root }: Pick<DaemonPaths, 'mode' | 'root'>,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  if (root !== undefined) return join(root, 'run/libvirt');
  if (mode === 'system') return '/run/libvirt';
  // virGetUserRuntimeDirectory: the runtime directory, else the cache.
  const runtime = environment['XDG_RUNTIME_DIR'];
  if (runtime?.startsWith('/')) return join(runtime, 'libvirt');
  const cache = environment['XDG_CACHE_HOME'];
  return join(cache?.startsWith('/') ? cache : join(environment['HOME'] ?? '/', '.cache'), 'libvirt');
}

/** Names that are links to one of our sockets. */
export function modularNames(readOnly: boolean): string[] {
  return modularDaemons.map((name) => `${name}-sock${readOnly ? '-ro' : ''}`);
}

/**
 * Makes a name lead to a socket beside it. False when something else has that name (a daemon of libvirt's own, which
 * keeps it).
 * @throws VirtError file.*
 */
export function linkSocket(path: string, target: string): boolean {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined) {
      const isOurs = found.isSymbolicLink() && readlinkSync(path) === target;
      return isOurs;
    }
    symlinkSync(target, path);
    return true;
  } catch (error) {
    throw fileError(error, `make the socket ${path}`, dirname(path));
  }
}

/** Takes a link of ours away, when the daemon ends. */
export function unlinkSocket(path: string, target: string): void {
  try {
    if (readlinkSync(path) === target) unlinkSync(path);
  } catch (error) {
    // EINVAL: no link at all.
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'EINVAL') throw error;
  }
}
