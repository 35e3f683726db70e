/** Statistics of many domains in one call (virConnectGetAllDomainStats). */

import type { DiskCounters } from '../../../../drivers/live-tuning.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { TypedParam, WireDomain } from '../../../../libvirt/protocol/objects.ts';
import type { StatisticsGroup } from '../../../../model/domain/statistics-groups.ts';
import type { Domain } from '../../../services/domain.ts';
import {
  type DiskSample,
  type DomainStatistics,
  type ImageSample,
  occupiedBytes,
} from '../../../services/domain-statistics.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { stateNumbers } from './domain-info.ts';
import { filterFor } from './domain-list.ts';
import { big, bool, int, long, text, uint } from './params.ts';
import { checkFlags, domainOf, wireDomainOf } from './support.ts';

/** virDomainStatsTypes. */
const groupBits = {
  state: 1,
  cpu: 2,
  balloon: 4,
  vcpu: 8,
  interface: 16,
  block: 32,
  perf: 64,
  iothread: 128,
  memory: 256,
  dirtyrate: 512,
  vm: 1024,
} as const satisfies Record<StatisticsGroup, number>;
const supportedGroups = Object.values(groupBits).reduce((all, bit) => all | bit, 0);
const filterFlags = 0xff;
/** No waiting (no query here waits for a job), backing images too, and the option that asks for all groups or an error. */
const statsFlag = { noWait: 1 << 29, backing: 1 << 30, enforce: (1 << 31) >>> 0 } as const;

export function domainStatsHandlers(engine: Engine) {
  return {
    connectGetAllDomainStats: async ({ doms, stats, flags }, call) => {
      checkFlags(flags, (filterFlags | statsFlag.noWait | statsFlag.backing | statsFlag.enforce) >>> 0, call);
      const missing = (stats & ~supportedGroups) >>> 0;
      if ((flags & statsFlag.enforce) !== 0 && missing !== 0)
        throw new LibvirtError(
          errorNumber.argumentUnsupported,
          `Stats types bits 0x${missing.toString(16)} are not supported by this daemon`,
        );
      const wanted = stats === 0 ? supportedGroups : stats;
      const groups = new Set(
        (Object.keys(groupBits) as StatisticsGroup[]).filter((group) => (wanted & groupBits[group]) !== 0),
      );
      const all =
        doms.length === 0 ? engine.domains.list() : doms.flatMap((dom) => knownOf(engine, dom) ?? []);
      const chosen = all.filter(filterFor(engine, flags & filterFlags));
      const samples = await engine.domains.statistics.sampleAll(chosen, groups, {
        images: (flags & statsFlag.backing) !== 0,
      });
      return {
        retStats: await Promise.all(
          samples.map(async (sample) => ({
            dom: wireDomainOf(sample.domain),
            params: [...paramsOf(sample, groups), ...(await restingDisks(engine, sample, groups))],
          })),
        ),
      };
    },
  } satisfies RemoteHandlers;
}

/** Who asks for many may have heard of one that is gone by now: it is left out, the others are told. */
function knownOf(engine: Engine, dom: WireDomain): Domain | undefined {
  try {
    return domainOf(engine, dom);
  } catch (error) {
    if (error instanceof LibvirtError && error.number === errorNumber.noDomain) return undefined;
    throw error;
  }
}

/** libvirt's parameters of one sample, in its order. */
function paramsOf(sample: DomainStatistics, groups: ReadonlySet<StatisticsGroup>): TypedParam[] {
  return [
    ...(groups.has('state') ? stateParams(sample) : []),
    ...cpuParams(sample),
    ...balloonParams(sample),
    ...vcpuParams(sample),
    ...interfaceParams(sample),
    ...diskParams(sample),
    ...[...(sample.perf ?? [])].map(([name, value]) => big(`perf.${name}`, value)),
    ...iothreadParams(sample),
    ...dirtyRateParams(sample),
    ...(sample.accelerator ?? []).map(({ name, kind, value }) =>
      typeof value === 'boolean' ? bool(`vm.${name}.${kind}`, value) : big(`vm.${name}.${kind}`, value),
    ),
  ];
}

function stateParams({ domain }: DomainStatistics): TypedParam[] {
  const { state, reason } = stateNumbers(domain);
  return [int('state.state', state), int('state.reason', reason)];
}

function cpuParams({ cpu }: DomainStatistics): TypedParam[] {
  if (cpu === undefined) return [];
  return [big('cpu.time', cpu.totalNs), big('cpu.user', cpu.userNs), big('cpu.system', cpu.systemNs)];
}

const kib = (bytes: number | undefined) => (bytes === undefined ? undefined : Math.floor(bytes / 1024));

function balloonParams({ balloon }: DomainStatistics): TypedParam[] {
  if (balloon === undefined) return [];
  const { guest } = balloon;
  const told = {
    'balloon.swap_in': kib(guest?.swapInBytes),
    'balloon.swap_out': kib(guest?.swapOutBytes),
    'balloon.major_fault': guest?.majorFaults,
    'balloon.minor_fault': guest?.minorFaults,
    'balloon.unused': kib(guest?.freeBytes),
    'balloon.available': kib(guest?.totalBytes),
    'balloon.usable': kib(guest?.availableBytes),
    'balloon.last-update': guest?.lastUpdateSeconds,
    'balloon.disk_caches': kib(guest?.diskCacheBytes),
    'balloon.hugetlb_pgalloc': guest?.hugetlbAllocations,
    'balloon.hugetlb_pgfail': guest?.hugetlbFailures,
    'balloon.rss': balloon.residentKiB,
  };
  return [
    big('balloon.current', balloon.currentKiB),
    big('balloon.maximum', balloon.maximumKiB),
    ...Object.entries(told).flatMap(([name, value]) => (value === undefined ? [] : [big(name, value)])),
  ];
}

const VCPU_RUNNING = 1; // virVcpuState

function vcpuParams({ vcpu }: DomainStatistics): TypedParam[] {
  if (vcpu === undefined) return [];
  return [
    uint('vcpu.current', vcpu.current),
    uint('vcpu.maximum', vcpu.maximum),
    ...vcpu.cpus.flatMap(({ index, timeNs, waitNs, delayNs }) => [
      int(`vcpu.${index}.state`, VCPU_RUNNING),
      big(`vcpu.${index}.time`, timeNs),
      // Ceilometer adds it to the time, and does without both where it is not there.
      big(`vcpu.${index}.wait`, waitNs ?? 0),
      ...(delayNs === undefined ? [] : [big(`vcpu.${index}.delay`, delayNs)]),
    ]),
  ];
}

function interfaceParams({ interfaces }: DomainStatistics): TypedParam[] {
  if (interfaces === undefined) return [];
  return [
    uint('net.count', interfaces.length),
    ...interfaces.flatMap(({ device, counters }, index) => {
      if (device === undefined) return [];
      const name = text(`net.${index}.name`, device);
      if (counters === undefined) return [name];
      return [
        name,
        big(`net.${index}.rx.bytes`, counters.rxBytes),
        big(`net.${index}.rx.pkts`, counters.rxPackets),
        big(`net.${index}.rx.errs`, counters.rxErrors),
        big(`net.${index}.rx.drop`, counters.rxDropped),
        big(`net.${index}.tx.bytes`, counters.txBytes),
        big(`net.${index}.tx.pkts`, counters.txPackets),
        big(`net.${index}.tx.errs`, counters.txErrors),
        big(`net.${index}.tx.drop`, counters.txDropped),
      ];
    }),
  ];
}

/** One record a disk; with its images, one for each of them, of which the first is the disk. */
function diskParams({ disks }: DomainStatistics): TypedParam[] {
  if (disks === undefined) return [];
  const records = disks.flatMap((disk) => [
    (prefix: string) => [
      ...headOf(prefix, disk),
      ...countersOf(prefix, disk),
      ...thresholdOf(prefix, disk.images?.[0]),
    ],
    ...(disk.images ?? [])
      .slice(1)
      .map((image) => (prefix: string) => [
        ...headOf(prefix, { ...image, target: disk.target }),
        ...sizesOf(prefix, image.counters),
        ...thresholdOf(prefix, image),
      ]),
  ]);
  return [
    uint('block.count', records.length),
    ...records.flatMap((record, index) => record(`block.${index}`)),
  ];
}

/** Those of a domain that does not run, by what the host knows of their files. */
async function restingDisks(
  { domains }: Engine,
  { domain, disks }: DomainStatistics,
  groups: ReadonlySet<StatisticsGroup>,
): Promise<TypedParam[]> {
  if (!groups.has('block') || disks !== undefined || domain.isActive) return [];
  const found = await domains.statistics.atRest(domain);
  return [
    uint('block.count', found.length),
    ...found.flatMap((disk, index) => [
      ...headOf(`block.${index}`, { ...disk, path: disk.path, image: undefined }),
      ...sizesOf(`block.${index}`, disk.sizes),
    ]),
  ];
}

function headOf(prefix: string, { target, path, image }: Pick<DiskSample, 'target' | 'path' | 'image'>) {
  return [
    text(`${prefix}.name`, target),
    ...(path === undefined ? [] : [text(`${prefix}.path`, path)]),
    ...(image === undefined ? [] : [uint(`${prefix}.backingIndex`, image)]),
  ];
}

function countersOf(prefix: string, { path, counters }: DiskSample): TypedParam[] {
  if (counters === undefined) return [];
  const physical = (path === undefined ? undefined : occupiedBytes(path)?.physical) ?? counters.physicalBytes;
  return [
    big(`${prefix}.rd.reqs`, counters.readRequests),
    big(`${prefix}.rd.bytes`, counters.readBytes),
    big(`${prefix}.rd.times`, counters.readNs),
    big(`${prefix}.wr.reqs`, counters.writeRequests),
    big(`${prefix}.wr.bytes`, counters.writeBytes),
    big(`${prefix}.wr.times`, counters.writeNs),
    big(`${prefix}.fl.reqs`, counters.flushRequests),
    big(`${prefix}.fl.times`, counters.flushNs),
    ...sizesOf(prefix, { ...counters, ...(physical !== undefined && { physicalBytes: physical }) }),
  ];
}

type Sizes = Pick<DiskCounters, 'allocationBytes' | 'capacityBytes' | 'physicalBytes'>;

function sizesOf(prefix: string, sizes: Sizes | undefined): TypedParam[] {
  const { allocationBytes, capacityBytes, physicalBytes } = sizes ?? {};
  return [
    ...(allocationBytes === undefined ? [] : [big(`${prefix}.allocation`, allocationBytes)]),
    ...(capacityBytes === undefined ? [] : [big(`${prefix}.capacity`, capacityBytes)]),
    ...(physicalBytes === undefined ? [] : [big(`${prefix}.physical`, physicalBytes)]),
  ];
}

/** Only known where images were asked for. */
function thresholdOf(prefix: string, image: ImageSample | undefined): TypedParam[] {
  const bytes = image?.counters?.thresholdBytes;
  return bytes === undefined ? [] : [big(`${prefix}.threshold`, bytes)];
}

function iothreadParams({ iothreads }: DomainStatistics): TypedParam[] {
  if (iothreads === undefined || iothreads.length === 0) return [];
  return [
    uint('iothread.count', iothreads.length),
    ...iothreads.flatMap(({ id, pollMaxNs, pollGrow, pollShrink }) => [
      ...(pollMaxNs === undefined ? [] : [big(`iothread.${id}.poll-max-ns`, pollMaxNs)]),
      ...(pollGrow === undefined ? [] : [uint(`iothread.${id}.poll-grow`, pollGrow)]),
      ...(pollShrink === undefined ? [] : [uint(`iothread.${id}.poll-shrink`, pollShrink)]),
    ]),
  ];
}

/** virDomainDirtyRateStatus. */
const rateStates = { unstarted: 0, measuring: 1, measured: 2 } as const;

function dirtyRateParams({ dirtyRate }: DomainStatistics): TypedParam[] {
  if (dirtyRate === undefined) return [];
  const { status, startSeconds, periodSeconds, mode, mibPerSecond, vcpus } = dirtyRate;
  return [
    int('dirtyrate.calc_status', rateStates[status]),
    long('dirtyrate.calc_start_time', startSeconds),
    int('dirtyrate.calc_period', periodSeconds),
    text('dirtyrate.calc_mode', mode),
    ...(status === 'measured' && mibPerSecond !== undefined
      ? [long('dirtyrate.megabytes_per_second', mibPerSecond)]
      : []),
    ...vcpus.map((one) => big(`dirtyrate.vcpu.${one.index}.megabytes_per_second`, one.mibPerSecond)),
  ];
}
