/** Where libvirtd keeps what it knows, and reading it. Nothing is ever written there. */
import { constants, lstatSync, readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { readText } from '../../base/files.ts';
import type { DaemonMode } from '../paths.ts';

/** Directories of a libvirt installation (configure.ac, qemu_conf.c, storage_conf.c). */
export interface LibvirtPlaces {
  /** What no guest's user may write to, above the directories of guests: var/lib/libvirt, or ~/.config/libvirt. */
  readonly base: string;
  /** etc/libvirt, or a user's ~/.config/libvirt. */
  readonly config: string;
  /** var/lib/libvirt/qemu: snapshots, saved states, firmware variables. */
  readonly state: string;
  /** Firmware variables: below `state`, but for users. */
  readonly nvram: string;
  readonly swtpm: string;
  /** Status of what is active. */
  readonly runtime: string;
}

/** Below a root directory; `/` is this host. */
export function systemPlaces(root: string): LibvirtPlaces {
  return {
    base: join(root, 'var/lib/libvirt'),
    config: join(root, 'etc/libvirt'),
    state: join(root, 'var/lib/libvirt/qemu'),
    nvram: join(root, 'var/lib/libvirt/qemu/nvram'),
    swtpm: join(root, 'var/lib/libvirt/swtpm'),
    runtime: join(root, 'run/libvirt'),
  };
}

/** Of a user, whose configuration directory that is. */
export function sessionPlaces(configHome: string, runtimeHome: string): LibvirtPlaces {
  const config = join(configHome, 'libvirt');
  return {
    base: config,
    config,
    state: join(config, 'qemu/lib'),
    nvram: join(config, 'qemu/nvram'),
    swtpm: join(config, 'qemu/swtpm'),
    runtime: join(runtimeHome, 'libvirt'),
  };
}

/** Where to look in a mode: `from` is a root directory, in a session that of the configuration. */
export function libvirtPlaces(
  mode: DaemonMode,
  root: string | undefined,
  from: string | undefined,
  directories: { readonly configHome: string; readonly runtimeHome: string },
): LibvirtPlaces {
  if (mode === 'system' || root !== undefined) return systemPlaces(from ?? root ?? '/');
  return sessionPlaces(from ?? directories.configHome, directories.runtimeHome);
}

/** Definitions are a few KiB; more than this is none. */
const MAX_DEFINITION_BYTES = 4 * 1024 * 1024;

/** A file of an object: its name is the object's. */
export interface DefinitionFile {
  readonly name: string;
  readonly path: string;
  readonly autostart: boolean;
}

/** The definitions of a directory by name, with their autostart marks (links in `autostart/`). @throws VirtError file.* */
export function definitionFiles(directory: string): DefinitionFile[] {
  return names(directory)
    .filter((file) => file.endsWith('.xml'))
    .map((file) => ({
      name: basename(file, '.xml'),
      path: join(directory, file),
      autostart: lstatSync(join(directory, 'autostart', file), { throwIfNoEntry: false }) !== undefined,
    }));
}

export function readDefinition(path: string): Promise<string> {
  return readText(path, MAX_DEFINITION_BYTES);
}

/** Firmware variables are at most a few MiB, the state of a TPM less. */
const MAX_STATE_BYTES = 64 * 1024 * 1024;

/**
 * Reads a file in a directory that libvirt gives to the user of its guests. A guest that has broken out there may have put a
 * link in the way to a file of root's, which must not come into another guest: so it has to be the file itself, at that
 * very path. @throws VirtError file.*, request.too-large
 */
export async function readPlain(places: LibvirtPlaces, path: string): Promise<Buffer> {
  const handle = await openPlain(places, path);
  try {
    const { size } = await handle.stat();
    if (size > MAX_STATE_BYTES)
      throw new VirtError('request.too-large', {
        wanted: `read ${path}`,
        reason: `it is larger than ${MAX_STATE_BYTES} bytes`,
      });
    return await handle.readFile();
  } catch (error) {
    throw fileError(error, 'read a file', path);
  } finally {
    await handle.close();
  }
}

/** Opens such a file, of any size; the caller closes it. @throws VirtError file.* */
export async function openPlain({ base }: LibvirtPlaces, path: string): Promise<FileHandle> {
  const wanted = `read ${path}`;
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const real = readlinkSync(`/proc/self/fd/${handle.fd}`);
    if ((await handle.stat()).isFile() && real === join(realpathSync(base), relative(base, path)))
      return handle;
    throw new VirtError('file.denied', {
      wanted,
      reason: 'it is not a plain file at that place, but leads elsewhere',
    });
  } catch (error) {
    await handle?.close();
    if (errnoOf(error) === 'ELOOP')
      throw new VirtError('file.denied', { wanted, reason: 'it is a link', cause: error });
    throw fileError(error, 'read a file', path);
  }
}

/** Entries of a directory by name; none when it is not there. @throws VirtError file.* */
export function names(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw fileError(error, "read libvirt's files", directory);
  }
}

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** The uuid in a definition's text, without reading all of it as XML. */
export function uuidIn(xml: string): string | undefined {
  return /<uuid>\s*([0-9a-fA-F-]{36})\s*<\/uuid>/.exec(xml)?.[1]?.toLowerCase();
}
