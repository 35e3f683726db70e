/** Virtual CPUs and IO threads of domains: how many, pinning, processor time. */

import { pinOf } from '../../../../drivers/host-tuning/threads.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { cpusetMembers, formatCpuset } from '../../../../model/domain/cpuset.ts';
import type { Domain } from '../../../services/domain.ts';
import { iothreadIds, type PinTarget } from '../../../services/domain-cpus.ts';
import { threadTimes } from '../../../services/process-times.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { bitmapOf } from './node.ts';
import { big, counted, type ParamTable, readParams } from './params.ts';
import { affect, checkFlags, cpusIn, domainOf, impactOn, invalid, notValid } from './support.ts';

/** virDomainVcpuFlags. */
const vcpuFlag = { maximum: 4, guest: 8, hotpluggable: 16 } as const;
const bothSides = affect.live | affect.config;
/** virTypedParameterFlags: the client takes texts. */
const STRING_OKAY = 4;

export function domainCpuHandlers(engine: Engine) {
  return {
    ...counts(engine),
    ...pins(engine),
    ...iothreads(engine),
    ...times(engine),
  } satisfies RemoteHandlers;
}

async function hostCpus({ host }: Engine): Promise<readonly number[]> {
  return (await host.facts()).topology.onlineCpus;
}

/** Maps of the processors that each target may use, of `maplen` bytes each. */
async function pinMaps(
  engine: Engine,
  domain: Domain,
  wish: { readonly flags: number; readonly maplen: number },
  targets: readonly PinTarget[],
) {
  const { live } = impactOn(domain, wish.flags);
  const definition = engine.domains.definitions.definition(domain, { inactive: !live });
  const all = await hostCpus(engine);
  const bits = Math.max(0, wish.maplen) * 8;
  return targets.map((target) => {
    const set = pinOf(definition, target);
    const members = set === undefined ? all : cpusetMembers(set);
    return bitmapOf(
      members.filter((cpu) => cpu < bits),
      bits,
    );
  });
}

/** How many virtual CPUs there are, and which of them. */
function counts(engine: Engine) {
  const { vcpus } = engine.domains;
  return {
    domainSetVcpus: async ({ dom, nvcpus }) => {
      const domain = domainOf(engine, dom);
      await vcpus.setCount(domain, nvcpus, impactOn(domain, affect.live));
    },
    domainSetVcpusFlags: async ({ dom, nvcpus, flags }, call) => {
      checkFlags(flags, bothSides | vcpuFlag.maximum | vcpuFlag.guest | vcpuFlag.hotpluggable, call);
      const domain = domainOf(engine, dom);
      if ((flags & vcpuFlag.guest) !== 0) {
        if ((flags & vcpuFlag.maximum) !== 0)
          throw invalid("flags 'VIR_DOMAIN_VCPU_MAXIMUM' and 'VIR_DOMAIN_VCPU_GUEST' are mutually exclusive");
        return engine.domains.agent.setCpuCount(domain, nvcpus);
      }
      const impact = impactOn(domain, flags);
      if ((flags & vcpuFlag.maximum) !== 0) await vcpus.setMaximum(domain, nvcpus, impact);
      else await vcpus.setCount(domain, nvcpus, impact, (flags & vcpuFlag.hotpluggable) !== 0);
    },
    domainSetVcpu: async ({ dom, cpumap, state, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      await vcpus.setEach(domain, cpusIn(cpumap), state !== 0, impactOn(domain, flags));
    },
  } satisfies RemoteHandlers;
}

/** Which CPUs of the host a thread may use. */
function pins(engine: Engine) {
  const { cpus } = engine.domains;
  const pin = async (domain: Domain, target: PinTarget, cpumap: Uint8Array, flags: number) => {
    const members = membersOf(cpumap);
    if (members.length === 0) throw invalid('Empty cpu list for pinning');
    await cpus.pin(domain, target, formatCpuset(members), impactOn(domain, flags));
  };
  return {
    domainPinVcpu: ({ dom, vcpu, cpumap }) => pin(domainOf(engine, dom), { vcpu }, cpumap, affect.live),
    domainPinVcpuFlags: ({ dom, vcpu, cpumap, flags }, call) => {
      checkFlags(flags, bothSides, call);
      return pin(domainOf(engine, dom), { vcpu }, cpumap, flags);
    },
    domainGetVcpuPinInfo: async ({ dom, ncpumaps, maplen, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      const { live } = impactOn(domain, flags);
      const { vcpu } = engine.domains.definitions.definition(domain, { inactive: !live });
      const num = Math.min(vcpu.count, Math.max(0, ncpumaps));
      const targets = Array.from({ length: num }, (_, index) => ({ vcpu: index }));
      return { cpumaps: Buffer.concat(await pinMaps(engine, domain, { flags, maplen }, targets)), num };
    },
    domainPinEmulator: ({ dom, cpumap, flags }, call) => {
      checkFlags(flags, bothSides, call);
      return pin(domainOf(engine, dom), 'emulator', cpumap, flags);
    },
    domainGetEmulatorPinInfo: async ({ dom, maplen, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      return {
        cpumaps: Buffer.concat(await pinMaps(engine, domain, { flags, maplen }, ['emulator'])),
        ret: 1,
      };
    },
    domainPinIothread: ({ dom, iothreadsId, cpumap, flags }, call) => {
      checkFlags(flags, bothSides, call);
      return pin(domainOf(engine, dom), { iothread: iothreadsId }, cpumap, flags);
    },
  } satisfies RemoteHandlers;
}

function iothreads(engine: Engine) {
  const { cpus } = engine.domains;
  return {
    domainGetIothreadInfo: async ({ dom, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      const { live } = impactOn(domain, flags);
      const ids = live
        ? (await cpus.iothreads(domain)).map(({ id }) => id)
        : iothreadIds(engine.domains.definitions.definition(domain, { inactive: true }));
      const bytes = Math.ceil((1 + Math.max(0, ...(await hostCpus(engine)))) / 8);
      const targets = ids.map((iothread) => ({ iothread }));
      const cpumaps = await pinMaps(engine, domain, { flags, maplen: bytes }, targets);
      const info = ids.map((iothreadId, index) => ({
        iothreadId,
        cpumap: cpumaps[index] ?? Buffer.alloc(0),
      }));
      return { info, ret: info.length };
    },
    domainAddIothread: async ({ dom, iothreadId, flags }, call) => {
      checkFlags(flags, bothSides, call);
      checkIothreadId(iothreadId);
      const domain = domainOf(engine, dom);
      await cpus.addIothread(domain, iothreadId, impactOn(domain, flags));
    },
    domainDelIothread: async ({ dom, iothreadId, flags }, call) => {
      checkFlags(flags, bothSides, call);
      checkIothreadId(iothreadId);
      const domain = domainOf(engine, dom);
      await cpus.removeIothread(domain, iothreadId, impactOn(domain, flags));
    },
    domainSetIothreadParams: async ({ dom, iothreadId, params, flags }, call) => {
      checkFlags(flags, bothSides, call);
      checkIothreadId(iothreadId);
      const domain = domainOf(engine, dom);
      const given = readParams(params, iothreadParams);
      const settings = Object.fromEntries(
        Object.entries(iothreadNames).flatMap(([name, ours]) => {
          const value = given.get(name);
          return typeof value === 'number' ? [[ours, value]] : [];
        }),
      );
      await cpus.setIothread(domain, iothreadId, settings, impactOn(domain, flags));
    },
  } satisfies RemoteHandlers;
}

function times(engine: Engine) {
  return {
    domainGetCpuStats: async ({ dom, nparams, startCpu, ncpus, flags }, call) => {
      checkFlags(flags, STRING_OKAY, call);
      const domain = domainOf(engine, dom);
      const { guest } = domain.requireLive('count the processor time of');
      if (startCpu !== -1) return perProcessor(engine, domain, { nparams, startCpu, ncpus });
      const times = threadTimes(guest.record.pid);
      if (times === undefined) throw notValid('domain is not running');
      const { userNs, systemNs } = times;
      const all = [
        big('cpu_time', userNs + systemNs),
        big('user_time', userNs),
        big('system_time', systemNs),
      ];
      return counted(all, nparams);
    },
  } satisfies RemoteHandlers;
}

interface ProcessorWish {
  readonly nparams: number;
  readonly startCpu: number;
  readonly ncpus: number;
}

/**
 * A guest's time on single processors (virDomainGetCPUStats): without `ncpus` how many there can be, without `nparams` how
 * much is told of each, else that of each, one after the other.
 */
async function perProcessor(engine: Engine, domain: Domain, { nparams, startCpu, ncpus }: ProcessorWish) {
  const count = 1 + Math.max(0, ...(await hostCpus(engine)));
  if (ncpus === 0) return { params: [], nparams: count };
  const times = await engine.domains.cpus.processorTimes(domain);
  if (times === undefined)
    throw new LibvirtError(
      errorNumber.operationUnsupported,
      'the time on single processors is counted by control groups of version 1 only (cpuacct), from the start of a guest',
    );
  if (nparams === 0) return { params: [], nparams: 1 };
  if (startCpu >= count) throw invalid(`start_cpu ${startCpu} larger than maximum of ${count - 1}`);
  const params = times
    .slice(startCpu, Math.min(count, startCpu + ncpus))
    .map((timeNs) => big('cpu_time', timeNs));
  return { params, nparams: 1 };
}

const iothreadParams: ParamTable = {
  poll_max_ns: 'ullong',
  poll_grow: 'uint',
  poll_shrink: 'uint',
  thread_pool_min: 'int',
  thread_pool_max: 'int',
};
const iothreadNames = {
  poll_max_ns: 'pollMaxNs',
  poll_grow: 'pollGrow',
  poll_shrink: 'pollShrink',
  thread_pool_min: 'threadPoolMin',
  thread_pool_max: 'threadPoolMax',
} as const;

function checkIothreadId(id: number): void {
  if (id === 0) throw new LibvirtError(errorNumber.invalidArg, 'invalid value of 0 for IOThread ID');
  if (id > 65_535) throw new LibvirtError(errorNumber.invalidArg, `IOThread ID ${id} is too large`);
}

/** Bit 0 of byte 0 is processor 0. */
function membersOf(map: Uint8Array): number[] {
  const members: number[] = [];
  for (const [index, byte] of map.entries())
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) members.push(index * 8 + bit);
  return members;
}
