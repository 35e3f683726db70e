/** Limits of single threads of a guest, by <cputune>: what each thread's own control group gets. Pure. */
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestThreads } from './threads.ts';
import { emulatorThreads } from './threads.ts';

/** Microseconds of processor time in each period; a quota below zero is no limit. */
export interface Bandwidth {
  readonly periodUs?: number | undefined;
  readonly quotaUs?: number | undefined;
}

export interface ThreadLimits {
  /** Of each virtual CPU by itself. */
  readonly vcpu?: Bandwidth;
  /** Of all other threads of QEMU together. */
  readonly emulator?: Bandwidth;
  /** Of each IO thread by itself. */
  readonly iothread?: Bandwidth;
}

/** One group below the guest's own. */
export interface ThreadGroup {
  /** Its directory's name, as libvirt has it: `vcpu0`, `emulator`, `iothread1`. */
  readonly name: string;
  /** The element of the definition that asks for it. */
  readonly path: string;
  readonly threads: readonly number[];
  readonly bandwidth: Bandwidth;
}

/** libvirt's 0 says nothing: it is what a limit that was never set is shown as. */
const orNone = (value: number | undefined) => (value === 0 ? undefined : value);

function bandwidth(periodUs: number | undefined, quotaUs: number | undefined): Bandwidth | undefined {
  const [period, quota] = [orNone(periodUs), orNone(quotaUs)];
  return period === undefined && quota === undefined ? undefined : { periodUs: period, quotaUs: quota };
}

/** What a definition asks for; empty when it limits no thread. */
export function threadLimitsOf({ cputune }: DomainDef): ThreadLimits {
  const vcpu = bandwidth(cputune?.periodUs, cputune?.quotaUs);
  const emulator = bandwidth(cputune?.emulatorPeriodUs, cputune?.emulatorQuotaUs);
  const iothread = bandwidth(cputune?.iothreadPeriodUs, cputune?.iothreadQuotaUs);
  return { ...(vcpu && { vcpu }), ...(emulator && { emulator }), ...(iothread && { iothread }) };
}

export const limitsThreads = (definition: DomainDef): boolean =>
  Object.keys(threadLimitsOf(definition)).length > 0;

/** The groups that these limits mean for the threads of a guest. */
export function threadGroups(limits: ThreadLimits, threads: GuestThreads): ThreadGroup[] {
  const { vcpu, emulator, iothread } = limits;
  const all: ThreadGroup[] = [];
  if (vcpu !== undefined)
    for (const { index, threadId } of threads.vcpus)
      all.push({ name: `vcpu${index}`, path: 'cputune.quota', threads: [threadId], bandwidth: vcpu });
  if (iothread !== undefined)
    for (const { id, threadId } of threads.iothreads)
      all.push({
        name: `iothread${id}`,
        path: 'cputune.iothread_quota',
        threads: [threadId],
        bandwidth: iothread,
      });
  if (emulator !== undefined)
    all.push({
      name: 'emulator',
      path: 'cputune.emulator_quota',
      threads: emulatorThreads(threads),
      bandwidth: emulator,
    });
  return all;
}
