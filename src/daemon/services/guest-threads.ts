/** The threads of a running guest by what they do, as QEMU tells them, and what threads get that come later. */
import type { LiveGuest } from '../../drivers/driver.ts';
import { limitsThreads, threadLimitsOf } from '../../drivers/host-tuning/thread-groups.ts';
import { type GuestThreads, pinOf } from '../../drivers/host-tuning/threads.ts';
import { formatCpuset } from '../../model/domain/cpuset.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { allowedCpus } from './process-times.ts';
import type { DomainWorld } from './world.ts';

const SAMPLE_MS = 5000;

/** @throws VirtError qmp.* */
export async function threadsOf(guest: LiveGuest): Promise<GuestThreads> {
  const { cpus = [], iothreads = [] } = await guest.tuning.sample(['cpus', 'iothreads'], SAMPLE_MS);
  return { pid: guest.record.pid, vcpus: cpus, iothreads };
}

/** A new thread has the processors of QEMU's main thread; where that is pinned, it gets all that we may use instead. */
export function inheritedPlaces(definition: DomainDef): string | undefined {
  if (pinOf(definition, 'emulator') === undefined) return undefined;
  return formatCpuset(allowedCpus(process.pid, process.pid) ?? [0]);
}

/** Threads that came get the limits that the definition has for their kind. @throws VirtError system.call, qmp.* */
export async function limitNewThreads({ groups }: DomainWorld, guest: LiveGuest): Promise<void> {
  const { definition } = guest;
  if (groups === undefined || !limitsThreads(definition)) return;
  await groups.limitThreads(await threadsOf(guest), definition.uuid ?? '', threadLimitsOf(definition));
}
