/** Which processors of the host a thread may run on, and how it is scheduled. */
import { check, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  setAffinity: lib.func('int sched_setaffinity(int tid, size_t bytes, const uint8_t *mask)'),
  setScheduler: lib.func('int sched_setscheduler(int tid, int policy, const uint8_t *param)'),
}));

/** sched_setaffinity(2): the mask is a bit a processor in longs of the host; as bytes that is the same on little endian. */
export function setAffinity(tid: number, cpus: readonly number[]): void {
  const bytes = Buffer.alloc(8 * (1 + Math.floor(Math.max(0, ...cpus) / 64)));
  for (const cpu of cpus) bytes[cpu >> 3] = (bytes[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  check(`sched_setaffinity ${tid}`, libc().setAffinity(tid, bytes.length, bytes));
}

/** Policies of sched(7) (include/uapi/linux/sched.h). */
const policies = { other: 0, fifo: 1, rr: 2, batch: 3, idle: 5 } as const;
export type SchedulerPolicy = keyof typeof policies;

/** sched_setscheduler(2); struct sched_param is one int. `priority` is 1 to 99 for fifo and rr, 0 for the others. */
export function setScheduler(tid: number, policy: SchedulerPolicy, priority: number): void {
  const param = Buffer.alloc(4);
  param.writeInt32LE(priority);
  check(`sched_setscheduler ${tid}`, libc().setScheduler(tid, policies[policy], param));
}
