/** Who may open a device node, and what is missing for this process: groups of the node, the user and the process. */
import type { HostFiles, NodeStat } from './host-files.ts';

/** The identity of a process, as far as it decides on opening files. */
export interface ProcessIdentity {
  readonly uid: number;
  /** Effective and supplementary group ids. */
  readonly gids: readonly number[];
}

/** This process. */
export function currentIdentity(): ProcessIdentity {
  const gid = process.getegid?.();
  return {
    uid: process.geteuid?.() ?? 0,
    gids: [...(gid === undefined ? [] : [gid]), ...(process.getgroups?.() ?? [])],
  };
}

/** The group that a node gives reading and writing to, and how this process stands to it. */
export interface NodeAccess {
  /** Name of the node's group, or its number when it has none; undefined when the group may not read and write. */
  readonly group: string | undefined;
  /** The user database has the user in the group. */
  readonly userIsMember: boolean;
  /** The process has the group; after a usermod only processes of a new login have it. */
  readonly processIsMember: boolean;
  /** Name of the process's user, or its number. */
  readonly user: string;
}

/** Explains access to `node` for `identity`, by /etc/passwd and /etc/group. */
export function explainAccess(files: HostFiles, node: NodeStat, identity: ProcessIdentity): NodeAccess {
  const groupRow = rows(files, '/etc/group').find((row) => Number(row[2]) === node.gid);
  const userRow = rows(files, '/etc/passwd').find((row) => Number(row[2]) === identity.uid);
  const user = userRow?.[0] ?? String(identity.uid);
  const groupMayUse = (node.mode & 0o060) === 0o060;
  return {
    group: groupMayUse && node.gid !== 0 ? (groupRow?.[0] ?? String(node.gid)) : undefined,
    userIsMember: (groupRow?.[3]?.split(',').includes(user) ?? false) || Number(userRow?.[3]) === node.gid,
    processIsMember: identity.gids.includes(node.gid),
    user,
  };
}

/** Rows of a passwd-like file, split at the colons. */
function rows(files: HostFiles, path: string): string[][] {
  return (files.read(path) ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':'));
}
