/** posix_spawn(3): starting programs off this process's big heap. */
import { duplicateAbove } from './files.ts';
import { FfiError, koffi, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  spawn: lib.func(
    'int posix_spawn(_Out_ int *pid, const char *path, const void *actions, const void *attributes, const char **argv, const char **envp)',
  ),
  close: lib.func('int close(int fd)'),
  actionsInit: lib.func('int posix_spawn_file_actions_init(void *actions)'),
  actionsDestroy: lib.func('int posix_spawn_file_actions_destroy(void *actions)'),
  actionsAddDup2: lib.func('int posix_spawn_file_actions_adddup2(void *actions, int from, int to)'),
  actionsAddCloseFrom: lib.func('int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)'),
  actionsAddFchdir: lib.func('int posix_spawn_file_actions_addfchdir_np(void *actions, int fd)'),
  actionsAddChdir: lib.func('int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)'),
  attrInit: lib.func('int posix_spawnattr_init(void *attributes)'),
  attrDestroy: lib.func('int posix_spawnattr_destroy(void *attributes)'),
  attrSetFlags: lib.func('int posix_spawnattr_setflags(void *attributes, short flags)'),
  attrSetSigmask: lib.func('int posix_spawnattr_setsigmask(void *attributes, const void *mask)'),
  attrSetSigdefault: lib.func('int posix_spawnattr_setsigdefault(void *attributes, const void *mask)'),
}));

export interface SpawnRequest {
  /** Absolute path of the program. */
  readonly file: string;
  /** argv with argv[0]. */
  readonly argv: readonly string[];
  /** The whole environment, `NAME=value`. */
  readonly environment: readonly string[];
  /** Working directory of the child: a path, or a descriptor where the child may not go the whole way. */
  readonly directory: string | number;
  /** The child's descriptors, from 0 up without gaps: entry N becomes descriptor N; all others are closed. */
  readonly descriptors: readonly number[];
  /** Start a new session (and so a new process group without a terminal). */
  readonly newSession: boolean;
}

const POSIX_SPAWN_SETSIGDEF = 0x04; // spawn.h of glibc
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;

/**
 * posix_spawn(3): starts a program without copying this process's page tables, and returns its pid. All signals get
 * their default action and none is blocked (Node ignores SIGPIPE, which a child would inherit).
 */
export function posixSpawn(request: SpawnRequest): number {
  const prepared = prepareSpawn(request);
  try {
    return prepared.pidOf(libc().spawn(...prepared.args));
  } finally {
    prepared.release();
  }
}

/**
 * As posixSpawn, on a thread of libuv's pool: the caller of posix_spawn sleeps until its child has executed the program
 * (vfork(2)), and on a busy host that takes ten milliseconds and more. The descriptors may be closed when it is done.
 */
export async function posixSpawnAsync(request: SpawnRequest): Promise<number> {
  const prepared = prepareSpawn(request);
  try {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    libc().spawn.async(...prepared.args, (error: unknown, result: number) => {
      if (error) reject(new Error('posix_spawn could not be called', { cause: error }));
      else resolve(result);
    });
    return prepared.pidOf(await promise);
  } finally {
    prepared.release();
  }
}

interface PreparedSpawn {
  /** Of the libc function. */
  readonly args: readonly unknown[];
  /** The pid, when that was the function's result. */
  pidOf(result: number): number;
  release(): void;
}

/** The posix_spawn family returns the errno itself. */
function must(call: string, error: number): void {
  if (error !== 0) throw new FfiError(call, error);
}

function prepareSpawn(request: SpawnRequest): PreparedSpawn {
  // glibc (x86-64, arm64): posix_spawn_file_actions_t is 80 bytes, posix_spawnattr_t 336, sigset_t 128; 512 covers each.
  const actions = koffi().alloc('uint8_t', 512) as unknown;
  const attributes = koffi().alloc('uint8_t', 512) as unknown;
  const raised: number[] = [];
  const api = libc();
  const release = (): void => {
    for (const fd of raised) api.close(fd);
    api.actionsDestroy(actions);
    api.attrDestroy(attributes);
    koffi().free(actions);
    koffi().free(attributes);
  };
  must('posix_spawn_file_actions_init', api.actionsInit(actions));
  must('posix_spawnattr_init', api.attrInit(attributes));
  try {
    const { directory } = request;
    if (typeof directory === 'number') must('addfchdir', api.actionsAddFchdir(actions, directory));
    // Sources are moved above all targets first, so that no dup2 overwrites a later source.
    for (const fd of request.descriptors) raised.push(duplicateAbove(fd, request.descriptors.length));
    raised.forEach((fd, target) => must('adddup2', api.actionsAddDup2(actions, fd, target)));
    must('addclosefrom', api.actionsAddCloseFrom(actions, raised.length));
    if (typeof directory === 'string') must('addchdir', api.actionsAddChdir(actions, directory));
    must('setsigmask', api.attrSetSigmask(attributes, Buffer.alloc(128)));
    must('setsigdefault', api.attrSetSigdefault(attributes, Buffer.alloc(128, 0xff)));
    const session = request.newSession ? POSIX_SPAWN_SETSID : 0;
    must('setflags', api.attrSetFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | session));
  } catch (error) {
    release();
    throw error;
  }
  const pid = [0];
  const argv = [...request.argv, null];
  const environment = [...request.environment, null];
  return {
    args: [pid, request.file, actions, attributes, argv, environment],
    pidOf: (result) => {
      must(`posix_spawn ${request.file}`, result);
      return pid[0] ?? 0;
    },
    release,
  };
}
