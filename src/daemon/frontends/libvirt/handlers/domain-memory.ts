/** Memory of domains: the balloon, the maximum, the guest's own numbers. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { MemoryUse } from '../../../services/domain-memory.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { toNumber } from './params.ts';
import { affect, checkFlags, domainOf, impactOn } from './support.ts';

/** virDomainMemoryModFlags. */
const MAXIMUM = 4;

export function domainMemoryHandlers(engine: Engine) {
  const { memory } = engine.domains;
  return {
    domainSetMaxMemory: async ({ dom, memory: size }) => {
      const domain = domainOf(engine, dom);
      await memory.setMaximum(domain, toNumber('memory', size), impactOn(domain, 0));
    },
    domainSetMemory: async ({ dom, memory: size }) => {
      const domain = domainOf(engine, dom);
      await memory.set(domain, toNumber('memory', size), impactOn(domain, affect.live));
    },
    domainSetMemoryFlags: async ({ dom, memory: size, flags }, call) => {
      checkFlags(flags, affect.live | affect.config | MAXIMUM, call);
      const domain = domainOf(engine, dom);
      const impact = impactOn(domain, flags);
      if ((flags & MAXIMUM) === 0) await memory.set(domain, toNumber('memory', size), impact);
      else await memory.setMaximum(domain, toNumber('memory', size), impact);
    },
    domainSetMemoryStatsPeriod: async ({ dom, period, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      if (period < 0) throw new LibvirtError(errorNumber.invalidArg, 'period in must be zero or greater');
      const domain = domainOf(engine, dom);
      await memory.setPeriod(domain, period, impactOn(domain, flags));
    },
    domainMemoryStats: async ({ dom, maxStats, flags }, call) => {
      checkFlags(flags, 0, call);
      const use = await memory.use(domainOf(engine, dom));
      return { stats: memoryTags(use).slice(0, maxStats) };
    },
  } satisfies RemoteHandlers;
}

const kib = (bytes: number | undefined) => (bytes === undefined ? undefined : Math.floor(bytes / 1024));

/** virDomainMemoryStatTags in their order from 0; sizes are KiB. */
function memoryTags({ balloonBytes, residentKiB, guest }: MemoryUse): { tag: number; val: number }[] {
  const values = [
    kib(guest?.swapInBytes),
    kib(guest?.swapOutBytes),
    guest?.majorFaults,
    guest?.minorFaults,
    kib(guest?.freeBytes),
    kib(guest?.totalBytes),
    kib(balloonBytes),
    residentKiB,
    kib(guest?.availableBytes),
    guest?.lastUpdateSeconds,
    kib(guest?.diskCacheBytes),
    guest?.hugetlbAllocations,
    guest?.hugetlbFailures,
  ];
  const order = [6, 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 7];
  return order.flatMap((tag) => {
    const val = values[tag];
    return val === undefined ? [] : [{ tag, val }];
  });
}
