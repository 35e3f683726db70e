/** What the host's processors and memory do now: times from /proc/stat, memory and pages by NUMA cell. */
import { VirtError } from '../base/errors.ts';
import type { HostFiles } from './host-files.ts';
import { type PagePool, readCells, readCpus, readTopology } from './topology.ts';

/** How long processors did what since the host was booted, in milliseconds; the kernel counts in tens of them. */
export interface CpuTimes {
  /** Programs, those with a nice value too; guests are programs. */
  readonly userMs: number;
  /** The kernel with its interrupts. */
  readonly kernelMs: number;
  readonly idleMs: number;
  readonly iowaitMs: number;
}

/** Hundredths of a second in /proc (USER_HZ, the same on all that QEMU runs on). */
const TICK_MS = 10;

/** The times of one processor, or of all together. @throws VirtError request.invalid for one that is not online */
export function readCpuTimes(files: HostFiles, cpu?: number): CpuTimes {
  const name = `cpu${cpu ?? ''}`;
  const line = (files.read('/proc/stat') ?? '').split('\n').find((one) => one.startsWith(`${name} `));
  if (line === undefined)
    throw new VirtError('request.invalid', {
      wanted: 'read the times of a processor',
      reason: cpu === undefined ? '/proc/stat cannot be read' : `processor ${cpu} is not online`,
    });
  // Documentation/filesystems/proc.rst, 1.7: user, nice, system, idle, iowait, irq, softirq, ...
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return {
    userMs: (user + nice) * TICK_MS,
    kernelMs: (system + irq + softirq) * TICK_MS,
    idleMs: idle * TICK_MS,
    iowaitMs: iowait * TICK_MS,
  };
}

/** Memory of one NUMA cell. */
export interface CellMemory {
  readonly cell: number;
  readonly totalKiB: number;
  readonly freeKiB: number;
  /** Base pages first, then huge pages by size. */
  readonly pages: readonly PagePool[];
}

/** All cells as they are now; a host without NUMA has one, number 0. */
export function readCellMemory(files: HostFiles, basePageKiB: number): CellMemory[] {
  return readCells(files, readCpus(files), basePageKiB).map(({ id, memoryKiB, freeKiB, pages }) => ({
    cell: id,
    totalKiB: memoryKiB,
    freeKiB,
    pages,
  }));
}

/** Which processors the host has, and which of them are online. */
export interface CpuMap {
  /** One for each that is present, by number. */
  readonly online: readonly boolean[];
}

export function readCpuMap(files: HostFiles): CpuMap {
  const { presentCpus, onlineCpus } = readTopology(files, readCpus(files));
  const count = Math.max(-1, ...presentCpus, ...onlineCpus) + 1;
  const online = new Set(onlineCpus);
  return { online: Array.from({ length: count }, (_, cpu) => online.has(cpu)) };
}
