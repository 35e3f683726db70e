/** A unix socket to listen on: made with the right rights from its first moment, or taken from systemd. */
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { errnoOf, fileError, VirtError } from '../../../base/errors.ts';
import { MAX_UNIX_PATH } from '../../../base/ffi.ts';

/** A path to make a socket at, or a listening descriptor of socket activation. */
export type ListenTarget =
  | {
      readonly path: string;
      /** Rights of the socket (0o600, 0o660). */
      readonly mode: number;
      /** Group that shall own it. */
      readonly gid?: number;
    }
  | { readonly fd: number };

/**
 * Makes the server listen. A socket that a dead daemon left is replaced, a living one's is not.
 * @throws VirtError daemon.running, file.exists, file.denied, config.invalid
 */
export async function listenOn(server: Server, target: ListenTarget): Promise<void> {
  if ('fd' in target) {
    await listening(server, () => server.listen({ fd: target.fd }), `descriptor ${target.fd}`);
    return;
  }
  checkPath(target.path);
  await removeStale(target.path);
  await listening(server, () => bindPrivate(server, target.path), target.path);
  openToGroup(target);
}

function listening(server: Server, listen: () => void, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: unknown) => reject(fileError(error, 'listen on a socket', path));
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve();
    });
    listen();
  });
}

/**
 * Node binds and listens inside this call, so the umask holds for that moment only: the socket is born 0600 and
 * nobody else can connect before its rights are set (docs/security.md, class M).
 */
function bindPrivate(server: Server, path: string): void {
  const umask = process.umask(0o177);
  try {
    server.listen({ path, backlog: 511 });
  } finally {
    process.umask(umask);
  }
}

/** Group first, then the mode: never open to a group that is not meant. */
function openToGroup(target: { readonly path: string; readonly mode: number; readonly gid?: number }): void {
  try {
    if (target.gid !== undefined) chownSync(target.path, -1, target.gid);
    chmodSync(target.path, target.mode);
  } catch (error) {
    throw fileError(error, 'set the rights of a socket', target.path);
  }
}

function checkPath(path: string): void {
  if (path.startsWith('/') && Buffer.byteLength(path) <= MAX_UNIX_PATH && !path.includes('\0')) return;
  throw new VirtError('config.invalid', {
    wanted: `listen on ${path}`,
    reason: `the path of a socket must be absolute and have at most ${MAX_UNIX_PATH} bytes`,
    hint: 'choose a shorter directory',
  });
}

/**
 * Removes a socket on which nobody listens. Anything else in the way stays and is an error; a symbolic link is not
 * followed (docs/security.md, class M).
 */
async function removeStale(path: string): Promise<void> {
  const wanted = `listen on ${path}`;
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, wanted, path);
  }
  if (!isSocket)
    throw new VirtError('file.exists', {
      wanted,
      reason: `${path} is in the way and is no socket`,
      hint: 'move it away',
    });
  if (await isAlive(path))
    throw new VirtError('daemon.running', {
      wanted,
      reason: 'another process listens there',
      hint: 'stop it first',
    });
  unlinkSync(path);
}

/** True unless the kernel says that nobody listens: what cannot be asked is taken for alive. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const settle = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', (error) => settle(errnoOf(error) !== 'ECONNREFUSED' && errnoOf(error) !== 'ENOENT'));
  });
}
