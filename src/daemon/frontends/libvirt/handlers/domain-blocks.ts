/** Disks and cards of running domains: counters, sizes, limits, errors, and looking into disks and memory. */
import { VirtError } from '../../../../base/errors.ts';
import type { IoTune } from '../../../../model/domain/devices/disk.ts';
import type { DirtyRateMode } from '../../../../model/domain/statistics-groups.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { big, counted, long, type ParamTable, readParams, text, toNumber } from './params.ts';
import { affect, checkFlags, domainOf, impactOn, invalid, telling } from './support.ts';

const bothSides = affect.live | affect.config;
/** virTypedParameterFlags: the client takes texts, as all do since 2011. */
const STRING_OKAY = 4;
/** virDomainBlockResizeFlags. `capacity`: up to the size of the block device. */
const resizeFlag = { bytes: 1, capacity: 2 } as const;
const peekFlag = { virtual: 1, physical: 2 } as const;
const MAX_MEMORY_PEEK = 64 * 1024;

export function domainBlockHandlers(engine: Engine) {
  return {
    ...counters(engine),
    ...limits(engine),
    ...looks(engine),
    ...others(engine),
  } satisfies RemoteHandlers;
}

/** What disks have done, how large they are, and which failed. */
function counters(engine: Engine) {
  const { blocks } = engine.domains;
  return {
    domainBlockStats: async ({ dom, path }) => {
      const all = await blocks.counters(domainOf(engine, dom), path === '' ? undefined : path);
      const sum = (pick: (one: (typeof all)[number]) => number) =>
        all.reduce((total, one) => total + pick(one), 0);
      return {
        rdReq: sum((one) => one.readRequests),
        rdBytes: sum((one) => one.readBytes),
        wrReq: sum((one) => one.writeRequests),
        wrBytes: sum((one) => one.writeBytes),
        // Nobody counts errors; -1 says so.
        errs: -1,
      };
    },
    domainBlockStatsFlags: async ({ dom, path, nparams, flags }, call) => {
      checkFlags(flags, STRING_OKAY, call);
      const all = await blocks.counters(domainOf(engine, dom), path === '' ? undefined : path);
      const params = Object.entries(blockCounters).map(([name, field]) =>
        long(
          name,
          all.reduce((total, one) => total + one[field], 0),
        ),
      );
      return counted(params, nparams);
    },
    domainGetBlockInfo: async ({ dom, path, flags }, call) => {
      checkFlags(flags, 0, call);
      const sizes = await telling(
        'domain.no-device',
        () => invalid(`invalid path ${path} not assigned to domain`),
        () => blocks.sizes(domainOf(engine, dom), path),
      );
      return {
        allocation: sizes.allocationBytes,
        capacity: sizes.capacityBytes,
        physical: sizes.physicalBytes,
      };
    },
    domainGetDiskErrors: async ({ dom, maxerrors, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const found = await blocks.errors(domain);
      // Room for none asks how many there can be: one for each disk.
      const { disks } = domain.requireLive('ask about disks of').guest.definition.devices;
      if (maxerrors === 0) return { errors: [], nerrors: disks.length };
      const errors = found
        .slice(0, maxerrors)
        .map(({ target, error }) => ({ disk: target, error: error === 'no space' ? 2 : 1 }));
      return { errors, nerrors: errors.length };
    },
  } satisfies RemoteHandlers;
}

/** Sizes and limits, and the marks at which a client wants to be told. */
function limits(engine: Engine) {
  const { blocks } = engine.domains;
  return {
    domainBlockResize: async ({ dom, disk, size, flags }, call) => {
      checkFlags(flags, resizeFlag.bytes, call);
      const unit = (flags & resizeFlag.bytes) === 0 ? 1024 : 1;
      const bytes = toNumber('size', toNumber('size', size) * unit);
      await blocks.resize(domainOf(engine, dom), disk, bytes);
    },
    domainSetBlockIoTune: async ({ dom, disk, params, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      const given = readParams(params, tuneTypes);
      const entries = [...given].map(([name, value]) => [tuneNames[name as TuneName], value]);
      await blocks.setLimits(domain, disk, Object.fromEntries(entries) as IoTune, impactOn(domain, flags));
    },
    domainGetBlockIoTune: ({ dom, disk, nparams, flags }, call) => {
      checkFlags(flags, bothSides | STRING_OKAY, call);
      const domain = domainOf(engine, dom);
      if (nparams === 0) return { params: [], nparams: Object.keys(tuneNames).length };
      if (disk === null) throw invalid('disk in virDomainGetBlockIoTune must not be NULL');
      const { live } = impactOn(domain, flags);
      const set = blocks.limits(domain, disk, { inactive: !live });
      const all = Object.entries(tuneNames).map(([name, field]) =>
        field === 'groupName' ? text(name, set.groupName ?? '') : big(name, set[field] ?? 0),
      );
      return counted(all, nparams);
    },
    domainSetBlockThreshold: async ({ dom, dev, threshold, flags }, call) => {
      checkFlags(flags, 0, call);
      const bytes = toNumber('threshold', threshold);
      await telling(
        'domain.no-device',
        () => invalid(`failed to find disk '${dev}'`),
        () => blocks.setThreshold(domainOf(engine, dom), dev, bytes),
      );
    },
  } satisfies RemoteHandlers;
}

/** Into disks and memory. */
function looks(engine: Engine) {
  const { blocks } = engine.domains;
  return {
    domainBlockPeek: async ({ dom, path, offset, size, flags }, call) => {
      checkFlags(flags, 0, call);
      return { buffer: await blocks.peek(domainOf(engine, dom), path, toNumber('offset', offset), size) };
    },
    domainMemoryPeek: async ({ dom, offset, size, flags }, call) => {
      checkFlags(flags, peekFlag.virtual | peekFlag.physical, call);
      if (flags !== peekFlag.virtual && flags !== peekFlag.physical)
        throw invalid('flags parameter must be VIR_MEMORY_VIRTUAL or VIR_MEMORY_PHYSICAL');
      if (size > MAX_MEMORY_PEEK) throw invalid(`size must be at most ${MAX_MEMORY_PEEK}`);
      const { guest } = domainOf(engine, dom).requireLive('read the memory of');
      const kind = flags === peekFlag.virtual ? 'virtual' : 'physical';
      return { buffer: await guest.tuning.peekMemory(kind, toNumber('offset', offset), size) };
    },
  } satisfies RemoteHandlers;
}

function others(engine: Engine) {
  const { interfaces } = engine.domains;
  return {
    domainInterfaceStats: async ({ dom, device }) => {
      const domain = domainOf(engine, dom);
      const [one] = await telling(
        'domain.no-device',
        () => invalid(`'${device}' is not a known interface`),
        async () => interfaces.statistics(domain, device),
      );
      if (one?.counters === undefined)
        throw new VirtError('request.unsupported', { reason: one?.reason ?? 'nobody counts it' });
      const { counters } = one;
      return {
        rxBytes: counters.rxBytes,
        rxPackets: counters.rxPackets,
        rxErrs: counters.rxErrors,
        rxDrop: counters.rxDropped,
        txBytes: counters.txBytes,
        txPackets: counters.txPackets,
        txErrs: counters.txErrors,
        txDrop: counters.txDropped,
      };
    },
    domainStartDirtyRateCalc: async ({ dom, seconds, flags }, call) => {
      checkFlags(flags, dirtyRateFlags.bitmap | dirtyRateFlags.ring, call);
      if (flags === (dirtyRateFlags.bitmap | dirtyRateFlags.ring))
        throw invalid('dirty-bitmap and dirty-ring are mutually exclusive');
      const mode = { 0: 'page-sampling', 1: 'dirty-bitmap', 2: 'dirty-ring' }[
        flags as 0 | 1 | 2
      ] as DirtyRateMode;
      await domainOf(engine, dom).requireLive('measure').guest.tuning.startDirtyRate(seconds, mode);
    },
  } satisfies RemoteHandlers;
}

/** virDomainDirtyRateCalcFlags; none: page sampling. */
const dirtyRateFlags = { bitmap: 1, ring: 2 } as const;

/** Counters by their names on the wire (libvirt-domain.h, VIR_DOMAIN_BLOCK_STATS_*). */
const blockCounters = {
  wr_bytes: 'writeBytes',
  wr_operations: 'writeRequests',
  rd_bytes: 'readBytes',
  rd_operations: 'readRequests',
  flush_operations: 'flushRequests',
  wr_total_times: 'writeNs',
  rd_total_times: 'readNs',
  flush_total_times: 'flushNs',
} as const;

/** VIR_DOMAIN_BLOCK_IOTUNE_*, in the order in which clients see them. */
export const tuneNames = {
  total_bytes_sec: 'totalBytesSec',
  read_bytes_sec: 'readBytesSec',
  write_bytes_sec: 'writeBytesSec',
  total_iops_sec: 'totalIopsSec',
  read_iops_sec: 'readIopsSec',
  write_iops_sec: 'writeIopsSec',
  total_bytes_sec_max: 'totalBytesSecMax',
  read_bytes_sec_max: 'readBytesSecMax',
  write_bytes_sec_max: 'writeBytesSecMax',
  total_iops_sec_max: 'totalIopsSecMax',
  read_iops_sec_max: 'readIopsSecMax',
  write_iops_sec_max: 'writeIopsSecMax',
  size_iops_sec: 'sizeIopsSec',
  group_name: 'groupName',
  total_bytes_sec_max_length: 'totalBytesSecMaxLength',
  read_bytes_sec_max_length: 'readBytesSecMaxLength',
  write_bytes_sec_max_length: 'writeBytesSecMaxLength',
  total_iops_sec_max_length: 'totalIopsSecMaxLength',
  read_iops_sec_max_length: 'readIopsSecMaxLength',
  write_iops_sec_max_length: 'writeIopsSecMaxLength',
} as const satisfies Readonly<Record<string, keyof IoTune>>;
export type TuneName = keyof typeof tuneNames;

export const tuneTypes: ParamTable = Object.fromEntries(
  Object.keys(tuneNames).map((name) => [name, name === 'group_name' ? 'string' : 'ullong'] as const),
);
