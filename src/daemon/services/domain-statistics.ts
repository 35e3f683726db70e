/** Statistics of running domains: what the host counts, and what QEMU tells within a limit; of one or of all at once. */
import { readFileSync, statSync } from 'node:fs';
import { isVirtError } from '../../base/errors.ts';
import type {
  AcceleratorCounter,
  BalloonStatistics,
  DirtyRate,
  DiskCounters,
  ImageCounters,
  IothreadFacts,
  MonitorGroup,
  MonitorSample,
} from '../../drivers/live-tuning.ts';
import { type Disk, isEmptySource } from '../../model/domain/devices/disk.ts';
import { indexOf, layersOf, mirrorLayers, pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { StatisticsGroup } from '../../model/domain/statistics-groups.ts';
import type { LinkStatistics } from '../../net/links/requests.ts';
import { type DiskAtRest, measureAtRest, storedDisksOf } from './disks-at-rest.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { residentKiB, runDelayNs, runWaitNs, threadTimes } from './process-times.ts';

/** How long a QEMU may take to answer for a sample: one that hangs costs all others no more than this. */
export const sampleLimitMs = 2000;

/** What each group asks of QEMU. */
const monitorGroupsOf: Partial<Record<StatisticsGroup, MonitorGroup>> = {
  balloon: 'balloon',
  vcpu: 'cpus',
  block: 'disks',
  iothread: 'iothreads',
  dirtyrate: 'dirtyRate',
  vm: 'accelerator',
};

export interface CpuTimes {
  readonly totalNs: number;
  readonly userNs: number;
  readonly systemNs: number;
}

export interface VcpuSample {
  readonly index: number;
  readonly timeNs: number;
  /** Waiting in the run queue, as the scheduler's statistics have it; undefined where the kernel does not keep them. */
  readonly waitNs: number | undefined;
  /** Waiting for a processor although it could run. */
  readonly delayNs: number | undefined;
}

export interface InterfaceSample {
  readonly device: string | undefined;
  readonly alias: string | undefined;
  readonly mac: string | undefined;
  /** As the guest sees it: `rx` is what it received. Undefined where nobody counts. */
  readonly counters: LinkStatistics | undefined;
}

export interface DiskSample {
  readonly target: string;
  readonly alias: string | undefined;
  readonly path: string | undefined;
  readonly counters: DiskCounters | undefined;
  /** The number of the image that the guest writes to. */
  readonly image: number | undefined;
  /** All its images, the topmost first, then those of a copy in progress; only where they were asked for. */
  readonly images?: readonly ImageSample[];
}

/** An image of a running guest's disk. */
export interface ImageSample {
  readonly image: number;
  readonly path: string | undefined;
  /** Undefined when QEMU did not tell. */
  readonly counters: ImageCounters | undefined;
}

export interface SampleOptions {
  readonly limitMs?: number;
  /** Each image of the disks, too. */
  readonly images?: boolean;
}

/** One sample of one domain; a group that was not asked for, or that a domain shut off has not, is undefined. */
export interface DomainStatistics {
  readonly domain: Domain;
  /** Milliseconds since 1970, when it was taken. */
  readonly atMs: number;
  readonly cpu: CpuTimes | undefined;
  readonly balloon:
    | {
        readonly currentKiB: number;
        readonly maximumKiB: number;
        readonly residentKiB: number | undefined;
        readonly guest: BalloonStatistics | undefined;
      }
    | undefined;
  readonly vcpu:
    | { readonly current: number; readonly maximum: number; readonly cpus: readonly VcpuSample[] }
    | undefined;
  readonly interfaces: readonly InterfaceSample[] | undefined;
  readonly disks: readonly DiskSample[] | undefined;
  readonly iothreads: readonly IothreadFacts[] | undefined;
  readonly dirtyRate: DirtyRate | undefined;
  readonly accelerator: readonly AcceleratorCounter[] | undefined;
  /** Events that are counted (<perf>), since each was switched on. */
  readonly perf: ReadonlyMap<string, number> | undefined;
  /** Why QEMU's part is missing. */
  readonly silence: string | undefined;
}

export class DomainStatisticsService {
  private readonly definitions: DomainDefinitions;
  private readonly perfCounts: (domain: Domain) => ReadonlyMap<string, number>;

  constructor(
    definitions: DomainDefinitions,
    perfCounts: (domain: Domain) => ReadonlyMap<string, number> = () => new Map(),
  ) {
    this.definitions = definitions;
    this.perfCounts = perfCounts;
  }

  /** Of all these domains at once. One whose QEMU hangs or ends has what the host counts, and `silence` says why. */
  sampleAll(
    domains: readonly Domain[],
    groups: ReadonlySet<StatisticsGroup>,
    options: SampleOptions = {},
  ): Promise<DomainStatistics[]> {
    return Promise.all(domains.map((domain) => this.sample(domain, groups, options)));
  }

  async sample(
    domain: Domain,
    groups: ReadonlySet<StatisticsGroup>,
    { limitMs = sampleLimitMs, images = false }: SampleOptions = {},
  ): Promise<DomainStatistics> {
    const { live } = domain;
    const asked = [...groups].flatMap((group) => monitorGroupsOf[group] ?? []);
    if (images && groups.has('block')) asked.push('images');
    const { told, silence } =
      live === undefined ? { told: {}, silence: undefined } : await ask(domain, asked, limitMs);
    const pid = live?.guest.record.pid;
    const has = (group: StatisticsGroup) => groups.has(group);
    const size = this.sizeOf(domain);
    const devices = live?.guest.definition.devices;
    return {
      domain,
      atMs: Date.now(),
      cpu: has('cpu') && pid !== undefined ? processTimes(pid) : undefined,
      balloon: has('balloon') ? balloonOf(size, told, pid) : undefined,
      vcpu: has('vcpu') ? vcpuOf(size, told, pid) : undefined,
      interfaces: has('interface') ? devices?.interfaces.map(interfaceOf) : undefined,
      disks: has('block') ? devices?.disks.map((disk) => diskOf(disk, told)) : undefined,
      iothreads: has('iothread') ? told.iothreads : undefined,
      dirtyRate: has('dirtyrate') ? told.dirtyRate : undefined,
      accelerator: has('vm') ? told.accelerator : undefined,
      perf: has('perf') && live !== undefined ? this.perfCounts(domain) : undefined,
      silence,
    };
  }

  /** Disks of a domain that does not run; those of one whose facts an older version wrote cost a reading of its text. */
  async atRest(domain: Domain): Promise<DiskAtRest[]> {
    return measureAtRest(domain.facts?.disks ?? storedDisksOf(this.definitions.definition(domain)));
  }

  /** Of a stored domain from the facts beside its text: parsing a thousand texts would hold everybody up for seconds. */
  private sizeOf(domain: Domain): GuestSize {
    const { live, facts } = domain;
    if (live === undefined && facts?.size !== undefined) {
      const { currentMemoryKiB, maxVcpus } = facts.size;
      return { maximumKiB: facts.memoryBytes / 1024, currentMemoryKiB, vcpus: facts.vcpus, maxVcpus };
    }
    const { memory, currentMemoryKiB, vcpu } = this.definitions.definition(domain);
    return {
      maximumKiB: memory.sizeKiB,
      currentMemoryKiB: currentMemoryKiB ?? memory.sizeKiB,
      vcpus: vcpu.current ?? vcpu.count,
      maxVcpus: vcpu.count,
    };
  }
}

/** What a definition says of a guest's size. */
interface GuestSize {
  readonly maximumKiB: number;
  readonly currentMemoryKiB: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
}

async function ask(
  domain: Domain,
  groups: readonly MonitorGroup[],
  limitMs: number,
): Promise<{ told: MonitorSample; silence: string | undefined }> {
  try {
    const { guest } = domain.requireLive('measure');
    return { told: await guest.tuning.sample(groups, limitMs), silence: undefined };
  } catch (error) {
    // A guest that ends, or whose QEMU hangs, has no statistics of that kind; the others still have theirs.
    if (!isVirtError(error)) throw error;
    return { told: {}, silence: error.reason };
  }
}

/** Processor time of a whole process; undefined when it is gone. */
function processTimes(pid: number): CpuTimes | undefined {
  const times = threadTimes(pid);
  return times && { ...times, totalNs: times.userNs + times.systemNs };
}

function balloonOf(
  { maximumKiB, currentMemoryKiB }: GuestSize,
  told: MonitorSample,
  pid: number | undefined,
): DomainStatistics['balloon'] {
  const bytes = told.balloonBytes;
  return {
    currentKiB: bytes === undefined ? currentMemoryKiB : Math.floor(bytes / 1024),
    maximumKiB,
    residentKiB: pid === undefined ? undefined : residentKiB(pid),
    guest: told.balloon,
  };
}

function vcpuOf(
  { vcpus, maxVcpus }: GuestSize,
  told: MonitorSample,
  pid: number | undefined,
): DomainStatistics['vcpu'] {
  const cpus = (told.cpus ?? []).flatMap(({ index, threadId }) => {
    const times = pid === undefined ? undefined : threadTimes(pid, threadId);
    if (pid === undefined || times === undefined) return [];
    const waits = { waitNs: runWaitNs(pid, threadId), delayNs: runDelayNs(pid, threadId) };
    return [{ index, timeNs: times.userNs + times.systemNs, ...waits }];
  });
  return { current: told.cpus?.length ?? vcpus, maximum: maxVcpus, cpus };
}

type Nic = DomainDef['devices']['interfaces'][number];

function interfaceOf({ target, alias, mac }: Nic): InterfaceSample {
  const device = target?.dev;
  const counters = device === undefined ? undefined : linkCounters(device);
  return { device, alias, mac: mac?.address, counters };
}

/** Files of the kernel by the guest's word for them: what the host received, the guest has sent. */
const counterFiles = {
  rxBytes: 'tx_bytes',
  rxPackets: 'tx_packets',
  rxErrors: 'tx_errors',
  rxDropped: 'tx_dropped',
  txBytes: 'rx_bytes',
  txPackets: 'rx_packets',
  txErrors: 'rx_errors',
  txDropped: 'rx_dropped',
} as const satisfies Record<keyof LinkStatistics, string>;

/** Counters of a host link; undefined for one that is not there (any more). */
export function linkCounters(link: string): LinkStatistics | undefined {
  if (!/^[^/\0]{1,15}$/.test(link) || link.startsWith('.')) return undefined;
  try {
    const read = (file: string) =>
      Number(readFileSync(`/sys/class/net/${link}/statistics/${file}`, 'latin1'));
    const entries = Object.entries(counterFiles).map(([name, file]) => [name, read(file)]);
    return Object.fromEntries(entries) as LinkStatistics;
  } catch {
    return undefined; // in another network namespace, or gone
  }
}

function diskOf(disk: Disk, told: MonitorSample): DiskSample {
  const counters = told.disks?.find(({ alias }) => alias === disk.alias);
  const { images } = told;
  return {
    ...{ target: disk.target.dev, alias: disk.alias, path: diskPath(disk), counters },
    image: isEmptySource(disk.source) ? undefined : indexOf(disk.source),
    ...(images && { images: imagesOf(disk, images) }),
  };
}

function imagesOf(disk: Disk, told: readonly ImageCounters[]): ImageSample[] {
  const copy = disk.mirror?.job === 'copy' ? mirrorLayers(disk).slice(0, 1) : [];
  return [...layersOf(disk), ...copy].flatMap(({ index, source }) =>
    index === undefined
      ? []
      : [{ image: index, path: pathOfSource(source), counters: told.find(({ image }) => image === index) }],
  );
}

/** The file or device behind a disk; undefined for others and for an empty drive. */
export function diskPath({ source }: Disk): string | undefined {
  return pathOfSource(source);
}

/** What a file takes up on the host; undefined when it cannot be looked at. */
export function occupiedBytes(
  path: string,
): { readonly allocation: number; readonly physical: number } | undefined {
  try {
    const { blocks, size } = statSync(path);
    return { allocation: blocks * 512, physical: size };
  } catch {
    return undefined; // its own error is told by whoever opens it
  }
}
