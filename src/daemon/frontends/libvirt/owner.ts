/** Who listens on a socket: the kernel's list of unix sockets, and the process that holds one. */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';

/** What is known of a listener. */
export interface SocketOwner {
  readonly pid?: number;
  readonly program?: string;
}

/** Flag of a socket that was told to listen (__SO_ACCEPTCON, linux/net.h). */
const LISTENING = 0x10000;

/**
 * The process that listens at that path; undefined when the kernel of this network namespace knows of none. Nobody is
 * connected to: that would start a daemon that systemd keeps the socket for.
 */
export function socketOwner(path: string): SocketOwner | undefined {
  const inode = listeningInode(path);
  if (inode === undefined) return undefined;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || !holds(entry, `socket:[${inode}]`)) continue;
    return { pid: Number(entry), program: programOf(entry) };
  }
  return {};
}

/** /proc/net/unix: `Num RefCount Protocol Flags Type St Inode Path` (proc(5)). */
function listeningInode(path: string): string | undefined {
  const real = realPath(path);
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n').slice(1);
  for (const line of lines) {
    const fields = line.trim().split(/\s+/);
    const at = fields.slice(7).join(' ');
    if (at !== path && at !== real) continue;
    if ((Number.parseInt(fields[3] ?? '0', 16) & LISTENING) !== 0) return fields[6];
  }
  return undefined;
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // not there
  }
}

function holds(pid: string, link: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => targetOf(`/proc/${pid}/fd/${fd}`) === link);
  } catch {
    return false; // another user's process, or gone
  }
}

function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // closed meanwhile; the others are still to be seen
  }
}

function programOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'unknown'; // it has ended meanwhile
  }
}
