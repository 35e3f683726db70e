/** Facts about the host that definitions, capabilities and answers need: read once from /proc and /sys. */
import { machine } from 'node:os';
import { type CpuInfo, parseCpuInfo } from './cpu-info.ts';
import { type HostFiles, hostFiles } from './host-files.ts';
import { type HostUuid, readHostUuid, readSmbios, type Smbios } from './identity.ts';
import {
  basePages,
  type CpuTopology,
  type NumaCell,
  type PagePool,
  parseMemInfo,
  readCells,
  readCpus,
  readHugePages,
  readTopology,
} from './topology.ts';

export interface HostMemory {
  readonly totalKiB: number;
  readonly freeKiB: number;
  /** What programs can get without swapping (MemAvailable). */
  readonly availableKiB: number;
  readonly buffersKiB: number;
  readonly cachedKiB: number;
}

export interface HostFacts {
  readonly hostname: string;
  readonly kernel: { readonly release: string; readonly version: string };
  /** uname's word: x86_64, aarch64, ... */
  readonly arch: string;
  readonly uuid: HostUuid;
  readonly cpu: CpuInfo;
  readonly topology: CpuTopology;
  readonly cells: readonly NumaCell[];
  /** Of the whole host; base pages first. */
  readonly pages: readonly PagePool[];
  readonly memory: HostMemory;
  /** Numbers of the IOMMU groups; empty means no IOMMU, or one that is off. */
  readonly iommuGroups: readonly number[];
  readonly smbios?: Smbios;
}

export interface HostFactsOptions {
  /** Root of the tree to read, `/` when left out. */
  readonly root?: string;
  /** Instead of a root: the files themselves (tests). */
  readonly files?: HostFiles;
  readonly arch?: string;
  /** Settings that make one machine look like several. */
  readonly hostname?: string;
  readonly hostUuid?: string;
}

/** Reads everything. Cheap (some ten files and four per processor), but no answer to a question about free memory now. */
export async function readHostFacts(options: HostFactsOptions = {}): Promise<HostFacts> {
  const files = options.files ?? hostFiles(options.root);
  const hostname = options.hostname ?? (readLine(files, '/proc/sys/kernel/hostname') || 'localhost');
  const smbios = readSmbios(files);
  return {
    hostname,
    kernel: {
      release: readLine(files, '/proc/sys/kernel/osrelease'),
      version: readLine(files, '/proc/sys/kernel/version'),
    },
    arch: options.arch ?? machine(),
    uuid:
      options.hostUuid === undefined
        ? readHostUuid(files, hostname)
        : { value: options.hostUuid, source: 'configured' },
    ...readHardware(files),
    iommuGroups: readIommuGroups(files),
    ...(smbios && { smbios }),
  };
}

function readHardware(files: HostFiles): Pick<HostFacts, 'cpu' | 'topology' | 'cells' | 'pages' | 'memory'> {
  const cpus = readCpus(files);
  const huge = readHugePages(files, '/sys/kernel/mm/hugepages');
  const basePageKiB = readBasePageKiB(files);
  return {
    cpu: parseCpuInfo(files.read('/proc/cpuinfo') ?? ''),
    topology: readTopology(files, cpus),
    cells: readCells(files, cpus, basePageKiB),
    pages: [basePages(parseMemInfo(files.read('/proc/meminfo') ?? ''), huge, basePageKiB), ...huge],
    memory: readHostMemory(files),
  };
}

/** Memory as it is now. */
export function readHostMemory(files: HostFiles = hostFiles()): HostMemory {
  const memory = parseMemInfo(files.read('/proc/meminfo') ?? '');
  const value = (name: string): number => memory.get(name) ?? 0;
  return {
    totalKiB: value('MemTotal'),
    freeKiB: value('MemFree'),
    availableKiB: memory.get('MemAvailable') ?? value('MemFree'),
    buffersKiB: value('Buffers'),
    cachedKiB: value('Cached'),
  };
}

/** AT_PAGESZ of this process's auxiliary vector (linux/auxvec.h: 6), pairs of 64-bit words; 4 KiB when unreadable. */
export function readBasePageKiB(files: HostFiles): number {
  const vector = files.readAt('/proc/self/auxv', 0, AUXV_ENTRIES * 16);
  if (vector === undefined) return 4;
  const entry = Array.from({ length: AUXV_ENTRIES }, (_, index) => index * 16).find(
    (offset) => vector.readBigUInt64LE(offset) === 6n,
  );
  return entry === undefined ? 4 : Number(vector.readBigUInt64LE(entry + 8)) / 1024;
}

/** The page size is among the first few of some twenty entries (fs/binfmt_elf.c, create_elf_tables). */
const AUXV_ENTRIES = 8;

function readIommuGroups(files: HostFiles): number[] {
  return files
    .list('/sys/kernel/iommu_groups')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

function readLine(files: HostFiles, path: string): string {
  return files.read(path)?.trim() ?? '';
}
