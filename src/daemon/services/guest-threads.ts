/** The threads of a running guest by what they do, as QEMU tells them. */
import type { LiveGuest } from '../../drivers/driver.ts';
import type { GuestThreads } from '../../drivers/host-tuning/threads.ts';

const SAMPLE_MS = 5000;

/** @throws VirtError qmp.* */
export async function threadsOf(guest: LiveGuest): Promise<GuestThreads> {
  const { cpus = [], iothreads = [] } = await guest.tuning.sample(['cpus', 'iothreads'], SAMPLE_MS);
  return { pid: guest.record.pid, vcpus: cpus, iothreads };
}
