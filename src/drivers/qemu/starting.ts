/** The first steps of a start, which need no QEMU: an identity, ports, a directory, sockets and links to remember. */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchownSync,
  mkdirSync,
  mkdtempSync,
  openSync,
} from 'node:fs';
import { type FileHandle, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { MAX_UNIX_PATH } from '../../base/ffi.ts';
import { ensureDirectory } from '../../base/files.ts';
import type { ProcessIdentity } from '../../base/spawn.ts';
import type { Undo } from '../../base/undo.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { ActualInterface, GraphicsPorts } from '../driver.ts';
import { ownDirectory } from './argv/types.ts';
import type { PortPool } from './graphics-ports.ts';
import { isRangeMapped, kvmGroups, type UidPool } from './identity.ts';
import { sevGroups } from './launch-security.ts';
import { openLog } from './log-file.ts';
import type { QemuDriverOptions } from './options.ts';
import type { PassedGroups } from './passed-groups.ts';
import { screenFile } from './screenshot.ts';

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
  /** QEMU's log, being opened while the command line is built. */
  readonly log: Promise<FileHandle>;
  readonly identity: ProcessIdentity | undefined;
  /** What clients have handed over for disks. */
  readonly passed?: PassedGroups;
  readonly ports: readonly GraphicsPorts[];
  readonly foreignSockets: string[];
  readonly logs: string[];
  readonly links: Record<string, string>;
  /** Links that are the administrator's and stay. */
  readonly keptLinks: string[];
  /** How interfaces are connected, by their place. */
  readonly actual: Record<string, ActualInterface>;
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
  makeOwnFiles(directory, identity);
  const logPath = qemuLogPath(options.logDirectory, definition);
  const log = openLog(logPath);
  log.catch(() => undefined); // launch awaits it, and tells
  undo.add('close the log', () => closeIfOpen(log));
  return {
    deps,
    undo,
    directory,
    logPath,
    log,
    identity,
    ports,
    foreignSockets: [],
    logs: [],
    links: {},
    keptLinks: [],
    actual: {},
  };
}

/** Closes it unless that is done, or it was never opened (whoever needs it is told). */
function closeIfOpen(opening: Promise<FileHandle>): Promise<void> {
  return opening.then(
    (handle) => handle.close(),
    () => undefined,
  );
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
  const groups = definition.type === 'kvm' ? [...(await kvmGroups()), ...(await sevGroups(definition))] : [];
  if (isRangeMapped(options.uidRange)) {
    const uid = uids.take(definition.uuid ?? '');
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

/**
 * A directory of root's that the guest's user may pass through, but not write to. It and its files are made at once:
 * /run waits for no disk, and a trip to another thread takes longer than each of these calls.
 */
async function makeDirectory(options: QemuDriverOptions, domainId: number): Promise<string> {
  const parent = join(options.runtimeDirectory, 'g');
  const directory = await makeBelow(parent, `${domainId}-`);
  chmodSync(directory, 0o711);
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

async function makeBelow(parent: string, prefix: string): Promise<string> {
  try {
    return mkdtempSync(join(parent, prefix));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    // The parent, made when the daemon started, was taken away.
    await ensureDirectory(parent, 0o711);
    return mkdtempSync(join(parent, prefix));
  }
}

/**
 * The one file in it that QEMU may write, which it knows by name, from its working directory; and a directory of its own
 * for sockets that QEMU can only make by itself (VNC, SPICE).
 */
function makeOwnFiles(directory: string, identity: ProcessIdentity | undefined): void {
  const own = join(directory, ownDirectory);
  mkdirSync(own, { mode: 0o700 });
  if (identity !== undefined) chownSync(own, identity.uid, identity.gid);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const fd = openSync(join(directory, screenFile), flags, 0o600);
  try {
    if (identity !== undefined) fchownSync(fd, identity.uid, identity.gid);
  } finally {
    closeSync(fd);
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
