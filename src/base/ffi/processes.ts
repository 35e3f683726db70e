/** Processes: pidfds, children that ended, processor time, resource limits. */
import { check, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  syscall: lib.func('long syscall(long number, long a, long b, long c, long d)'),
  waitpid: lib.func('int waitpid(int pid, _Out_ int *status, int options)'),
  clockGettime: lib.func('int clock_gettime(int clock, uint8_t *time)'),
  prlimit: lib.func('int prlimit64(int pid, int resource, const uint8_t *limit, _Out_ uint8_t *old)'),
}));

// asm-generic/unistd.h: these numbers are the same on every architecture since Linux 5.x.
const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;

/** A descriptor for a process; readable when it has ended. */
export function pidfdOpen(pid: number): number {
  return check(`pidfd_open ${pid}`, Number(libc().syscall(SYS_pidfd_open, pid, 0, 0, 0)));
}

/** Sends a signal to exactly the process behind the pidfd, never to a later one with its pid. */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  check('pidfd_send_signal', Number(libc().syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0)));
}

/** How a child ended: exit code, or the number of the signal that ended it. */
export interface WaitStatus {
  readonly exitCode?: number;
  readonly signal?: number;
}

/** waitpid(pid, WNOHANG): the child's end, or undefined while it runs. Throws ECHILD when it is no child of ours. */
export function reapChild(pid: number): WaitStatus | undefined {
  const status = [0];
  const WNOHANG = 1;
  const result = check(`waitpid ${pid}`, libc().waitpid(pid, status, WNOHANG));
  if (result === 0) return undefined;
  // wait(2)'s encoding (linux: low 7 bits the signal, next byte the exit code).
  const raw = status[0] ?? 0;
  const signal = raw & 0x7f;
  return signal === 0 ? { exitCode: (raw >> 8) & 0xff } : { signal };
}

// struct timespec of the 64-bit architectures: seconds and nanoseconds, 8 bytes each.
const timespec = Buffer.alloc(16);

/**
 * Processor time of a process so far, all its threads together, in nanoseconds; undefined when it is gone. One system
 * call of a microsecond, where /proc/PID/stat takes five and sums up much that nobody asked for.
 */
export function processorTimeNs(pid: number): number | undefined {
  // The clock of another process: clock_getcpuclockid(3), linux/posix-timers.h (make_process_cpuclock, CPUCLOCK_SCHED).
  const clock = (~pid << 3) | 2;
  if (libc().clockGettime(clock, timespec) === -1) return undefined; // EINVAL: there is no such process
  return Number(timespec.readBigInt64LE(0)) * 1e9 + Number(timespec.readBigInt64LE(8));
}

/** Resources of prlimit(2) (asm-generic/resource.h, the same on x86 and arm64). */
const resources = { coreBytes: 4, openFiles: 7, lockedBytes: 8 } as const;
export type LimitedResource = keyof typeof resources;

/** A soft and a hard limit; without limit is 2^64 - 1. */
export interface ResourceLimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** prlimit(2): the limit of a process, 0 being this one. struct rlimit64 is two 64-bit numbers, soft and hard. */
export function getLimit(pid: number, resource: LimitedResource): ResourceLimit {
  const value = Buffer.alloc(16);
  check(`prlimit ${resource}`, libc().prlimit(pid, resources[resource], null, value));
  return { soft: value.readBigUInt64LE(0), hard: value.readBigUInt64LE(8) };
}

/** prlimit(2): sets the limit of a process, 0 being this one. */
export function setLimit(pid: number, resource: LimitedResource, limit: ResourceLimit): void {
  const value = Buffer.alloc(16);
  value.writeBigUInt64LE(limit.soft, 0);
  value.writeBigUInt64LE(limit.hard, 8);
  check(`prlimit ${resource}`, libc().prlimit(pid, resources[resource], value, null));
}
