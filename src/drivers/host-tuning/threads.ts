/** Which processors the threads of a guest may run on, and how they are scheduled: <cputune>'s pins and schedulers. */
import { readdirSync } from 'node:fs';
import { errnoOf, reasonOf, VirtError } from '../../base/errors.ts';
import { setAffinity, setScheduler } from '../../base/ffi.ts';
import { cpusetMembers } from '../../model/domain/cpuset.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/** Threads of a guest by what they do. */
export interface GuestThreads {
  readonly pid: number;
  readonly vcpus: readonly { readonly index: number; readonly threadId: number }[];
  readonly iothreads: readonly { readonly id: number; readonly threadId: number }[];
}

/** All other threads of QEMU: what libvirt calls the emulator. */
export function emulatorThreads({ pid, vcpus, iothreads }: GuestThreads): number[] {
  const others = new Set([...vcpus, ...iothreads].map(({ threadId }) => threadId));
  return readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .filter((thread) => !others.has(thread));
}

/** The processors of a thread of the definition: its own pin, else <vcpu cpuset>. Undefined: any. */
export function pinOf(
  { cputune, vcpu }: DomainDef,
  what: { readonly vcpu: number } | { readonly iothread: number } | 'emulator',
): string | undefined {
  if (what === 'emulator') return cputune?.emulatorpin ?? vcpu.cpuset;
  if ('vcpu' in what) return cputune?.vcpupins.find((pin) => pin.vcpu === what.vcpu)?.cpuset ?? vcpu.cpuset;
  return cputune?.iothreadpins.find((pin) => pin.iothread === what.iothread)?.cpuset ?? vcpu.cpuset;
}

/** True when a definition says anything of the threads. */
export function tunesThreads({ cputune, vcpu }: DomainDef): boolean {
  if (vcpu.cpuset !== undefined) return true;
  if (cputune === undefined) return false;
  const { vcpupins, emulatorpin, iothreadpins, vcpuscheds, iothreadscheds, emulatorsched } = cputune;
  const lists = [vcpupins, iothreadpins, vcpuscheds, iothreadscheds];
  return emulatorpin !== undefined || emulatorsched !== undefined || lists.some((list) => list.length > 0);
}

/** Puts all of a definition's pins and schedulers into effect. @throws VirtError request.invalid, system.call */
export function tuneThreads(definition: DomainDef, threads: GuestThreads): void {
  const { cputune } = definition;
  const emulator = pinOf(definition, 'emulator');
  if (emulator !== undefined) for (const thread of emulatorThreads(threads)) pinThread(thread, emulator);
  for (const { index, threadId } of threads.vcpus) {
    const cpus = pinOf(definition, { vcpu: index });
    if (cpus !== undefined) pinThread(threadId, cpus);
    const rule = cputune?.vcpuscheds.find(({ vcpus }) => covers(vcpus, index));
    if (rule !== undefined) schedule(threadId, rule);
  }
  for (const { id, threadId } of threads.iothreads) {
    const cpus = pinOf(definition, { iothread: id });
    if (cpus !== undefined) pinThread(threadId, cpus);
    const rule = cputune?.iothreadscheds.find(({ iothreads }) => covers(iothreads, id));
    if (rule !== undefined) schedule(threadId, rule);
  }
  if (cputune?.emulatorsched !== undefined)
    for (const thread of emulatorThreads(threads)) schedule(thread, cputune.emulatorsched);
}

const covers = (set: string | undefined, number: number) =>
  set === undefined || cpusetMembers(set).includes(number);

/** Lets a thread run on these processors only. @throws VirtError request.invalid, system.call */
export function pinThread(thread: number, cpus: string): void {
  try {
    setAffinity(thread, cpusetMembers(cpus));
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return; // it has ended
    const wanted = `run a thread on processors ${cpus}`;
    if (errnoOf(error) === 'EINVAL')
      throw new VirtError('request.invalid', {
        wanted,
        reason: 'none of them is there and allowed',
        cause: error,
      });
    throw new VirtError('system.call', { wanted, reason: reasonOf(error), cause: error });
  }
}

interface Schedule {
  readonly scheduler: 'batch' | 'idle' | 'fifo' | 'rr';
  readonly priority?: number | undefined;
}

function schedule(thread: number, { scheduler, priority }: Schedule): void {
  try {
    setScheduler(thread, scheduler, scheduler === 'fifo' || scheduler === 'rr' ? (priority ?? 1) : 0);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return; // it has ended
    throw new VirtError('system.call', {
      wanted: `schedule a thread by '${scheduler}'`,
      reason: reasonOf(error),
      hint: 'real-time scheduling needs CAP_SYS_NICE, and a share of real time where cgroups divide it',
      cause: error,
    });
  }
}
