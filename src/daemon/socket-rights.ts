/** Who may connect to the daemon's sockets. */
import type { DaemonConfig } from './config.ts';
import type { DaemonPaths } from './paths.ts';
import { socketGroup } from './users.ts';

/** Mode and group of a socket; without a group it stays that of the daemon. */
export interface SocketRights {
  readonly mode: number;
  readonly gid?: number;
}

/** In system mode the group, in a session the user. */
export function socketRights(paths: DaemonPaths, config: DaemonConfig): SocketRights {
  if (paths.mode === 'session') return { mode: 0o600 };
  const gid = socketGroup(config.daemon.socket_group);
  // Without such a group only root may connect.
  return gid === undefined ? { mode: 0o600 } : { mode: 0o660, gid };
}
