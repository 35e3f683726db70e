/** Counters of the kernel for one thread: perf_event_open(2). */
import { readSync } from 'node:fs';
import { FfiError, koffi, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  open: lib.func(
    'long syscall(long number, const uint8_t *attr, long pid, long cpu, long group, long flags)',
  ),
}));

/** __NR_perf_event_open (asm/unistd_64.h, asm-generic/unistd.h). */
const SYS_perf_event_open = process.arch === 'x64' ? 298 : 241;
/** PERF_ATTR_SIZE_VER0, which every kernel takes (linux/perf_event.h). */
const ATTR_BYTES = 64;
const FORMAT_TOTAL_TIMES = 0x1 | 0x2; // PERF_FORMAT_TOTAL_TIME_ENABLED | _RUNNING
const FLAG_INHERIT = 2n; // attr.inherit: threads that it starts later count, too
const PERF_FLAG_FD_CLOEXEC = 8;

/** What is counted (linux/perf_event.h): `type` is PERF_TYPE_*, `config` the event of that type. */
export interface PerfEvent {
  readonly type: number;
  readonly config: number;
}

/**
 * Begins to count an event of a thread, and of those that it starts from then on; the descriptor is the caller's.
 * @throws FfiError ENOENT, EOPNOTSUPP, ENODEV for what this processor does not count; EACCES, EPERM; ESRCH; EMFILE
 */
export function openCounter(thread: number, { type, config }: PerfEvent): number {
  const attr = Buffer.alloc(ATTR_BYTES);
  attr.writeUInt32LE(type, 0);
  attr.writeUInt32LE(ATTR_BYTES, 4);
  attr.writeBigUInt64LE(BigInt(config), 8);
  attr.writeBigUInt64LE(BigInt(FORMAT_TOTAL_TIMES), 32); // read_format
  attr.writeBigUInt64LE(FLAG_INHERIT, 40);
  const fd = Number(libc().open(SYS_perf_event_open, attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC));
  if (fd === -1) throw new FfiError('perf_event_open', koffi().errno());
  return fd;
}

/** How often it has happened. Where the processor had to share its counters, as much as that makes of all the time. */
export function readCounter(fd: number): number {
  const bytes = Buffer.alloc(24);
  if (readSync(fd, bytes, 0, bytes.length, null) < bytes.length) return 0;
  const [value, enabled, running] = [0, 8, 16].map((at) => Number(bytes.readBigUInt64LE(at)));
  if (value === undefined || !enabled || !running) return 0;
  return running < enabled ? Math.round(value * (enabled / running)) : value;
}
