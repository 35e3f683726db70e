/**
 * Credentials of the calling thread alone. To the kernel they belong to a thread; libc's setresuid and its like change
 * those of all threads (nptl(7)), so these are raw system calls. Only for a thread of its own (base/spawn-thread.ts).
 */
import { FfiError, lastError, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  prctl: lib.func(
    'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
  ),
  capset: lib.func('int capset(const uint8_t *header, const uint8_t *data)'),
  setIds: lib.func('long syscall(long number, long real, long effective, long saved)'),
  setGroups: lib.func('long syscall(long number, long count, const uint32_t *groups)'),
}));

/** Numbers of system calls: asm/unistd_64.h of x86, asm-generic/unistd.h for arm64. */
const numbersByArch: Readonly<Record<string, { setgroups: number; setresuid: number; setresgid: number }>> = {
  x64: { setgroups: 116, setresuid: 117, setresgid: 119 },
  arm64: { setgroups: 159, setresuid: 147, setresgid: 149 },
};

/** True where the numbers are known. */
export const canSwitchThread: boolean = numbersByArch[process.arch] !== undefined;

function numbers(): (typeof numbersByArch)[string] & object {
  const found = numbersByArch[process.arch];
  if (found === undefined) throw new Error(`system calls of ${process.arch} are not known`);
  return found;
}

function must(call: string, result: number): number {
  if (result === -1) throw lastError(call);
  return result;
}

// linux/prctl.h
const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;

// linux/capability.h
const CAP_SETGID = 6;
const CAP_SETUID = 7;
const CAPABILITY_VERSION_3 = 0x20080522;

/** For good: no program that this thread starts can gain privileges by executing another. */
export function setNoNewPrivileges(): void {
  must('prctl PR_SET_NO_NEW_PRIVS', libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/**
 * For good: this thread keeps the two capabilities that change ids, and passes none to what it starts: the bounding,
 * inheritable and ambient sets become empty.
 */
export function keepOnlyIdChanges(): void {
  must('prctl PR_CAP_AMBIENT', libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  dropBoundingSet();
  // struct __user_cap_header_struct: version, pid (0: this thread); then two of effective, permitted, inheritable.
  const header = Buffer.alloc(8);
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  const data = Buffer.alloc(24);
  const kept = 2 ** CAP_SETUID + 2 ** CAP_SETGID;
  data.writeUInt32LE(kept, 0);
  data.writeUInt32LE(kept, 4);
  must('capset', libc().capset(header, data));
}

/** Until the kernel knows no further capability (EINVAL); sixty-four is as many as its sets have bits. */
function dropBoundingSet(): void {
  for (let capability = 0; capability < 64; capability++) {
    if (libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) !== -1) continue;
    const error = lastError(`prctl PR_CAPBSET_DROP ${capability}`);
    if (error.code === 'EINVAL' && capability > CAP_SETUID) return;
    throw error;
  }
}

/** Ids and groups of a thread. */
export interface ThreadIdentity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/**
 * Does `work` as another user; the thread is root's again when this returns. A program executed meanwhile has that
 * user's ids only: its saved uid becomes the effective one (execve(2)). The saved uid here stays 0, so that the thread
 * gets back, and so that no process of that user may trace it (ptrace(2), access mode checking).
 */
export function asUser<T>(identity: ThreadIdentity, home: ThreadIdentity, work: () => T): T {
  if (identity.uid === 0) throw new Error('this is for users other than root');
  // The kernel takes the whole process for one that must not be looked into when a thread's ids change; it was before.
  const dumpable = libc().prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
  try {
    setGroupsAndGid(identity);
    setUids(identity.uid, identity.uid, 0);
    return work();
  } finally {
    goHome(home, dumpable);
  }
}

/** A thread that cannot get back must not go on: the plain error ends it. */
function goHome(home: ThreadIdentity, dumpable: number): void {
  try {
    setUids(0, 0, 0);
    setGroupsAndGid(home);
    must('prctl PR_SET_DUMPABLE', libc().prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0));
  } catch (cause) {
    throw new Error('a thread could not take its own ids again', { cause });
  }
}

function setGroupsAndGid({ gid, groups }: ThreadIdentity): void {
  must('setgroups', Number(libc().setGroups(numbers().setgroups, groups.length, Uint32Array.from(groups))));
  must('setresgid', Number(libc().setIds(numbers().setresgid, gid, gid, gid)));
}

function setUids(real: number, effective: number, saved: number): void {
  must('setresuid', Number(libc().setIds(numbers().setresuid, real, effective, saved)));
}

/** The same error in another thread: a class does not survive the way there. */
export function rebuildError({ call, errno }: { readonly call: string; readonly errno: number }): FfiError {
  return new FfiError(call, errno);
}
