/**
 * Helper processes of one guest: swtpm (a TPM), virtiofsd (a shared directory), passt (user-mode networking). Each runs
 * in its own session, serves one socket, and ends with its guest.
 */
import { constants } from 'node:fs';
import { chmod, chown, mkdir, open, readdir, readFile, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileError, VirtError } from '../../base/errors.ts';
import { findProgram, run } from '../../base/exec.ts';
import { close } from '../../base/ffi.ts';
import { statIfPresent } from '../../base/files.ts';
import {
  type DetachedRequest,
  identityArgs,
  killProcess,
  type ProcessIdentity,
  processStartTime,
  spawnDetached,
} from '../../base/spawn.ts';
import type { HelperRecord } from '../driver.ts';
import type { HelperNeed } from './argv/types.ts';
import { listenAt } from './descriptors.ts';

interface HelperContext {
  readonly identity: ProcessIdentity | undefined;
  /** The guest's log; helpers write there too. */
  readonly logFd: number;
  readonly onSocket: (path: string) => void;
  readonly environment: Readonly<Record<string, string>>;
}

type Need<K extends HelperNeed['kind']> = Extract<HelperNeed, { readonly kind: K }>;

/** How long a helper that tells of its readiness may take. */
const READY_MS = 10_000;

/**
 * Starts one helper; when this returns, its socket can be connected to.
 * @throws VirtError program.missing, program.failed, file.*
 */
export async function startHelper(need: HelperNeed, context: HelperContext): Promise<HelperRecord> {
  switch (need.kind) {
    case 'swtpm':
      return startSwtpm(need, context);
    case 'virtiofsd':
      return startVirtiofsd(need, context);
    case 'passt':
      return startPasst(need, context);
    default:
      return need satisfies never;
  }
}

/** Ends a helper that is still there. Its pid is compared with its start time, so no other process can be hit. */
export function endHelper(helper: HelperRecord): void {
  killProcess(helper, 'SIGTERM');
}

async function needProgram(name: string, what: string): Promise<string> {
  const path = await findProgram(name);
  if (path !== undefined) return path;
  throw new VirtError('program.missing', {
    wanted: `start a guest with ${what}`,
    reason: `${name} is not installed`,
    hint: `install ${name}`,
  });
}

/** Spawns a helper whose listening socket is descriptor 3. */
async function spawnWithSocket(
  kind: string,
  socket: string,
  context: HelperContext,
  request: Pick<DetachedRequest, 'file' | 'args' | 'directory' | 'identity'>,
): Promise<HelperRecord> {
  const input = await open('/dev/null', constants.O_RDONLY);
  try {
    const listener = await listenAt(socket, context);
    try {
      const { pid, startTimeTicks } = await spawnDetached({
        ...request,
        environment: context.environment,
        descriptors: [input.fd, context.logFd, context.logFd, listener],
        limits: { coreBytes: 0, openFiles: 65_536 },
      });
      return { kind, pid, startTimeTicks };
    } finally {
      close(listener);
    }
  } finally {
    await input.close();
  }
}

/**
 * swtpm(8): the state lies in a directory that belongs to the guest's own user, which is swtpm's working directory so
 * that its parents may stay closed. --terminate: it ends when QEMU closes the connection.
 */
async function startSwtpm(need: Need<'swtpm'>, context: HelperContext): Promise<HelperRecord> {
  const file = await needProgram('swtpm', 'a TPM');
  await ensureOwned(need.stateDirectory, context.identity);
  const version = need.version === '2.0' ? ['--tpm2'] : [];
  return spawnWithSocket('swtpm', need.socket, context, {
    file,
    args: [
      'socket',
      ...version,
      '--tpmstate',
      'dir=.,mode=0600',
      '--ctrl',
      'type=unixio,fd=3',
      '--terminate',
    ],
    directory: need.stateDirectory,
    ...(context.identity !== undefined && { identity: context.identity }),
  });
}

/** A directory of the guest's own (0700); its parents are ours. */
async function ensureOwned(path: string, identity: ProcessIdentity | undefined): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o711 });
    await mkdir(path, { mode: 0o700 }).catch(ignoreExisting);
    const found = await statIfPresent(path);
    if (found?.isDirectory() !== true)
      throw new VirtError('file.failed', { wanted: 'keep TPM state', reason: `${path} is not a directory` });
    if (identity !== undefined && found.uid !== identity.uid) await giveAway(path, identity);
    await chmod(path, 0o700);
  } catch (error) {
    throw fileError(error, 'make a directory', path);
  }
}

/**
 * A directory and its files get a new owner: the domain's uid has changed with the configuration. Only regular files
 * with one name are given away, by descriptor: the old owner could have put links there.
 */
async function giveAway(path: string, identity: ProcessIdentity): Promise<void> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  for (const name of ['.', ...(await readdir(path))]) {
    const handle = await open(join(path, name), flags);
    try {
      const found = await handle.stat();
      if (found.isDirectory() || (found.isFile() && found.nlink === 1))
        await handle.chown(identity.uid, identity.gid);
    } finally {
      await handle.close();
    }
  }
}

function ignoreExisting(error: unknown): void {
  if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
  throw error;
}

/** Where distributions keep virtiofsd, outside PATH. */
const virtiofsdPaths = [
  '/usr/libexec/virtiofsd',
  '/usr/lib/qemu/virtiofsd',
  '/usr/lib/virtiofsd',
  'virtiofsd',
];

/** virtiofsd builds its own sandbox (namespaces, pivot_root), for which it keeps the daemon's user. */
async function startVirtiofsd(need: Need<'virtiofsd'>, context: HelperContext): Promise<HelperRecord> {
  const file = await findVirtiofsd(need.binary);
  const source = (await isOldVirtiofsd(file))
    ? ['-o', `source=${need.sourceDirectory}`]
    : ['--shared-dir', need.sourceDirectory];
  return spawnWithSocket('virtiofsd', need.socket, context, {
    file,
    args: ['--fd=3', ...source],
    directory: '/',
  });
}

async function findVirtiofsd(binary: string | undefined): Promise<string> {
  for (const candidate of binary === undefined ? virtiofsdPaths : [binary]) {
    const found = await findProgram(candidate);
    if (found !== undefined) return found;
  }
  return needProgram(binary ?? 'virtiofsd', 'a shared directory');
}

/** The C program that came with QEMU up to 7.2 takes -o options; the Rust one that replaced it has --shared-dir. */
async function isOldVirtiofsd(file: string): Promise<boolean> {
  const { stdout } = await run(file, ['--help'], { timeoutMs: READY_MS, okExitCodes: [0, 1, 2] });
  return !stdout.includes('--shared-dir');
}

/**
 * passt(1) makes its socket by itself and goes to the background once it is ready. It gets a directory that it may write
 * to; the socket is then moved to where it is looked for. --one-off: it ends when QEMU closes the connection.
 */
async function startPasst(need: Need<'passt'>, context: HelperContext): Promise<HelperRecord> {
  const passt = await needProgram('passt', "an interface with backend 'passt'");
  const setpriv = await needProgram('setpriv', "an interface with backend 'passt'");
  const directory = join(dirname(need.socket), `passt${need.interfaceIndex}`);
  await mkdir(directory, { mode: 0o700 });
  if (context.identity !== undefined) await chown(directory, context.identity.uid, context.identity.gid);
  const prefix = [...identityArgs(context.identity), '--no-new-privs', '--', passt];
  await run(setpriv, [...prefix, '--one-off', '--socket', 's', '--pid', 'pid', ...need.args], {
    timeoutMs: READY_MS,
    cwd: directory,
    env: context.environment,
  });
  await rename(join(directory, 's'), need.socket);
  context.onSocket(need.socket);
  const pid = Number((await readFile(join(directory, 'pid'), 'utf8')).trim());
  const startTimeTicks = processStartTime(pid);
  // The pid file is the guest user's own; a process of another user cannot be the passt that we started.
  const owner = startTimeTicks === undefined ? undefined : (await stat(`/proc/${pid}`)).uid;
  if (startTimeTicks === undefined || owner !== (context.identity?.uid ?? process.getuid?.()))
    throw new VirtError('program.failed', {
      wanted: 'start passt',
      reason: 'it ended right after its start',
    });
  return { kind: 'passt', pid, startTimeTicks };
}
