/**
 * Helper processes of one guest: swtpm (a TPM), virtiofsd (a shared directory), passt (user-mode networking, in
 * passt.ts). Each runs in its own session, serves one socket, and ends with its guest.
 */
import { constants } from 'node:fs';
import { chmod, mkdir, open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileError, VirtError } from '../../base/errors.ts';
import { close } from '../../base/ffi.ts';
import { statIfPresent } from '../../base/files.ts';
import { type DetachedRequest, killProcess, type ProcessIdentity, spawnDetached } from '../../base/spawn.ts';
import type { HelperRecord } from '../driver.ts';
import type { HelperNeed } from './argv/types.ts';
import { listenAt } from './descriptors.ts';
import { type HelperContext, type HelperNeedOf, needProgram } from './helper-context.ts';
import { startPasst } from './passt.ts';
import { virtiofsdCommand } from './virtiofsd.ts';

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
async function startSwtpm(need: HelperNeedOf<'swtpm'>, context: HelperContext): Promise<HelperRecord> {
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

/** virtiofsd builds its own sandbox (namespaces, pivot_root), for which it keeps the daemon's user. */
async function startVirtiofsd(
  need: HelperNeedOf<'virtiofsd'>,
  context: HelperContext,
): Promise<HelperRecord> {
  const { file, args } = await virtiofsdCommand(need);
  return spawnWithSocket('virtiofsd', need.socket, context, { file, args, directory: '/' });
}
