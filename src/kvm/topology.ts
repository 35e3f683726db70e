/** Processors and NUMA cells of the host, from /sys/devices/system/{cpu,node}. */
import { parseCpuList } from './cpu-list.ts';
import type { HostFiles } from './host-files.ts';

/** One logical processor that is online. */
export interface HostCpu {
  readonly id: number;
  readonly socketId: number;
  readonly dieId: number;
  readonly coreId: number;
  /** Logical processors of the same core, this one included. */
  readonly siblings: readonly number[];
}

/** Memory pages of one size. */
export interface PagePool {
  readonly sizeKiB: number;
  readonly count: number;
  readonly free: number;
}

/** One NUMA cell; a host without NUMA has one cell, number 0. */
export interface NumaCell {
  readonly id: number;
  readonly memoryKiB: number;
  readonly freeKiB: number;
  readonly cpus: readonly HostCpu[];
  /** ACPI SLIT distances to every cell, this one included (10 is local). */
  readonly distances: readonly { readonly cell: number; readonly value: number }[];
  /** Base pages first, then huge pages by size. */
  readonly pages: readonly PagePool[];
}

export interface CpuTopology {
  readonly sockets: number;
  readonly diesPerSocket: number;
  readonly coresPerDie: number;
  readonly threadsPerCore: number;
  readonly onlineCpus: readonly number[];
  /** Online and offline. */
  readonly presentCpus: readonly number[];
}

const cpuDirectory = '/sys/devices/system/cpu';
const nodeDirectory = '/sys/devices/system/node';

/** All online processors. */
export function readCpus(files: HostFiles): HostCpu[] {
  return onlineCpus(files).map((id) => readCpu(files, id));
}

function readCpu(files: HostFiles, id: number): HostCpu {
  const directory = `${cpuDirectory}/cpu${id}/topology`;
  return {
    id,
    // The kernel writes -1 where the firmware does not tell.
    socketId: Math.max(0, readNumber(files, `${directory}/physical_package_id`) ?? 0),
    dieId: Math.max(0, readNumber(files, `${directory}/die_id`) ?? 0),
    coreId: readNumber(files, `${directory}/core_id`) ?? id,
    siblings: readList(files, `${directory}/thread_siblings_list`) ?? [id],
  };
}

function onlineCpus(files: HostFiles): number[] {
  const online = readList(files, `${cpuDirectory}/online`);
  if (online !== undefined && online.length > 0) return online;
  // Without sysfs (a bare chroot) /proc/cpuinfo still counts them.
  const text = files.read('/proc/cpuinfo') ?? '';
  return [...text.matchAll(/^processor\s*:\s*(\d+)/gm)].map((match) => Number(match[1]));
}

/**
 * The shape of the processors, from those online: the largest count per level, so that sockets x dies x cores x threads
 * is at least the number of processors when they differ.
 */
export function readTopology(files: HostFiles, cpus: readonly HostCpu[]): CpuTopology {
  const sockets = groups(cpus, (cpu) => `${cpu.socketId}`);
  const dies = groups(cpus, (cpu) => `${cpu.socketId}.${cpu.dieId}`);
  const cores = groups(cpus, (cpu) => `${cpu.socketId}.${cpu.dieId}.${cpu.coreId}`);
  return {
    sockets: Math.max(1, sockets.size),
    diesPerSocket: perGroup(dies.keys(), 1),
    coresPerDie: perGroup(cores.keys(), 2),
    threadsPerCore: Math.max(1, ...[...cores.values()].map((members) => members.length)),
    onlineCpus: cpus.map((cpu) => cpu.id),
    presentCpus: readList(files, `${cpuDirectory}/present`) ?? cpus.map((cpu) => cpu.id),
  };
}

function groups(cpus: readonly HostCpu[], keyOf: (cpu: HostCpu) => string): Map<string, HostCpu[]> {
  return Map.groupBy(cpus, keyOf);
}

/** The largest number of keys that share their first `levels` parts. */
function perGroup(keys: Iterable<string>, levels: number): number {
  const parents = Map.groupBy(keys, (key) => key.split('.').slice(0, levels).join('.'));
  return Math.max(1, ...[...parents.values()].map((members) => members.length));
}

/** The NUMA cells; without /sys/devices/system/node one cell with everything. */
export function readCells(files: HostFiles, cpus: readonly HostCpu[], basePageKiB: number): NumaCell[] {
  const ids = readList(files, `${nodeDirectory}/online`);
  if (ids === undefined || ids.length === 0) return [wholeHost(files, cpus, basePageKiB)];
  return ids.map((id) => readCell(files, { id, ids, cpus, basePageKiB }));
}

interface CellRequest {
  readonly id: number;
  readonly ids: readonly number[];
  readonly cpus: readonly HostCpu[];
  readonly basePageKiB: number;
}

function readCell(files: HostFiles, { id, ids, cpus, basePageKiB }: CellRequest): NumaCell {
  const directory = `${nodeDirectory}/node${id}`;
  const members = new Set(readList(files, `${directory}/cpulist`) ?? []);
  const memory = parseMemInfo(files.read(`${directory}/meminfo`) ?? '');
  const values = (files.read(`${directory}/distance`) ?? '').trim().split(/\s+/).map(Number);
  const huge = readHugePages(files, `${directory}/hugepages`);
  return {
    id,
    memoryKiB: memory.get('MemTotal') ?? 0,
    freeKiB: memory.get('MemFree') ?? 0,
    cpus: cpus.filter((cpu) => members.has(cpu.id)),
    distances: ids.flatMap((cell, index) => {
      const value = values[index];
      return value === undefined || !Number.isInteger(value) || value === 0 ? [] : [{ cell, value }];
    }),
    pages: [basePages(memory, huge, basePageKiB), ...huge],
  };
}

function wholeHost(files: HostFiles, cpus: readonly HostCpu[], basePageKiB: number): NumaCell {
  const memory = parseMemInfo(files.read('/proc/meminfo') ?? '');
  const huge = readHugePages(files, '/sys/kernel/mm/hugepages');
  return {
    id: 0,
    memoryKiB: memory.get('MemTotal') ?? 0,
    freeKiB: memory.get('MemFree') ?? 0,
    cpus,
    distances: [{ cell: 0, value: 10 }],
    pages: [basePages(memory, huge, basePageKiB), ...huge],
  };
}

/** Base pages are what huge pages leave over. */
export function basePages(
  memory: ReadonlyMap<string, number>,
  huge: readonly PagePool[],
  sizeKiB: number,
): PagePool {
  const inHugePages = huge.reduce((sum, pool) => sum + pool.sizeKiB * pool.count, 0);
  return {
    sizeKiB,
    count: Math.max(0, Math.floor(((memory.get('MemTotal') ?? 0) - inHugePages) / sizeKiB)),
    free: Math.floor((memory.get('MemFree') ?? 0) / sizeKiB),
  };
}

/** Pools below a `hugepages` directory (Documentation/admin-guide/mm/hugetlbpage.rst), smallest first. */
export function readHugePages(files: HostFiles, directory: string): PagePool[] {
  const pools = files.list(directory).flatMap((name) => {
    const sizeKiB = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1]);
    if (!Number.isInteger(sizeKiB)) return [];
    const count = readNumber(files, `${directory}/${name}/nr_hugepages`) ?? 0;
    return [{ sizeKiB, count, free: readNumber(files, `${directory}/${name}/free_hugepages`) ?? 0 }];
  });
  return pools.sort((a, b) => a.sizeKiB - b.sizeKiB);
}

/** Name and KiB of /proc/meminfo, or of a cell's meminfo, whose lines begin with `Node N`. */
export function parseMemInfo(text: string): Map<string, number> {
  const entries = [...text.matchAll(/^(?:Node \d+ )?(\w+(?:\(\w+\))?):\s+(\d+)/gm)];
  return new Map(entries.map((match) => [match[1] ?? '', Number(match[2])]));
}

function readNumber(files: HostFiles, path: string): number | undefined {
  const text = files.read(path)?.trim();
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
}

function readList(files: HostFiles, path: string): number[] | undefined {
  const text = files.read(path);
  return text === undefined ? undefined : parseCpuList(text);
}
