/** The first steps of a start, which need no QEMU: an identity, ports, a directory, sockets and links to remember. */
import { constants } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, open, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { MAX_UNIX_PATH } from '../../base/ffi.ts';
import { ensureDirectory } from '../../base/files.ts';
import type { ProcessIdentity } from '../../base/spawn.ts';
import type { Undo } from '../../base/undo.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GraphicsPorts } from '../driver.ts';
import { ownDirectory } from './argv/types.ts';
import type { PortPool } from './graphics-ports.ts';
import { screenFile } from './guest.ts';
import { isRangeMapped, kvmGroups, type UidPool } from './identity.ts';
import type { QemuDriverOptions } from './options.ts';

/** What starts share: options, and what is given to one guest at a time. */
export interface StartDeps {
  readonly options: QemuDriverOptions;
  readonly uids: UidPool;
  readonly ports: PortPool;
}

/** One start under way: what the steps have found out so far. */
export interface Starting {
  readonly deps: StartDeps;
  readonly undo: Undo;
  readonly directory: string;
  readonly logPath: string;
  readonly identity: ProcessIdentity | undefined;
  readonly ports: readonly GraphicsPorts[];
  readonly foreignSockets: string[];
  readonly logs: string[];
  readonly links: Record<string, string>;
}

/** Steps that need no QEMU: ids, ports, the guest's directory. */
export async function prepareHost(
  deps: StartDeps,
  undo: Undo,
  definition: DomainDef,
  domainId: number,
): Promise<Starting> {
  const { options } = deps;
  const identity = await takeIdentity(deps, undo, definition);
  const ports = await deps.ports.choose(definition);
  undo.add('give back the ports', () => deps.ports.release(definition.uuid ?? ''));
  const directory = await makeDirectory(options, domainId);
  undo.add('remove the directory', () => rm(directory, { recursive: true, force: true }));
  await makeOwnFiles(directory, identity);
  const logPath = qemuLogPath(options.logDirectory, definition);
  return { deps, undo, directory, logPath, identity, ports, foreignSockets: [], logs: [], links: {} };
}

/** The log's name: the domain's, where it is a plain one. All end with `.log`, so `NAME.log.0` is nobody's own. */
export function qemuLogPath(logDirectory: string, definition: DomainDef): string {
  const isPlain = /^[A-Za-z0-9][A-Za-z0-9_.:+ -]{0,63}$/.test(definition.name);
  return join(logDirectory, 'qemu', `${isPlain ? definition.name : definition.uuid}.log`);
}

/** Which user QEMU will be: one of its own where we are root, else ours. */
async function takeIdentity(
  deps: StartDeps,
  undo: Undo,
  definition: DomainDef,
): Promise<ProcessIdentity | undefined> {
  const { options, uids } = deps;
  if (process.geteuid?.() !== 0) return undefined;
  const groups = definition.type === 'kvm' ? await kvmGroups() : [];
  if (isRangeMapped(options.uidRange)) {
    const uid = await uids.take(definition.uuid ?? '');
    undo.add('give back the uid', () => uids.release(uid, definition.uuid ?? ''));
    return { uid, gid: uid, groups };
  }
  if (options.fallbackUser !== undefined) return { ...options.fallbackUser, groups };
  throw new VirtError('config.invalid', {
    wanted: `start '${definition.name}'`,
    reason: `the user ids from ${options.uidRange.first} up do not exist in this container`,
    hint: 'configure another range of user ids for guests, or one user for all of them',
  });
}

/** A directory of root's that the guest's user may pass through, but not write to. */
async function makeDirectory(options: QemuDriverOptions, domainId: number): Promise<string> {
  const parent = join(options.runtimeDirectory, 'g');
  await ensureDirectory(parent, 0o711);
  const directory = await mkdtemp(join(parent, `${domainId}-`));
  await chmod(directory, 0o711);
  if (Buffer.byteLength(join(directory, 'channel99.sock')) > MAX_UNIX_PATH) {
    await rm(directory, { recursive: true });
    throw new VirtError('config.invalid', {
      wanted: 'make the sockets of a guest',
      reason: `${directory} is too long: the path of a unix socket has at most ${MAX_UNIX_PATH} bytes`,
      hint: 'give the daemon a runtime directory with a shorter path',
    });
  }
  return directory;
}

/**
 * The one file in it that QEMU may write, which it knows by name, from its working directory; and a directory of its own
 * for sockets that QEMU can only make by itself (VNC, SPICE).
 */
async function makeOwnFiles(directory: string, identity: ProcessIdentity | undefined): Promise<void> {
  const own = join(directory, ownDirectory);
  await mkdir(own, { mode: 0o700 });
  if (identity !== undefined) await chown(own, identity.uid, identity.gid);
  const handle = await open(
    join(directory, screenFile),
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
    0o600,
  );
  try {
    if (identity !== undefined) await handle.chown(identity.uid, identity.gid);
  } finally {
    await handle.close();
  }
}

/** Sockets in the guest's directory go with it; others are remembered. */
export function noteSocket(starting: Starting, path: string): void {
  if (path.startsWith(`${starting.directory}/`)) return;
  starting.foreignSockets.push(path);
  starting.undo.add(`remove ${path}`, () => removeSocket(path));
}

export async function removeSocket(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}
