/** Host methods onto what the host tells. */
import type { Result } from '../../../api/index.ts';
import type { HypervisorDriver, MemoryEncryption } from '../../../drivers/driver.ts';
import type { HostFacts, HostMemory } from '../../../kvm/host-facts.ts';
import type { KvmReport } from '../../../kvm/report.ts';
import type { HostCheck } from '../../host-check/check.ts';
import type { ListedDevice } from '../../services/host-device-list.ts';
import { hostInterfaceXml } from '../../services/host-interface-documents.ts';
import type { OwnedInterface } from '../../services/host-interfaces.ts';
import type { HostService } from '../../services/host-service.ts';
import type { SaslUserHandlers } from './bind-sasl-users.ts';
import type { Handlers } from './handlers.ts';

/** What the host methods ask; `daemon/jsonrpc-door.ts` wires it. */
export interface HostSource {
  facts(): Promise<HostFacts>;
  /** Memory as it is now. */
  memory(): HostMemory;
  kvm(): Promise<KvmReport>;
  check(options: { readonly signal: AbortSignal }): Promise<readonly HostCheck[]>;
  interfaces(): readonly OwnedInterface[];
  devices(): readonly ListedDevice[];
  sev(): Promise<MemoryEncryption>;
  readonly statistics: Pick<HostService, 'cpuTimes' | 'cpuMap' | 'cells' | 'sysinfoXml'>;
}

/** All but what is done to guests (bind-power-order.ts). */
type HostHandlers = Pick<
  Handlers,
  Exclude<Extract<keyof Handlers, `host.${string}`>, 'host.shutdown-guests' | keyof SaslUserHandlers>
>;

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
    'host.interfaces': async ({ type }) => ({
      interfaces: host
        .interfaces()
        .filter((one) => type === undefined || one.type === type)
        .map(interfaceOf),
    }),
    'host.interface-xml': async ({ interface: name }) => ({ xml: hostInterfaceXml(name) }),
    'host.devices': async ({ type }) => ({
      devices: host
        .devices()
        .filter((one) => type === undefined || one.type === type)
        .map(deviceOf),
    }),
    'host.statistics': async () => statisticsOf(host.statistics),
    'host.sysinfo': async () => ({ xml: host.statistics.sysinfoXml() }),
    'host.sev': async () => {
      const { platform, problem } = await host.sev();
      return {
        platform: platform === undefined ? null : { ...platform, cpu0Id: platform.cpu0Id ?? null },
        reason: problem?.reason ?? null,
        hint: problem?.repair ?? null,
      };
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

function statisticsOf(host: HostSource['statistics']): Result<'host.statistics'> {
  return {
    total: host.cpuTimes(),
    cpus: host
      .cpuMap()
      .online.map((online, cpu) => ({ cpu, online, times: online ? host.cpuTimes(cpu) : null })),
    cells: host.cells().map(({ cell, totalKiB, freeKiB, pages }) => ({
      cell,
      memoryBytes: totalKiB * 1024,
      freeMemoryBytes: freeKiB * 1024,
      pages: pages.map(({ sizeKiB, count, free }) => ({ sizeBytes: sizeKiB * 1024, count, free })),
    })),
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

function deviceOf(one: ListedDevice): Result<'host.devices'>['devices'][number] {
  const named = {
    vendor: one.vendorName ?? null,
    product: one.productName ?? null,
    usedBy: one.usedBy ?? null,
  };
  if (one.type === 'scsi') {
    const [host, bus = 0, target = 0, unit = 0] = one.place.split(':').map(Number);
    const { node = null, block = null, kind = null } = one;
    return { type: 'scsi', ...named, adapter: `scsi_host${host}`, bus, target, unit, node, block, kind };
  }
  const shared = { ids: one.ids, ...named };
  if (one.type === 'usb') {
    const { name, bus, device, serial, isHub } = one;
    return { type: 'usb', ...shared, name, bus, device, serial: serial ?? null, hub: isHub };
  }
  return {
    type: 'pci',
    ...shared,
    address: one.address,
    class: one.class.toString(16).padStart(6, '0'),
    driver: one.driver ?? null,
    iommuGroup: one.group === undefined ? null : Number(one.group),
    numaNode: one.numaNode ?? null,
  };
}

function interfaceOf(one: OwnedInterface): Result<'host.interfaces'>['interfaces'][number] {
  return {
    name: one.name,
    index: one.index,
    type: one.type,
    up: one.isUp,
    state: one.state,
    mac: one.mac ?? null,
    mtu: one.mtu,
    master: one.master ?? null,
    parent: one.parent ?? null,
    vlan: one.vlanId ?? null,
    speedMbps: one.speedMbps ?? null,
    addresses: one.addresses.map(({ address, prefix, family }) => ({
      address,
      prefix,
      family: `ipv${family}`,
    })),
    owner: one.owner ?? null,
  };
}
