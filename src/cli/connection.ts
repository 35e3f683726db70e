/** Which daemon a command talks to: from `-c`, `--root`, VIREO_DEFAULT_URI and who is asking to a socket's path. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { VirtError } from '../base/errors.ts';

export type DaemonMode = 'system' | 'session';

/** A daemon's socket and what is known of it. */
export interface Target {
  readonly socketPath: string;
  /** Undefined when only a path was given: then nothing is known of the daemon, and none is started. */
  readonly mode?: DaemonMode;
  /** Set when every path of the daemon lies below one directory (`--root`). */
  readonly root?: string;
}

export interface TargetRequest {
  /** `-c`: qemu:///system, qemu:///session, unix:///path or /path. */
  readonly uri?: string | undefined;
  /** `--root`. Absolute. */
  readonly root?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
}

const SYSTEM_SOCKET = '/run/vireo/vireo.sock';

/**
 * Finds the socket. Without a wish, root talks to the system daemon and everybody else to their session daemon.
 * @throws VirtError request.invalid
 */
export function resolveTarget(request: TargetRequest): Target {
  const { uri, root, env, uid } = request;
  if (root !== undefined) {
    const mode = uri === undefined ? undefined : modeOfUri(uri);
    if (uri !== undefined && mode === undefined)
      throw new VirtError('request.invalid', {
        wanted: `use --root together with -c ${uri}`,
        reason: 'both name a socket',
        hint: 'leave one of them out',
      });
    return { socketPath: join(root, 'run/vireo/vireo.sock'), root, ...(mode && { mode }) };
  }
  const wish = uri ?? (env['VIREO_DEFAULT_URI'] || undefined);
  if (wish === undefined) return modeTarget(uid === 0 ? 'system' : 'session', request);
  const mode = modeOfUri(wish);
  if (mode !== undefined) return modeTarget(mode, request);
  return { socketPath: pathOfUri(wish) };
}

function modeTarget(mode: DaemonMode, request: TargetRequest): Target {
  if (mode === 'system') return { mode, socketPath: SYSTEM_SOCKET };
  return { mode, socketPath: join(sessionRuntimeDirectory(request.env), 'vireo.sock') };
}

/**
 * Where a session daemon's socket is (docs/architecture.md): below XDG_RUNTIME_DIR, or without a login session below
 * the cache directory. Relative paths in these variables are ignored, as the XDG specification demands.
 */
function sessionRuntimeDirectory(env: TargetRequest['env']): string {
  const absolute = (value: string | undefined) => (value?.startsWith('/') ? value : undefined);
  const runtime = absolute(env['XDG_RUNTIME_DIR']);
  if (runtime !== undefined) return join(runtime, 'vireo');
  const cache = absolute(env['XDG_CACHE_HOME']) ?? join(env['HOME'] || homedir(), '.cache');
  return join(cache, 'vireo/run');
}

function modeOfUri(uri: string): DaemonMode | undefined {
  if (uri === 'qemu:///system' || uri === 'system') return 'system';
  if (uri === 'qemu:///session' || uri === 'session') return 'session';
  return undefined;
}

function pathOfUri(uri: string): string {
  const path = uri.startsWith('unix://') ? uri.slice('unix://'.length) : uri;
  if (path.startsWith('/') && !path.includes('\0')) return path;
  throw new VirtError('request.invalid', {
    wanted: `connect to '${uri}'`,
    reason: 'it is neither a connection name nor the absolute path of a socket',
    hint: 'use qemu:///system, qemu:///session, unix:///path/to/vireo.sock or /path/to/vireo.sock',
  });
}
