/** Opens the connection to the daemon, and explains in the user's words why there is none. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { connectVireo, type VireoClient } from '../api/client.ts';
import { errnoOf, isVirtError, reasonOf, VirtError } from '../base/errors.ts';
import type { DaemonMode, Target } from './connection.ts';
import { startSessionDaemon } from './session-daemon.ts';

export interface ConnectOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** False where a daemon must not be started for it (completions). */
  readonly mayStart: boolean;
  /** Told before a session daemon is started, which takes a moment. */
  readonly onStart?: () => void;
  readonly timeoutMs?: number;
}

const CONNECT_MS = 10_000;
/** A first start of the session daemon on a slow host, with cold caches. */
const START_MS = 30_000;

/**
 * Connects. A session daemon that doesn't run is started.
 * @throws VirtError daemon.unreachable, access.denied
 */
export async function connectTo(target: Target, options: ConnectOptions): Promise<VireoClient> {
  const { socketPath } = target;
  refuseLongPath(target);
  const connect = () => connectVireo({ socketPath, timeoutMs: options.timeoutMs ?? CONNECT_MS });
  try {
    return await connect();
  } catch (error) {
    if (!isAbsent(error)) throw explain(error, target, options.env);
    const isOwnSession = target.mode === 'session' && target.root === undefined;
    if (!isOwnSession || !options.mayStart) throw explain(error, target, options.env);
  }
  options.onStart?.();
  await startSessionDaemon({ socketPath, env: options.env, timeoutMs: START_MS });
  return connect().catch((error: unknown) => {
    throw explain(error, target, options.env);
  });
}

/** sockaddr_un (linux/un.h) holds 108 bytes, the last of them a NUL; Node would say no more than EINVAL. */
const MAX_SOCKET_PATH = 107;

function refuseLongPath(target: Target): void {
  if (Buffer.byteLength(target.socketPath) <= MAX_SOCKET_PATH) return;
  throw new VirtError('daemon.unreachable', {
    wanted: `connect to ${describeTarget(target)}`,
    reason: `the socket's path ${target.socketPath} is longer than the ${MAX_SOCKET_PATH} bytes that the kernel takes`,
    hint: 'use a directory with a shorter path',
  });
}

/** The errno of a failed connection, wherever in the chain of causes it is. */
function connectErrno(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const errno = errnoOf(at);
    // VirtError has a `code` of its own, with a dot in it.
    if (errno !== undefined && !errno.includes('.')) return errno;
  }
  return undefined;
}

function isAbsent(error: unknown): boolean {
  const errno = connectErrno(error);
  return errno === 'ENOENT' || errno === 'ECONNREFUSED' || errno === 'ENOTDIR';
}

function explain(error: unknown, target: Target, env: ConnectOptions['env']): unknown {
  const wanted = `connect to ${describeTarget(target)}`;
  const errno = connectErrno(error);
  if (errno === 'EACCES' || errno === 'EPERM')
    return new VirtError('access.denied', {
      wanted,
      reason: `permission denied on ${target.socketPath}`,
      hint: groupHint(target),
      cause: error,
    });
  if (isAbsent(error))
    return new VirtError('daemon.unreachable', {
      wanted,
      reason: `nothing listens on ${target.socketPath}`,
      hint: startHint(target, env),
      cause: error,
    });
  if (isVirtError(error) && error.code !== 'daemon.unreachable') return error;
  return new VirtError('daemon.unreachable', { wanted, reason: reasonOf(error), cause: error });
}

function describeTarget(target: Target): string {
  if (target.root !== undefined) return `the daemon below ${target.root}`;
  return target.mode === undefined ? target.socketPath : `the ${target.mode} daemon`;
}

function startHint(target: Target, env: ConnectOptions['env']): string {
  if (target.root !== undefined)
    return `start it with 'vireod --mode ${target.mode ?? modeOfUser()} --root ${target.root}'`;
  if (target.mode === undefined) return 'is the path right, and does its daemon run?';
  if (target.mode === 'session') return "start it with 'vireod --mode session'";
  const sudo = env['USER'] === 'root' || process.getuid?.() === 0 ? '' : 'sudo ';
  // sd_booted(3): this directory tells that systemd runs the host.
  const hasUnit =
    existsSync('/run/systemd/system') &&
    ['/etc', '/usr/local/lib', '/usr/lib', '/lib'].some((at) =>
      existsSync(`${at}/systemd/system/vireod.socket`),
    );
  const own = "; your own guests need no root: 'vireo -c qemu:///session'";
  const start = hasUnit ? `'${sudo}systemctl start vireod.socket'` : `'${sudo}vireod --mode system'`;
  return `start it with ${start}${sudo === '' ? '' : own}`;
}

/** Which group gives access, and whether the user is in it without their login knowing. */
function groupHint(target: Target): string {
  const otherWay =
    target.mode === 'system' ? "; or use 'vireo -c qemu:///session' for guests of your own" : '';
  let gid: number | undefined;
  try {
    gid = statSync(target.socketPath).gid;
  } catch (error) {
    // A directory on the way is closed to us: then only root can tell more.
    if (errnoOf(error) !== 'EACCES') throw error;
  }
  const group = gid === undefined ? undefined : groupEntry(gid);
  if (group === undefined || gid === 0) return `ask root for access to ${target.socketPath}${otherWay}`;
  const user = userInfo().username;
  if (group.members.includes(user))
    return `you are in the group '${group.name}', but this login is older: log in anew, or run 'newgrp ${group.name}'`;
  return `'sudo usermod --append --groups ${group.name} ${user}' gives access, after a new login${otherWay}`;
}

// group(5): name:password:gid:member,member
function groupEntry(gid: number): { readonly name: string; readonly members: readonly string[] } | undefined {
  for (const line of readFileSync('/etc/group', 'utf8').split('\n')) {
    const [name, , id, members] = line.split(':');
    if (name && Number(id) === gid && id !== '') return { name, members: (members ?? '').split(',') };
  }
  return undefined;
}

/** The mode that a daemon of this user would have. */
function modeOfUser(): DaemonMode {
  return process.getuid?.() === 0 ? 'system' : 'session';
}
