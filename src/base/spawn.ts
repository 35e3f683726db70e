/**
 * Processes that outlive the daemon: started by posix_spawn in their own session, with exactly the descriptors and
 * environment given, with limits, and without privileges: by a thread that has none itself (base/spawner.ts), or dropped
 * by setpriv, which becomes the program, so that the pid stays the same. Tools that run and end go through base/exec.ts.
 */
import { closeSync, constants as fileFlags, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoOf, VirtError } from './errors.ts';
import { findProgram } from './exec.ts';
import {
  close,
  getLimit,
  type LimitedResource,
  pidfdOpen,
  pidfdSendSignal,
  posixSpawnAsync,
  type ResourceLimit,
  reapChild,
  type SpawnRequest,
  setLimit,
  type WaitStatus,
} from './ffi.ts';
import { limitChild, type WantedLimit } from './limit-child.ts';
import { spawner } from './spawner.ts';

/** The ids a process is to have. No capability is left to it, whatever the ids are. */
export interface ProcessIdentity {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups, the whole list. */
  readonly groups: readonly number[];
}

interface ProcessLimits {
  /** RLIMIT_CORE in bytes. */
  readonly coreBytes: number;
  /** RLIMIT_NOFILE, soft and hard; at most our own hard limit. */
  readonly openFiles: number;
  /**
   * RLIMIT_MEMLOCK in bytes, soft and hard; ours when left out. Above our own hard limit it needs CAP_SYS_RESOURCE,
   * without which it is that one.
   */
  readonly lockedBytes?: number;
}

export interface DetachedRequest {
  /** Absolute path of the program. */
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Working directory, entered before any privilege is dropped. */
  readonly directory: string;
  /** Entry N becomes the child's descriptor N; everything else is closed. The caller keeps its own copies. */
  readonly descriptors: readonly number[];
  /** Undefined: keep the ids and capabilities of this process. */
  readonly identity?: ProcessIdentity;
  readonly limits: ProcessLimits;
  /** False only for helpers that must switch ids by themselves. */
  readonly noNewPrivileges?: boolean;
  /**
   * True when no process has the identity's uid. Only then may a thread of ours take it: a process of the same user
   * could send that thread a signal, which ends us.
   */
  readonly isUidUnused?: boolean;
}

/** A pid together with its start time names one process for good. */
export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, in clock ticks since boot. */
  readonly startTimeTicks: string;
}

export interface DetachedProcess extends ProcessId {
  /** Settles when the process has ended and is reaped. Never rejects. */
  readonly ended: Promise<WaitStatus>;
}

/**
 * Starts a process in a session of its own.
 * @throws VirtError program.missing when setpriv (util-linux) is not installed, program.failed when the kernel refuses
 * the spawn.
 */
export async function spawnDetached(request: DetachedRequest): Promise<DetachedProcess> {
  listenForChildren();
  let pid: number;
  try {
    pid = await (byThread(request) ? spawnByThread(request) : spawnBySetpriv(request));
  } catch (cause) {
    if (cause instanceof VirtError) throw cause;
    throw new VirtError('program.failed', {
      wanted: `start ${request.file}`,
      reason: `posix_spawn: ${errnoOf(cause) ?? String(cause)}`,
      details: { file: request.file },
      cause,
    });
  }
  // Only we reap it, and not before it is tracked: even a child that has ended already is still a zombie here.
  return { pid, startTimeTicks: processStartTime(pid) ?? '0', ended: trackChild(pid) };
}

/** True when our thread can start it: without privileges, and with ids that are its own or already ours. */
function byThread({ identity, isUidUnused, noNewPrivileges, limits }: DetachedRequest): boolean {
  // Locked memory is limited by a program in between (launcherArgs).
  if (noNewPrivileges === false || limits.lockedBytes !== undefined) return false;
  // As root without an identity it is to keep root's capabilities, of which the thread has none.
  const isFit =
    identity === undefined ? process.geteuid?.() !== 0 : isUidUnused === true && identity.uid !== 0;
  return isFit && spawner.isAvailable;
}

async function spawnByThread(request: DetachedRequest): Promise<number> {
  const { file, args, identity, limits } = request;
  // Opened by us: the child's user may be kept out of the directories above.
  const directory = openSync(request.directory, fileFlags.O_RDONLY | fileFlags.O_DIRECTORY);
  try {
    const whole = { ...spawnRequest(request, [file, ...args]), directory };
    return await limited(limits, whole, (wanted) => spawner.spawn(whole, identity, wanted));
  } finally {
    closeSync(directory);
  }
}

async function spawnBySetpriv(request: DetachedRequest): Promise<number> {
  const { file, args, limits } = request;
  const whole = spawnRequest(request, [...(await launcherArgs(request)), file, ...args]);
  return limited(limits, whole, async (wanted) => {
    const pid = await posixSpawnAsync(whole);
    limitChild(pid, wanted);
    return pid;
  });
}

function spawnRequest(request: DetachedRequest, argv: readonly string[]): SpawnRequest {
  const { directory, descriptors, file } = request;
  const environment = Object.entries(request.environment).map(([name, value]) => `${name}=${value}`);
  return { file: argv[0] ?? file, argv, environment, directory, descriptors, newSession: true };
}

/** So many descriptors must be left below a soft limit that is lowered while others open files. */
const SPARE_DESCRIPTORS = 1024;

/** Our own soft limits while children are being started: how many, and what is put back after the last. */
const lowered: { spawns: number; before: { resource: LimitedResource; limit: ResourceLimit }[] } = {
  spawns: 0,
  before: [],
};

/**
 * Starts a child with limits: it inherits our soft ones, which are lowered until it is there (all starts at the same
 * time share those of the first); then `spawn` sets its own, soft and hard, before it returns: QEMU is stopped (-S) for
 * long after. That last step needs CAP_SYS_RESOURCE once the child has another uid, or a thread of that uid; where there
 * is neither (containers, and setpriv was quicker) only the soft limits hold. The program prlimit would cost each start
 * two milliseconds.
 */
async function limited(
  limits: ProcessLimits,
  request: SpawnRequest,
  spawn: (wanted: readonly WantedLimit[]) => Promise<number>,
): Promise<number> {
  const wanted = [limitFor('coreBytes', limits.coreBytes), limitFor('openFiles', limits.openFiles)];
  lowerOurs(wanted, Math.max(...request.descriptors));
  try {
    return await spawn(wanted);
  } finally {
    restoreOurs();
  }
}

/** A limit for a child, at most our own hard one. */
function limitFor(resource: LimitedResource, wanted: number): WantedLimit {
  const { hard } = getLimit(0, resource);
  return { resource, limit: BigInt(wanted) < hard ? BigInt(wanted) : hard };
}

function lowerOurs(wanted: readonly WantedLimit[], newestDescriptor: number): void {
  lowered.spawns += 1;
  if (lowered.spawns > 1) return;
  for (const { resource, limit } of wanted) {
    // The newest descriptors have about the highest numbers: with that many open, our own limit must stay.
    if (resource === 'openFiles' && limit < BigInt(newestDescriptor + SPARE_DESCRIPTORS)) continue;
    const before = getLimit(0, resource);
    lowered.before.push({ resource, limit: before });
    setLimit(0, resource, { soft: limit, hard: before.hard });
  }
}

function restoreOurs(): void {
  lowered.spawns -= 1;
  if (lowered.spawns > 0) return;
  for (const { resource, limit } of lowered.before.splice(0)) setLimit(0, resource, limit);
}

/** The part of argv before the program: setpriv drops ids and capabilities. */
async function launcherArgs(request: DetachedRequest): Promise<string[]> {
  const words = identityArgs(request.identity);
  if (request.noNewPrivileges !== false) words.push('--no-new-privs');
  const setpriv = words.length === 0 ? [] : [await needProgram('setpriv'), ...words, '--'];
  const { lockedBytes } = request.limits;
  if (lockedBytes === undefined) return setpriv;
  // It must hold from the first instruction on, and may be above our own: that no inheriting can do.
  const { limit } = mayRaiseLimits() ? { limit: BigInt(lockedBytes) } : limitFor('lockedBytes', lockedBytes);
  return [await needProgram('prlimit'), `--memlock=${limit}:${limit}`, ...setpriv];
}

/** CAP_SYS_RESOURCE (linux/capability.h: 24) among our effective capabilities. */
function mayRaiseLimits(): boolean {
  const mask = /^CapEff:\s+([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  return ((BigInt(`0x${mask}`) >> 24n) & 1n) === 1n;
}

/** The words for setpriv(1) that give a process its ids and take all capabilities. */
export function identityArgs(identity: ProcessIdentity | undefined): string[] {
  if (identity === undefined) return [];
  const groups = identity.groups.length === 0 ? '--clear-groups' : `--groups=${identity.groups.join(',')}`;
  return [
    // The sign keeps systemd's user database from looking for somebody of that name, which takes a millisecond.
    `--reuid=+${identity.uid}`,
    `--regid=+${identity.gid}`,
    groups,
    '--inh-caps=-all',
    '--ambient-caps=-all',
    '--bounding-set=-all',
  ];
}

// Where the launchers are: they don't move while the daemon runs, and looking costs more than spawning.
const launchers = new Map<string, string>();

async function needProgram(name: string): Promise<string> {
  const path = launchers.get(name) ?? (await findProgram(name));
  if (path !== undefined) {
    launchers.set(name, path);
    return path;
  }
  throw new VirtError('program.missing', {
    wanted: 'start a guest',
    reason: `${name} is not installed`,
    hint: 'install util-linux',
  });
}

// Children of ours by pid. libuv reaps only the children it started itself (waitpid by pid), we only these.
const children = new Map<number, (status: WaitStatus) => void>();
let isListening = false;

function listenForChildren(): void {
  if (isListening) return;
  isListening = true;
  process.on('SIGCHLD', reapChildren);
}

/** SIGCHLD signals merge, so each one means: look at all of them. */
function reapChildren(): void {
  for (const [pid, settle] of children) {
    const status = reapOne(pid);
    if (status === undefined) continue;
    children.delete(pid);
    settle(status);
  }
}

function reapOne(pid: number): WaitStatus | undefined {
  try {
    return reapChild(pid);
  } catch (error) {
    // ECHILD: somebody else reaped it (SIGCHLD ignored, or a test): it is gone, its status lost.
    if (errnoOf(error) === 'ECHILD') return {};
    throw error;
  }
}

function trackChild(pid: number): Promise<WaitStatus> {
  return new Promise((resolve) => {
    children.set(pid, resolve);
    // Its SIGCHLD may have come before we knew the pid.
    reapChildren();
  });
}

/** The name of a signal number (`SIGKILL`). */
export function signalName(signal: number): string {
  return Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;
}

interface ProcessStat {
  readonly state: string;
  readonly startTimeTicks: string;
}

/**
 * /proc/PID/stat (proc(5)). The command in parentheses may hold anything, so fields count from the last ')'. Read at
 * once and synchronously: procfs never waits for a disk, and the answer must not age across an await.
 */
function readStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    // ENOENT: no such process; ESRCH: it ended between open and read.
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ESRCH') return undefined;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  // After the command: field 3 is the state, field 22 the start time.
  const [state, startTimeTicks] = [fields[0], fields[19]];
  return state === undefined || startTimeTicks === undefined ? undefined : { state, startTimeTicks };
}

/** When a process started (field 22 of its stat), or undefined when there is none with that pid. */
export function processStartTime(pid: number): string | undefined {
  return isPid(pid) ? readStat(pid)?.startTimeTicks : undefined;
}

/** True while exactly that process runs. A zombie has ended: some pid 1 take seconds to reap. */
export function isSameProcess(id: ProcessId): boolean {
  if (!isPid(id.pid)) return false;
  const stat = readStat(id.pid);
  return stat !== undefined && stat.startTimeTicks === id.startTimeTicks && !'ZX'.includes(stat.state);
}

/** True while a signal (SIGSTOP) or a debugger holds that process: it runs, but does nothing and answers nobody. */
export function isHeld(id: ProcessId): boolean {
  const stat = isPid(id.pid) ? readStat(id.pid) : undefined;
  return stat?.startTimeTicks === id.startTimeTicks && 'Tt'.includes(stat.state);
}

/** A pid that can be a process of ours: never 0, 1 or negative (kill(2) gives those a meaning of their own). */
function isPid(pid: number): boolean {
  return Number.isInteger(pid) && pid > 1 && pid < 2 ** 31;
}

/**
 * Sends a signal to exactly that process; false when it has ended. The pidfd is opened before the start time is
 * compared, so the signal cannot reach a later process with the same pid.
 */
export function killProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isPid(id.pid)) return false;
  let pidfd: number;
  try {
    pidfd = pidfdOpen(id.pid);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
  try {
    if (!isSameProcess(id)) return false;
    pidfdSendSignal(pidfd, constants.signals[signal]);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  } finally {
    close(pidfd);
  }
}
