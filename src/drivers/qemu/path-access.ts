/**
 * Why a file cannot be opened: the first directory on the way, or the file itself, that keeps the daemon out, and the
 * command that lets it in. QEMU opens no image by itself, so the rights that count are the daemon's: those of root, of the
 * user of a session, or of nobody where an NFS server trusts no root.
 */
import { constants, type Stats } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { errnoOf, VirtError } from '../../base/errors.ts';

type Who = 'owner' | 'group' | 'others';

/** Letters of chmod(1). */
const letters = { owner: 'u', group: 'g', others: 'o' } as const;

const NFS_MAGIC = 0x6969; // linux/magic.h

const denied = (error: unknown): boolean => ['EACCES', 'EPERM'].includes(errnoOf(error) ?? '');

/** The error for a path that could not be opened for lack of rights; undefined when nothing stands in the way any more. */
export async function deniedError(
  path: string,
  isWritten: boolean,
  wanted: string,
  cause: unknown,
): Promise<VirtError | undefined> {
  const steps = path.split('/').filter((step) => step !== '');
  for (let count = 0; count < steps.length; count++) {
    const directory = `/${steps.slice(0, count).join('/')}`;
    if (!(await mayNot(directory, constants.X_OK))) continue;
    return refused({
      path,
      at: directory,
      rights: 'x',
      what: 'may not pass through the directory',
      wanted,
      cause,
    });
  }
  const mode = constants.R_OK | (isWritten ? constants.W_OK : 0);
  if (!(await mayNot(path, mode))) return undefined;
  const verb = isWritten ? 'may not read and write' : 'may not read';
  return refused({ path, at: path, rights: isWritten ? 'rw' : 'r', what: verb, wanted, cause });
}

async function mayNot(path: string, mode: number): Promise<boolean> {
  try {
    await access(path, mode);
    return false;
  } catch (error) {
    return denied(error);
  }
}

interface Refusal {
  readonly path: string;
  /** What keeps us out. */
  readonly at: string;
  readonly rights: 'x' | 'r' | 'rw';
  readonly what: string;
  readonly wanted: string;
  readonly cause: unknown;
}

async function refused({ path, at, rights, what, wanted, cause }: Refusal): Promise<VirtError> {
  const uid = process.geteuid?.() ?? 0;
  const stats = await stat(at).catch(() => undefined); // Its parent lets us through, but some servers tell nothing.
  const isRemote = uid === 0 && (await isNfs(at));
  const who = isRemote ? 'others' : stats === undefined ? 'others' : classOf(stats, uid);
  const shown = stats === undefined ? '' : ` (owner ${stats.uid}:${stats.gid}, mode ${octal(stats)})`;
  const squash = isRemote ? ', since its NFS server trusts no root (root_squash)' : '';
  return new VirtError('file.denied', {
    wanted,
    reason: `${path}: the daemon (uid ${uid}) ${what} ${at}${shown}${squash}`,
    hint: `chmod ${letters[who]}+${rights} '${at.replaceAll("'", "'\\''")}'`,
    details: { path, component: at, rights },
    cause,
  });
}

const octal = ({ mode }: Stats): string => (mode & 0o7777).toString(8).padStart(4, '0');

/** Which of the three sets of rights counts for us (path_resolution(7)). */
function classOf({ uid, gid }: Stats, ours: number): Who {
  if (uid === ours) return 'owner';
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])];
  return groups.includes(gid) ? 'group' : 'others';
}

async function isNfs(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NFS_MAGIC;
  } catch {
    return false; // Only a better explanation is lost.
  }
}
