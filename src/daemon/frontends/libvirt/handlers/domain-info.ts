/** What a domain is and does: state, size, virtual CPUs, job, labels, messages. */
import { stateReasons } from '../../../../model/domain/state.ts';
import type { Domain } from '../../../services/domain.ts';
import { allowedCpus, threadTimes } from '../../../services/process-times.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { infoFacts } from './domain-facts.ts';
import { bitmapOf } from './node.ts';
import { affect, checkFlags, domainOf, impactOn, notValid } from './support.ts';

const stateNames = Object.keys(stateReasons);
const vcpuFlag = { maximum: 4, guest: 8 } as const;
/** virDomainMessageType: tainting, deprecation. */
const messageFlags = 3;

/** virDomainState and the reason of it, as numbers. */
export function stateNumbers({ state }: Domain): { readonly state: number; readonly reason: number } {
  const reasons: readonly string[] = stateReasons[state.state];
  return { state: stateNames.indexOf(state.state), reason: Math.max(0, reasons.indexOf(state.reason)) };
}

export function domainInfoHandlers(engine: Engine) {
  return {
    ...sizes(engine),
    ...remarks(engine),
  } satisfies RemoteHandlers;
}

/** State, memory and virtual CPUs. */
function sizes(engine: Engine) {
  return {
    domainGetInfo: ({ dom }) => {
      const domain = domainOf(engine, dom);
      const { maxMemoryKiB, currentMemoryKiB, vcpus } = infoFacts(engine, domain);
      return {
        state: stateNumbers(domain).state,
        maxMem: maxMemoryKiB,
        memory: currentMemoryKiB,
        nrVirtCpu: vcpus,
        cpuTime: cpuTimeNs(domain),
      };
    },
    domainGetState: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      return stateNumbers(domainOf(engine, dom));
    },
    domainGetOsType: ({ dom }) => ({ type: infoFacts(engine, domainOf(engine, dom)).osType }),
    domainGetMaxMemory: ({ dom }) => ({ memory: infoFacts(engine, domainOf(engine, dom)).maxMemoryKiB }),
    domainGetMaxVcpus: ({ dom }) => ({ num: infoFacts(engine, domainOf(engine, dom)).maxVcpus }),
    domainGetVcpusFlags: async ({ dom, flags }, call) => {
      checkFlags(flags, affect.live | affect.config | vcpuFlag.maximum | vcpuFlag.guest, call);
      const domain = domainOf(engine, dom);
      if ((flags & vcpuFlag.guest) !== 0) {
        const cpus = await engine.domains.agent.cpus(domain);
        const isMaximum = (flags & vcpuFlag.maximum) !== 0;
        return { num: cpus.filter(({ online }) => isMaximum || online).length };
      }
      const { live } = impactOn(domain, flags);
      const { vcpus, maxVcpus } = infoFacts(engine, domain, live ? 'now' : 'stored');
      return { num: (flags & vcpuFlag.maximum) === 0 ? vcpus : maxVcpus };
    },
    domainGetVcpus: async ({ dom, maxinfo, maplen }) => {
      const domain = domainOf(engine, dom);
      if (domain.live === undefined) throw notValid('cannot retrieve vcpu information for inactive domain');
      const threads = (await vcpuThreads(domain)).slice(0, Math.max(0, maxinfo));
      const { pid } = domain.live.guest.record;
      return {
        info: threads.map(({ index, thread }) => vcpuInfo(pid, index, thread)),
        cpumaps: Buffer.concat(threads.map(({ thread }) => cpuMap(pid, thread, maplen))),
      };
    },
  } satisfies RemoteHandlers;
}

/** What is said of a domain besides. */
function remarks(engine: Engine) {
  return {
    // A definition changes only through this daemon, so the running guest is never behind another's change.
    domainIsUpdated: ({ dom }) => {
      domainOf(engine, dom);
      return { updated: 0 };
    },
    domainGetControlInfo: ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      domain.requireLive('look at the control of');
      const job = domain.currentJob;
      // virDomainControlState: ok, or a job is at work and for how long (ms).
      return job === undefined
        ? { state: 0, details: 0, stateTime: 0 }
        : { state: 1, details: 0, stateTime: Math.max(0, Date.now() - job.startedAtMs) };
    },
    domainGetSecurityLabel: ({ dom }) => {
      domainOf(engine, dom);
      return { label: Buffer.from('\0'), enforcing: 0 };
    },
    domainGetSecurityLabelList: ({ dom }) => {
      domainOf(engine, dom);
      return { labels: [], ret: 0 };
    },
    domainGetMessages: ({ dom, flags }, call) => {
      checkFlags(flags, messageFlags, call);
      domainOf(engine, dom);
      return { msgs: [] };
    },
  } satisfies RemoteHandlers;
}

/** Processor time of the guest since its start, in nanoseconds; 0 when it does not run. */
export function cpuTimeNs({ live }: Domain): number {
  const times = live && threadTimes(live.guest.record.pid);
  return times === undefined ? 0 : times.userNs + times.systemNs;
}

interface VcpuThread {
  readonly index: number;
  readonly thread: number;
}

/** The threads of a running domain's virtual CPUs, by number (QMP query-cpus-fast). */
export async function vcpuThreads(domain: Domain): Promise<VcpuThread[]> {
  const reply = await domain.requireLive('ask about CPUs of').guest.monitorCommand('query-cpus-fast');
  if (!Array.isArray(reply)) return [];
  return reply
    .map((cpu: Readonly<Record<string, unknown>>) => ({
      index: Number(cpu['cpu-index']),
      thread: Number(cpu['thread-id']),
    }))
    .filter(({ index, thread }) => Number.isInteger(index) && Number.isInteger(thread))
    .sort((a, b) => a.index - b.index);
}

const VCPU_RUNNING = 1; // virVcpuState

function vcpuInfo(pid: number, number: number, thread: number) {
  const times = threadTimes(pid, thread);
  return {
    number,
    state: VCPU_RUNNING,
    cpuTime: times === undefined ? 0 : times.userNs + times.systemNs,
    cpu: times?.cpu ?? -1,
  };
}

function cpuMap(pid: number, thread: number, maplen: number): Buffer {
  const length = Math.max(0, maplen);
  const cpus = allowedCpus(pid, thread) ?? [];
  return bitmapOf(
    cpus.filter((cpu) => cpu < length * 8),
    length * 8,
  );
}
