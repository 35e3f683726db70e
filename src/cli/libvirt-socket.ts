/** Where libvirt's clients would look for the daemon of a URI (libvirt's remote_sockets.c): the far end of qemu+ssh. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { VirtError } from '../base/errors.ts';

export interface LibvirtSocket {
  readonly path: string;
  /** A user's own daemon, which may be started. */
  readonly isSession: boolean;
}

export interface LibvirtSocketRequest {
  /** As a client wrote it, without the host: `qemu:///system`, with `?socket=` and `?mode=` where it has them. */
  readonly uri: string;
  readonly readOnly: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
}

/** Drivers that have a daemon of their own name in libvirt's modular form. */
const daemons: Readonly<Record<string, string>> = {
  qemu: 'virtqemud',
  network: 'virtnetworkd',
  storage: 'virtstoraged',
  nodedev: 'virtnodedevd',
  interface: 'virtinterfaced',
  secret: 'virtsecretd',
  nwfilter: 'virtnwfilterd',
};

/** @throws VirtError request.invalid */
export function libvirtSocket(request: LibvirtSocketRequest): LibvirtSocket {
  const { driver, path, query } = parse(request.uri);
  const socket = query.get('socket');
  const isSession = path === '/session' && request.uid !== 0;
  if (socket !== null) {
    if (!socket.startsWith('/')) throw invalid(request.uri, `the socket '${socket}' is no absolute path`);
    return { path: socket, isSession: false };
  }
  const directory = isSession ? sessionDirectory(request.env) : '/run/libvirt';
  // A user's daemon has one socket; that only looking is wanted stands in the client's own messages.
  const suffix = request.readOnly && !isSession ? '-sock-ro' : '-sock';
  const modular = join(directory, `${daemons[driver]}${suffix}`);
  const legacy = join(directory, `libvirt${suffix}`);
  switch (query.get('mode') ?? 'auto') {
    case 'direct':
      return { path: modular, isSession };
    case 'legacy':
      return { path: legacy, isSession };
    case 'auto':
      return { path: existsSync(modular) ? modular : legacy, isSession };
    default:
      throw invalid(request.uri, `the mode '${query.get('mode')}' is none of auto, direct, legacy`);
  }
}

function parse(uri: string): { driver: string; path: string; query: URLSearchParams } {
  const [, driver = '', path = '', query = ''] =
    /^([a-z]+)(?:\+[a-z0-9]+)?:\/\/(?:[^/?]*)(\/[^?]*)?(?:\?(.*))?$/.exec(uri) ?? [];
  // The client sends no URI of its own when it has none: `remote:///` and the like.
  const known = driver === 'remote' ? 'qemu' : driver;
  if (daemons[known] === undefined) throw invalid(uri, `nothing is served for '${driver || uri}'`);
  return { driver: known, path, query: new URLSearchParams(query) };
}

/** virGetUserRuntimeDirectory: the runtime directory, else the cache. */
function sessionDirectory(env: LibvirtSocketRequest['env']): string {
  const absolute = (value: string | undefined) => (value?.startsWith('/') ? value : undefined);
  const runtime = absolute(env['XDG_RUNTIME_DIR']);
  if (runtime !== undefined) return join(runtime, 'libvirt');
  return join(absolute(env['XDG_CACHE_HOME']) ?? join(env['HOME'] || homedir(), '.cache'), 'libvirt');
}

function invalid(uri: string, reason: string): VirtError {
  return new VirtError('request.invalid', {
    wanted: `serve '${uri}'`,
    reason,
    hint: 'use a URI like qemu:///system or qemu:///session',
  });
}
