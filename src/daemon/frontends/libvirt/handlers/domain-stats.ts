/** Statistics of many domains in one call (virConnectGetAllDomainStats). */
import { readFileSync } from 'node:fs';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { paramType, type TypedParam } from '../../../../libvirt/protocol/objects.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { infoFacts } from './domain-facts.ts';
import { stateNumbers, vcpuThreads } from './domain-info.ts';
import { fitsFilter } from './domain-list.ts';
import { residentKiB, threadTimes } from './process-times.ts';
import { checkFlags, domainOf, wireDomainOf } from './support.ts';

/** virDomainStatsTypes: those that are answered. */
const group = { state: 1, cpu: 2, balloon: 4, vcpu: 8, interface: 16, block: 32 } as const;
const supportedGroups = 0x3f;
const filterFlags = 0xff;
/** No waiting (no query here waits for a job), and the option that asks for all groups or an error. */
const statsFlag = { noWait: 1 << 29, enforce: (1 << 31) >>> 0 } as const;

export function domainStatsHandlers(engine: Engine) {
  return {
    connectGetAllDomainStats: async ({ doms, stats, flags }, call) => {
      checkFlags(flags, (filterFlags | statsFlag.noWait | statsFlag.enforce) >>> 0, call);
      const missing = (stats & ~supportedGroups) >>> 0;
      if ((flags & statsFlag.enforce) !== 0 && missing !== 0)
        throw new LibvirtError(
          errorNumber.argumentUnsupported,
          `Stats types bits 0x${missing.toString(16)} are not supported by this daemon`,
        );
      const wanted = stats === 0 ? supportedGroups : stats;
      const all = doms.length === 0 ? engine.domains.list() : doms.map((dom) => domainOf(engine, dom));
      const chosen = all.filter((domain) => fitsFilter(domain, flags & filterFlags));
      const retStats = await Promise.all(
        chosen.map(async (domain) => ({
          dom: wireDomainOf(domain),
          params: await statsOf(engine, domain, wanted),
        })),
      );
      return { retStats };
    },
  } satisfies RemoteHandlers;
}

const int = (field: string, value: number): TypedParam => ({ field, value: { type: paramType.int, value } });
const uint = (field: string, value: number): TypedParam => ({
  field,
  value: { type: paramType.uint, value },
});
const big = (field: string, value: number): TypedParam => ({
  field,
  value: { type: paramType.ullong, value },
});
const text = (field: string, value: string): TypedParam => ({
  field,
  value: { type: paramType.string, value },
});

async function statsOf(engine: Engine, domain: Domain, wanted: number): Promise<TypedParam[]> {
  const has = (bit: number) => (wanted & bit) !== 0;
  return [
    ...(has(group.state) ? stateStats(domain) : []),
    ...(has(group.cpu) ? cpuStats(domain) : []),
    ...(has(group.balloon) ? balloonStats(engine, domain) : []),
    ...(has(group.vcpu) ? await vcpuStats(engine, domain) : []),
    ...(has(group.interface) ? interfaceStats(domain) : []),
    ...(has(group.block) ? await blockStats(domain) : []),
  ];
}

function stateStats(domain: Domain): TypedParam[] {
  const { state, reason } = stateNumbers(domain);
  return [int('state.state', state), int('state.reason', reason)];
}

function cpuStats({ live }: Domain): TypedParam[] {
  const times = live && threadTimes(live.guest.record.pid);
  if (times === undefined) return [];
  const { userNs, systemNs } = times;
  return [big('cpu.time', userNs + systemNs), big('cpu.user', userNs), big('cpu.system', systemNs)];
}

function balloonStats(engine: Engine, domain: Domain): TypedParam[] {
  const { currentMemoryKiB, maxMemoryKiB } = infoFacts(engine, domain);
  const resident = domain.live && residentKiB(domain.live.guest.record.pid);
  return [
    big('balloon.current', domain.isActive ? currentMemoryKiB : maxMemoryKiB),
    big('balloon.maximum', maxMemoryKiB),
    ...(resident === undefined ? [] : [big('balloon.rss', resident)]),
  ];
}

async function vcpuStats(engine: Engine, domain: Domain): Promise<TypedParam[]> {
  const { vcpus, maxVcpus } = infoFacts(engine, domain);
  const head = [uint('vcpu.current', vcpus), uint('vcpu.maximum', maxVcpus)];
  if (domain.live === undefined) return head;
  const { pid } = domain.live.guest.record;
  const threads = await orNone(vcpuThreads(domain));
  return [
    ...head,
    ...threads.flatMap(({ index, thread }) => {
      const times = threadTimes(pid, thread);
      if (times === undefined) return [];
      return [int(`vcpu.${index}.state`, 1), big(`vcpu.${index}.time`, times.userNs + times.systemNs)];
    }),
  ];
}

/** A guest that ends while it is asked has no statistics of that kind, and the others still have theirs. */
async function orNone<T>(asked: Promise<T[]>): Promise<T[]> {
  try {
    return await asked;
  } catch {
    return []; // its end is told by its state
  }
}

/** Counters of host links by the name that clients know (from the guest's view: what the host received, it sent). */
const linkCounters = {
  'rx.bytes': 'tx_bytes',
  'rx.pkts': 'tx_packets',
  'rx.errs': 'tx_errors',
  'rx.drop': 'tx_dropped',
  'tx.bytes': 'rx_bytes',
  'tx.pkts': 'rx_packets',
  'tx.errs': 'rx_errors',
  'tx.drop': 'rx_dropped',
} as const;

function interfaceStats({ live }: Domain): TypedParam[] {
  if (live === undefined) return [];
  const names = live.guest.definition.devices.interfaces.map((nic) => nic.target?.dev);
  return [
    uint('net.count', names.length),
    ...names.flatMap((name, index) => {
      if (name === undefined) return [];
      const counters = Object.entries(linkCounters).flatMap(([field, file]) => {
        const value = linkCounter(name, file);
        return value === undefined ? [] : [big(`net.${index}.${field}`, value)];
      });
      return [text(`net.${index}.name`, name), ...counters];
    }),
  ];
}

/** A counter of a host link; undefined for one that is not there (any more). */
function linkCounter(link: string, counter: string): number | undefined {
  if (!/^[^/\0]{1,15}$/.test(link) || link.startsWith('.')) return undefined;
  try {
    return Number(readFileSync(`/sys/class/net/${link}/statistics/${counter}`, 'latin1'));
  } catch {
    return undefined; // in another network namespace, or gone
  }
}

interface BlockCounters {
  readonly device: string;
  readonly stats: Readonly<Record<string, number>>;
}

async function blockStats(domain: Domain): Promise<TypedParam[]> {
  const { live } = domain;
  if (live === undefined) return [];
  const { disks } = live.guest.definition.devices;
  const counters = await orNone(blockCounters(domain));
  return [
    uint('block.count', disks.length),
    ...disks.flatMap((disk, index) => {
      const { source } = disk;
      const path = source.type === 'file' ? source.file : source.type === 'block' ? source.dev : undefined;
      const found = counters.find(({ device }) => device === disk.alias);
      return [
        text(`block.${index}.name`, disk.target.dev),
        ...(path === undefined ? [] : [text(`block.${index}.path`, path)]),
        ...(found === undefined ? [] : counterParams(index, found.stats)),
      ];
    }),
  ];
}

/** QEMU's names of counters by ours (qapi/block-core.json, BlockDeviceStats). */
const blockFields = {
  'rd.reqs': 'rd_operations',
  'rd.bytes': 'rd_bytes',
  'rd.times': 'rd_total_time_ns',
  'wr.reqs': 'wr_operations',
  'wr.bytes': 'wr_bytes',
  'wr.times': 'wr_total_time_ns',
  'fl.reqs': 'flush_operations',
  'fl.times': 'flush_total_time_ns',
} as const;

function counterParams(index: number, stats: BlockCounters['stats']): TypedParam[] {
  return Object.entries(blockFields).flatMap(([field, name]) => {
    const value = stats[name];
    return typeof value === 'number' ? [big(`block.${index}.${field}`, value)] : [];
  });
}

/** Counters by the alias of the disk's device: QEMU tells the device's path, `/machine/peripheral/ALIAS/...`. */
async function blockCounters(domain: Domain): Promise<BlockCounters[]> {
  const reply = await domain.requireLive('ask about disks of').guest.monitorCommand('query-blockstats');
  if (!Array.isArray(reply)) return [];
  return reply.flatMap((entry: Readonly<Record<string, unknown>>) => {
    const { qdev, stats } = entry;
    if (typeof qdev !== 'string') return [];
    const own = /^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1] ?? qdev;
    if (typeof stats !== 'object' || stats === null) return [];
    return [{ device: own, stats: stats as Readonly<Record<string, number>> }];
  });
}
