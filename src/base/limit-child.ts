/** The limits of a child that has just been started, set by whoever may: its parent as root, or a thread of its own user. */
import { errnoOf } from './errors.ts';
import { type LimitedResource, setLimit } from './ffi/processes.ts';

/** A limit for a child, soft and hard. */
export interface WantedLimit {
  readonly resource: LimitedResource;
  readonly limit: bigint;
}

/** Sets them as far as that is allowed. */
export function limitChild(pid: number, wanted: readonly WantedLimit[]): void {
  for (const { resource, limit } of wanted) {
    try {
      setLimit(pid, resource, { soft: limit, hard: limit });
    } catch (error) {
      // EPERM: the soft limit holds, which it inherited. ESRCH: it has ended already; whoever waits for it is told how.
      if (errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'ESRCH') throw error;
    }
  }
}
