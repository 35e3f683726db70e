/** The host: size, processor and memory statistics, free memory by NUMA cell and page size. */
import { readFileSync } from 'node:fs';
import type { HostFacts } from '../../../../kvm/host-facts.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { bareInvalid, checkFlags, invalid } from './support.ts';

/** USER_HZ: the unit of times in /proc, 100 on every Linux there is (proc(5), sysconf(_SC_CLK_TCK)). */
const NANOSECONDS_PER_TICK = 10_000_000;
/** All processors together (virNodeGetCPUStatsAllCPUs); all memory cells. */
const ALL = -1;

/** What is told of a processor: kernel, user, idle, iowait. */
const CPU_TIMES = 4;

/** virt-manager asks every few seconds, and each answer reads some hundred files; processors change rarely. */
const HARDWARE_MS = 2000;

/** The host's facts, that old at most. */
function rememberedFacts({ host }: Engine): () => Promise<HostFacts> {
  let known: { readonly facts: Promise<HostFacts>; readonly atMs: number } | undefined;
  return () => {
    const now = performance.now();
    if (known === undefined || now - known.atMs > HARDWARE_MS) known = { facts: host.facts(), atMs: now };
    return known.facts;
  };
}

export function nodeHandlers(engine: Engine) {
  return {
    ...processors(engine),
    ...memory(engine),
  } satisfies RemoteHandlers;
}

/** The machine and its processors. */
function processors(engine: Engine) {
  const hardware = rememberedFacts(engine);
  return {
    nodeGetInfo: async () => {
      const { arch, topology, memory, cpu, cells } = await hardware();
      const nodes = Math.max(1, cells.length);
      const cores = topology.diesPerSocket * topology.coresPerDie;
      const { threadsPerCore: threads, onlineCpus } = topology;
      const shared = {
        model: arch,
        memory: memory.totalKiB,
        cpus: onlineCpus.length,
        mhz: Math.round(cpu.mhz ?? 0),
      };
      // Clients multiply nodes, sockets, cores and threads, and must come to the processors at least.
      const sockets = Math.max(1, Math.floor(topology.sockets / nodes));
      return nodes * sockets * cores * threads >= onlineCpus.length
        ? { ...shared, nodes, sockets, cores, threads }
        : { ...shared, nodes: 1, sockets: 1, cores: onlineCpus.length, threads: 1 };
    },
    nodeGetCpuStats: ({ cpuNum, nparams, flags }, call) => {
      checkFlags(flags, 0, call);
      // How many there are is the same for all processors, those too that are not there.
      if (nparams === 0) return { params: [], nparams: CPU_TIMES };
      const params = cpuTimes(cpuNum);
      return { params, nparams: params.length };
    },
    nodeGetCpuMap: async ({ needMap, needOnline, flags }, call) => {
      checkFlags(flags, 0, call);
      const { onlineCpus, presentCpus } = (await hardware()).topology;
      const count = 1 + Math.max(...presentCpus, ...onlineCpus);
      return {
        cpumap: needMap === 0 ? Buffer.alloc(0) : bitmapOf(onlineCpus, count),
        online: needOnline === 0 ? 0 : onlineCpus.length,
        ret: count,
      };
    },
    // Guests are kept apart by uids, sandbox and descriptors rather than by a labelling module.
    nodeGetSecurityModel: () => ({ model: Buffer.from('none\0'), doi: Buffer.from('0\0') }),
  } satisfies RemoteHandlers;
}

/** Memory, by cell and by size of pages. */
function memory(engine: Engine) {
  return {
    nodeGetMemoryStats: async ({ cellNum, nparams, flags }, call) => {
      checkFlags(flags, 0, call);
      const params = await memoryStats(engine, cellNum);
      return nparams === 0 ? { params: [], nparams: params.length } : { params, nparams: params.length };
    },
    nodeGetFreeMemory: () => ({ freeMem: engine.host.memory().freeKiB * 1024 }),
    nodeGetCellsFreeMemory: async ({ startCell, maxcells }) => {
      const { cells } = await engine.host.facts();
      if (startCell < 0 || maxcells < 1) throw invalid(`cells from ${startCell}, ${maxcells} of them`);
      const free = cells
        .filter(({ id }) => id >= startCell)
        .slice(0, maxcells)
        .map(({ freeKiB }) => freeKiB * 1024);
      if (free.length > 0) return { cells: free };
      throw cellOutOfRange(startCell, cells);
    },
    nodeGetFreePages: async ({ pages, startCell, cellCount, flags }, call) => {
      checkFlags(flags, 0, call);
      const { cells, pages: wholeHost } = await engine.host.facts();
      const pools =
        startCell === ALL
          ? [wholeHost]
          : cells.filter(({ id }) => id >= startCell && id < startCell + cellCount).map((cell) => cell.pages);
      const counts = pools.flatMap((pool, index) =>
        pages.map((size) => {
          const found = pool.find(({ sizeKiB }) => sizeKiB === size);
          if (found !== undefined) return found.free;
          throw new LibvirtError(
            errorNumber.operationFailed,
            `page size ${size} is not available on node ${startCell === ALL ? ALL : startCell + index}`,
          );
        }),
      );
      if (counts.length > 0) return { counts };
      throw cellOutOfRange(startCell, cells);
    },
  } satisfies RemoteHandlers;
}

function cellOutOfRange(cell: number, cells: HostFacts['cells']): LibvirtError {
  const last = Math.max(...cells.map(({ id }) => id));
  return new LibvirtError(errorNumber.internalError, `start cell ${cell} out of range (0-${last})`);
}

/** Bit 0 of byte 0 is processor 0. */
export function bitmapOf(cpus: readonly number[], count: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil(count / 8));
  for (const cpu of cpus) bytes[cpu >> 3] = (bytes[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return bytes;
}

/** Nanoseconds since boot by kind, of one processor or of all (/proc/stat, proc(5)). */
function cpuTimes(cpu: number): { field: string; value: number }[] {
  const name = cpu === ALL ? 'cpu' : `cpu${cpu}`;
  const line = readFileSync('/proc/stat', 'latin1')
    .split('\n')
    .find((one) => one.startsWith(`${name} `));
  if (line === undefined) throw bareInvalid('Invalid cpuNum in virNodeGetCPUStats');
  const ticks = line.trim().split(/\s+/).slice(1).map(Number);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0] = ticks;
  const rows = { kernel: system + irq + softirq, user: user + nice, idle, iowait };
  return Object.entries(rows).map(([field, value]) => ({ field, value: value * NANOSECONDS_PER_TICK }));
}

/** KiB by kind, of one cell or of the whole host. */
async function memoryStats(engine: Engine, cell: number): Promise<{ field: string; value: number }[]> {
  if (cell === ALL) {
    const { totalKiB, freeKiB, buffersKiB, cachedKiB } = engine.host.memory();
    return fields({ total: totalKiB, free: freeKiB, buffers: buffersKiB, cached: cachedKiB });
  }
  const { cells } = await engine.host.facts();
  const found = cells.find(({ id }) => id === cell);
  if (found === undefined)
    throw bareInvalid(
      `cellNum in virNodeGetMemoryStats must be less than or equal to ${Math.max(...cells.map(({ id }) => id))}`,
    );
  return fields({ total: found.memoryKiB, free: found.freeKiB });
}

function fields(rows: Readonly<Record<string, number>>): { field: string; value: number }[] {
  return Object.entries(rows).map(([field, value]) => ({ field, value }));
}
