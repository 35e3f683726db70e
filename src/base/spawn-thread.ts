/**
 * The thread that starts guests (a worker of base/spawner.ts). Dropping privileges needs a program in between (setpriv)
 * or a thread that has none itself: this one can gain no privileges, has no capability but to change its ids, and has
 * the guest's ids while it starts one.
 */
import { parentPort } from 'node:worker_threads';
import { asUser, keepOnlyIdChanges, setNoNewPrivileges, type ThreadIdentity } from './ffi/credentials.ts';
import { FfiError } from './ffi/libc.ts';
import { posixSpawn, type SpawnRequest } from './ffi/spawn.ts';
import { limitChild, type WantedLimit } from './limit-child.ts';

export interface ThreadRequest {
  readonly id: number;
  readonly request: SpawnRequest;
  readonly identity: ThreadIdentity | undefined;
  readonly limits: readonly WantedLimit[];
}

export type ThreadAnswer =
  | 'ready'
  | { readonly id: number; readonly pid: number }
  | { readonly id: number; readonly call: string; readonly errno: number };

const isRoot = process.geteuid?.() === 0;
/** The process's own, which Node tells before anything was changed. */
const home: ThreadIdentity = { uid: 0, gid: process.getegid?.() ?? 0, groups: process.getgroups?.() ?? [] };

function answerTo({ id, request, identity, limits }: ThreadRequest): ThreadAnswer {
  const start = (): number => {
    const pid = posixSpawn(request);
    // Here: prlimit(2) asks for the caller's real ids to be those of the other process, else for CAP_SYS_RESOURCE.
    limitChild(pid, limits);
    return pid;
  };
  try {
    return { id, pid: identity === undefined ? start() : asUser(identity, home, start) };
  } catch (error) {
    // Anything else is a bug: it ends the thread, and whoever waits is told.
    if (error instanceof FfiError) return { id, call: error.call, errno: error.errno };
    throw error;
  }
}

function tell(answer: ThreadAnswer): void {
  // A thread's port, no browser's window, so there is no origin.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  parentPort?.postMessage(answer);
}

setNoNewPrivileges();
if (isRoot) keepOnlyIdChanges();
parentPort?.on('message', (request: ThreadRequest) => tell(answerTo(request)));
tell('ready');
