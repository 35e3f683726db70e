/** Host methods onto what the host tells. */
import type { Result } from '../../../api/index.ts';
import type { HypervisorDriver } from '../../../drivers/driver.ts';
import type { HostFacts, HostMemory } from '../../../kvm/host-facts.ts';
import type { KvmReport } from '../../../kvm/report.ts';
import type { HostCheck } from '../../host-check/check.ts';
import type { Handlers } from './handlers.ts';

/** What the host methods ask; `daemon/main.ts` wires it. */
export interface HostSource {
  facts(): Promise<HostFacts>;
  /** Memory as it is now. */
  memory(): HostMemory;
  kvm(): Promise<KvmReport>;
  check(options: { readonly signal: AbortSignal }): Promise<readonly HostCheck[]>;
}

type HostHandlers = Pick<Handlers, Extract<keyof Handlers, `host.${string}`>>;

export function bindHost(
  host: HostSource,
  driver: Pick<HypervisorDriver, 'capabilitiesXml' | 'domainCapabilitiesXml'>,
): HostHandlers {
  return {
    'host.info': async () => {
      const [facts, kvm] = await Promise.all([host.facts(), host.kvm()]);
      return { ...hardwareOf(facts), ...memoryOf(host.memory()), kvm: kvmOf(kvm) };
    },
    'host.check': async (_, { signal }) => {
      const checks = await host.check({ signal });
      return { checks: checks.map((check) => ({ ...check, repair: check.repair ?? null })) };
    },
    'host.capabilities': async () => ({ xml: await driver.capabilitiesXml() }),
    'host.domain-capabilities': async ({ emulator, arch, machine, virtType }) => ({
      xml: await driver.domainCapabilitiesXml({
        ...(emulator !== undefined && { emulator }),
        ...(arch !== undefined && { arch }),
        ...(machine !== undefined && { machine }),
        ...(virtType !== undefined && { virtType }),
      }),
    }),
  };
}

function hardwareOf(facts: HostFacts) {
  const { topology } = facts;
  return {
    hostName: facts.hostname,
    uuid: facts.uuid.value,
    arch: facts.arch,
    kernel: facts.kernel.release,
    cpuModel: facts.cpu.modelName ?? null,
    cpuVendor: facts.cpu.vendor ?? null,
    cpuMhz: facts.cpu.mhz ?? null,
    cpus: topology.onlineCpus.length,
    sockets: topology.sockets,
    coresPerSocket: topology.diesPerSocket * topology.coresPerDie,
    threadsPerCore: topology.threadsPerCore,
    numaNodes: facts.cells.length,
  };
}

function memoryOf(memory: HostMemory) {
  return { memoryBytes: memory.totalKiB * 1024, freeMemoryBytes: memory.availableKiB * 1024 };
}

function kvmOf({ usable, problem }: KvmReport): Result<'host.info'>['kvm'] {
  return { usable, reason: problem?.reason ?? null, hint: problem?.repair ?? null };
}
