/** libvirt's `<capabilities>` document (libvirt docs, formatcaps): the host and the guests it can run, from facts. */
import { formatXml, type XmlElement } from '../../base/xml/tree.ts';
import { element, formatCpuSet, textElement, unlessEmpty, yesNo } from './parts.ts';

export interface HostCpuFacts {
  readonly arch: string;
  /** The named model closest to the host's CPU; undefined where none is known (no KVM, or not x86). */
  readonly model?: string;
  /** libvirt's word: `Intel`, `AMD`. */
  readonly vendor?: string;
  readonly microcode?: number;
  readonly signature?: { readonly family: number; readonly model: number; readonly stepping: number };
  readonly topology: {
    readonly sockets: number;
    readonly dies: number;
    readonly cores: number;
    readonly threads: number;
  };
  /** What the CPU has beyond the model, in libvirt's names. */
  readonly features: readonly string[];
  /** Sizes of the memory pages that the host offers. */
  readonly pageSizesKiB: readonly number[];
}

export interface HostCellFacts {
  readonly id: number;
  readonly memoryKiB: number;
  readonly pages: readonly { readonly sizeKiB: number; readonly count: number }[];
  readonly distances: readonly { readonly cell: number; readonly value: number }[];
  readonly cpus: readonly {
    readonly id: number;
    readonly socketId: number;
    readonly dieId: number;
    readonly coreId: number;
    readonly siblings: readonly number[];
  }[];
}

/** One cache of the host that several CPUs share. */
export interface CacheBankFacts {
  readonly id: number;
  readonly level: number;
  readonly type: 'both' | 'code' | 'data';
  readonly sizeKiB: number;
  readonly cpus: readonly number[];
}

export interface GuestMachineFacts {
  readonly name: string;
  /** Set on an alias: what it stands for. */
  readonly canonical?: string;
  readonly maxCpus: number;
  readonly deprecated: boolean;
}

/** One architecture that guests can have. */
export interface GuestFacts {
  readonly arch: string;
  readonly wordSize: 31 | 32 | 64;
  readonly emulator: string;
  /** In the order in which they are to be offered; the default first. */
  readonly machines: readonly GuestMachineFacts[];
  readonly domainTypes: readonly ('qemu' | 'kvm')[];
}

export interface CapabilityFacts {
  readonly hostUuid: string;
  readonly cpu: HostCpuFacts;
  /** Sleep states of the host. */
  readonly suspend: { readonly memory: boolean; readonly disk: boolean; readonly hybrid: boolean };
  readonly hasIommu: boolean;
  /** Transports of live migration; empty when guests cannot be migrated. */
  readonly migrationTransports: readonly ('tcp' | 'rdma')[];
  readonly cells: readonly HostCellFacts[];
  readonly caches: readonly CacheBankFacts[];
  readonly securityModels: readonly {
    readonly model: string;
    readonly doi: string;
    readonly baseLabels: readonly { readonly type: string; readonly label: string }[];
  }[];
  readonly guests: readonly GuestFacts[];
}

/** Writes the document. */
export function formatCapabilities(facts: CapabilityFacts): string {
  return formatXml(element('capabilities', {}, [host(facts), ...facts.guests.map(guest)]));
}

function host(facts: CapabilityFacts): XmlElement {
  const { suspend } = facts;
  const states = [
    ...(suspend.memory ? [element('suspend_mem')] : []),
    ...(suspend.disk ? [element('suspend_disk')] : []),
    ...(suspend.hybrid ? [element('suspend_hybrid')] : []),
  ];
  return element('host', {}, [
    textElement('uuid', facts.hostUuid),
    hostCpu(facts.cpu),
    element('power_management', {}, states),
    element('iommu', { support: facts.hasIommu }),
    migration(facts.migrationTransports),
    facts.cells.length === 0
      ? undefined
      : element('topology', {}, [element('cells', { num: facts.cells.length }, facts.cells.map(cell))]),
    unlessEmpty('cache', facts.caches.map(bank)),
    ...facts.securityModels.map(securityModel),
  ]);
}

function hostCpu(cpu: HostCpuFacts): XmlElement {
  return element('cpu', {}, [
    textElement('arch', cpu.arch),
    cpu.model === undefined ? undefined : textElement('model', cpu.model),
    cpu.vendor === undefined ? undefined : textElement('vendor', cpu.vendor),
    cpu.microcode === undefined ? undefined : element('microcode', { version: cpu.microcode }),
    cpu.signature && element('signature', { ...cpu.signature }),
    element('topology', { ...cpu.topology }),
    // The schema of libvirt 9 allows no dot in the names here (sse4.1); domain capabilities have them all.
    ...cpu.features.filter((name) => !name.includes('.')).map((name) => element('feature', { name })),
    ...cpu.pageSizesKiB.map((size) => element('pages', { unit: 'KiB', size })),
  ]);
}

function migration(transports: readonly string[]): XmlElement | undefined {
  if (transports.length === 0) return undefined;
  const uris = transports.map((transport) => textElement('uri_transport', transport));
  return element('migration_features', {}, [element('live'), element('uri_transports', {}, uris)]);
}

function cell(facts: HostCellFacts): XmlElement {
  const cpus = facts.cpus.map((cpu) =>
    element('cpu', {
      id: cpu.id,
      socket_id: cpu.socketId,
      die_id: cpu.dieId,
      core_id: cpu.coreId,
      siblings: formatCpuSet(cpu.siblings),
    }),
  );
  const distances = facts.distances.map((distance) =>
    element('sibling', { id: distance.cell, value: distance.value }),
  );
  return element('cell', { id: facts.id }, [
    element('memory', { unit: 'KiB' }, [String(facts.memoryKiB)]),
    ...facts.pages.map((pool) => element('pages', { unit: 'KiB', size: pool.sizeKiB }, [String(pool.count)])),
    unlessEmpty('distances', distances),
    element('cpus', { num: cpus.length }, cpus),
  ]);
}

function bank(facts: CacheBankFacts): XmlElement {
  const { id, level, type } = facts;
  return element('bank', {
    id,
    level,
    type,
    size: facts.sizeKiB,
    unit: 'KiB',
    cpus: formatCpuSet(facts.cpus),
  });
}

function securityModel(facts: CapabilityFacts['securityModels'][number]): XmlElement {
  return element('secmodel', {}, [
    textElement('model', facts.model),
    textElement('doi', facts.doi),
    ...facts.baseLabels.map(({ type, label }) => element('baselabel', { type }, [label])),
  ]);
}

function guest(facts: GuestFacts): XmlElement {
  return element('guest', {}, [
    textElement('os_type', 'hvm'),
    element('arch', { name: facts.arch }, [
      textElement('wordsize', facts.wordSize),
      textElement('emulator', facts.emulator),
      ...facts.machines.map(machine),
      ...facts.domainTypes.map((type) => element('domain', { type })),
    ]),
    element('features', {}, guestFeatures(facts.arch)),
  ]);
}

function machine(facts: GuestMachineFacts): XmlElement {
  const deprecated = facts.deprecated ? yesNo(true) : undefined;
  return element('machine', { canonical: facts.canonical, maxCpus: facts.maxCpus, deprecated }, [facts.name]);
}

function guestFeatures(arch: string): XmlElement[] {
  const isX86 = arch === 'x86_64' || arch === 'i686';
  const hasAcpi = isX86 || arch === 'aarch64';
  return [
    ...(arch === 'i686' ? [element('pae'), element('nonpae')] : []),
    ...(hasAcpi ? [element('acpi', { default: 'on', toggle: true })] : []),
    ...(isX86 ? [element('apic', { default: 'on', toggle: false })] : []),
    element('cpuselection'),
    element('deviceboot'),
    element('disksnapshot', { default: 'on', toggle: false }),
  ];
}
