/** Gathers the facts behind the capabilities and domain capabilities documents, and answers with the documents. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import { findProgram } from '../../base/exec.ts';
import type { Logger } from '../../base/log.ts';
import type { HostFacts } from '../../kvm/host-facts.ts';
import { type HostFiles, hostFiles } from '../../kvm/host-files.ts';
import { type KvmReport, kvmUnusable } from '../../kvm/report.ts';
import { readSevLimits, type SevLimits } from '../../kvm/sev.ts';
import { readSleepStates } from '../../kvm/suspend.ts';
import {
  type CapabilityFacts,
  formatCapabilities,
  type GuestFacts,
  type GuestMachineFacts,
  type HostCpuFacts,
} from '../../model/capabilities/capabilities.ts';
import { featureName, vendorName } from '../../model/capabilities/cpu-names.ts';
import { formatDomainCapabilities } from '../../model/capabilities/domain-capabilities.ts';
import { archNames } from '../../model/domain/os.ts';
import { domainCapabilityFacts } from './domain-facts.ts';
import { firmwareDescriptors } from './firmware.ts';
import { readCacheBanks } from './host-details.ts';
import type { EmulatorSource, HostDocuments } from './options.ts';
import { targetsOfArch } from './probe/arch.ts';
import { type Emulator, findEmulators } from './probe/find.ts';
import type { QemuCapabilities, QemuMachine } from './probe/types.ts';

export interface CapabilitySources {
  readonly emulators: EmulatorSource;
  readonly hostFacts: () => Promise<HostFacts>;
  readonly kvmReport: () => Promise<KvmReport>;
  readonly firmwareDirectories: readonly string[];
  /** Hears of emulators and firmware descriptors that are passed over. */
  readonly log: Logger;
  /** Tests hand in others. */
  readonly findEmulators?: () => Promise<readonly Emulator[]>;
  readonly hostFiles?: HostFiles;
  readonly sevLimits?: () => SevLimits;
  readonly findProgram?: (name: string) => Promise<string | undefined>;
}

/** What domain capabilities are asked for; what is left out is the host's best. */
export interface DomainCapabilityQuery {
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  readonly virtType?: string;
}

/** Architectures that an emulator offers besides its own, where no emulator of their own is installed. */
const widerArchs: Readonly<Record<string, string>> = { x86_64: 'i686', aarch64: 'armv7l' };

/** Where Debian, Fedora and Arch put virtiofsd. */
const virtiofsdPaths = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd', '/usr/lib/virtiofsd'];

/** Both documents, as the driver hands them on. */
export function hostDocuments(sources: CapabilitySources): HostDocuments {
  return {
    capabilitiesXml: () => hostCapabilities(sources),
    domainCapabilitiesXml: (query) => domainCapabilities(sources, query),
  };
}

/** The `<capabilities>` document of this host. An emulator that can't be probed is left out, and logged. */
export async function hostCapabilities(sources: CapabilitySources): Promise<string> {
  const files = sources.hostFiles ?? hostFiles();
  const [facts, kvm, guests] = await Promise.all([
    sources.hostFacts(),
    sources.kvmReport(),
    probeAll(sources),
  ]);
  return formatCapabilities({
    hostUuid: facts.uuid.value,
    cpu: hostCpuFacts(facts, guests.find(({ emulator }) => emulator.arch === facts.arch)?.capabilities),
    suspend: readSleepStates(files),
    hasIommu: facts.iommuGroups.length > 0,
    // Guests are not migrated between hosts yet.
    migrationTransports: [],
    cells: facts.cells.map(cellFacts),
    caches: readCacheBanks(files),
    securityModels: [{ model: 'none', doi: '0', baseLabels: [] }],
    guests: guests.flatMap((guest) => guestFacts(guest, guests, kvm.usable, facts.arch)),
  });
}

interface ProbedEmulator {
  readonly emulator: Emulator;
  readonly capabilities: QemuCapabilities;
}

/** One after the other: the first time each costs a QEMU run, later nothing. */
async function probeAll(sources: CapabilitySources): Promise<ProbedEmulator[]> {
  const probed: ProbedEmulator[] = [];
  for (const emulator of await (sources.findEmulators ?? findEmulators)()) {
    try {
      probed.push({ emulator, capabilities: await sources.emulators.capabilities(emulator.path) });
    } catch (error) {
      if (!(error instanceof VirtError)) throw error;
      sources.log.warn({ path: emulator.path, reason: reasonOf(error) }, 'an emulator could not be probed');
    }
  }
  return probed;
}

function hostCpuFacts(facts: HostFacts, capabilities: QemuCapabilities | undefined): HostCpuFacts {
  const { cpu, topology } = facts;
  // Only KVM lets QEMU see the host's CPU; under TCG it would describe its own.
  const closest = capabilities?.accelerators.kvm?.closestModel;
  const vendor = vendorName(cpu.vendor);
  const microcode = cpu.microcode === undefined ? Number.NaN : Number(cpu.microcode);
  const { family, model, stepping } = cpu;
  const isX86 = facts.arch === 'x86_64' || facts.arch === 'i686';
  return {
    arch: facts.arch,
    ...(closest && { model: closest.name }),
    ...(vendor !== undefined && { vendor }),
    ...(microcode > 0 && { microcode }),
    ...(isX86 &&
      family !== undefined &&
      model !== undefined &&
      stepping !== undefined && { signature: { family, model, stepping } }),
    topology: {
      sockets: topology.sockets,
      dies: topology.diesPerSocket,
      cores: topology.coresPerDie,
      threads: topology.threadsPerCore,
    },
    features: (closest?.addedFeatures ?? []).map(featureName).sort(),
    pageSizesKiB: facts.pages.map(({ sizeKiB }) => sizeKiB),
  };
}

function cellFacts(cell: HostFacts['cells'][number]): CapabilityFacts['cells'][number] {
  return {
    id: cell.id,
    memoryKiB: cell.memoryKiB,
    pages: cell.pages.map(({ sizeKiB, count }) => ({ sizeKiB, count })),
    distances: cell.distances,
    cpus: cell.cpus,
  };
}

/** The guests of one emulator: its own architecture, and a narrower one that has no emulator. */
function guestFacts(
  { emulator, capabilities }: ProbedEmulator,
  all: readonly ProbedEmulator[],
  kvmUsable: boolean,
  hostArch: string,
): GuestFacts[] {
  const wider = widerArchs[emulator.arch];
  const missing = wider !== undefined && !all.some((other) => other.emulator.arch === wider);
  const archs = [emulator.arch, ...(missing ? [wider] : [])];
  // Definitions have no word for some of QEMU's targets (avr, rx, tricore), so no guest of theirs can be defined.
  const definable: readonly string[] = archNames;
  return archs
    .filter((arch) => definable.includes(arch))
    .map((arch) => ({
      arch,
      wordSize: wordSize(arch),
      emulator: emulator.path,
      machines: machineFacts(machinesOf(capabilities)),
      domainTypes: [
        ...(capabilities.accelerators.tcg ? (['qemu'] as const) : []),
        ...(kvmUsable && capabilities.kvm.enabled && runsNatively(hostArch, arch) ? (['kvm'] as const) : []),
      ],
    }));
}

function runsNatively(host: string, guest: string): boolean {
  return host === guest || widerArchs[host] === guest;
}

const archsOf32Bits =
  /^(i686|armv[67]l|mips|mipsel|ppc|riscv32|sh4|sh4eb|sparc|m68k|microblaze|microblazeel|parisc|openrisc|xtensa|xtensaeb)$/;

function wordSize(arch: string): 32 | 64 {
  return archsOf32Bits.test(arch) ? 32 : 64;
}

function machinesOf(capabilities: QemuCapabilities): readonly QemuMachine[] {
  const { tcg, kvm } = capabilities.accelerators;
  // `none` is for questions, `x-remote` for devices in processes of their own; neither boots a guest.
  return (tcg ?? kvm)?.machines.filter(({ name }) => name !== 'none' && !name.startsWith('x-')) ?? [];
}

/** The default first, each alias right after what it stands for. */
function machineFacts(machines: readonly QemuMachine[]): GuestMachineFacts[] {
  return machines
    .toSorted((a, b) => Number(b.isDefault) - Number(a.isDefault))
    .flatMap(({ name, alias, maxCpus, deprecated }) => [
      { name, maxCpus, deprecated },
      ...(alias === undefined ? [] : [{ name: alias, canonical: name, maxCpus, deprecated }]),
    ]);
}

/**
 * The `<domainCapabilities>` document.
 * @throws VirtError qemu.missing, qemu.probe-failed, qemu.lacks (machine or architecture), kvm.unusable,
 *   request.invalid (an unknown virtType)
 */
export async function domainCapabilities(
  sources: CapabilitySources,
  query: DomainCapabilityQuery,
): Promise<string> {
  const facts = await sources.hostFacts();
  const { capabilities, guestArch, domainType } = await chooseEmulator(sources, query);
  const find = sources.findProgram ?? findProgram;
  const found = await Promise.all(['swtpm', ...virtiofsdPaths].map((name) => find(name)));
  return formatDomainCapabilities(
    domainCapabilityFacts({
      capabilities,
      domainType,
      machine: machineNamed(capabilities, query.machine),
      arch: guestArch,
      firmware: await readFirmware(sources),
      ...(domainType === 'kvm' && { kvmMaxVcpus: (await sources.kvmReport()).vcpus.max }),
      hasSwtpm: found[0] !== undefined,
      hasVirtiofsd: found.slice(1).some((program) => program !== undefined),
      hasIommu: facts.iommuGroups.length > 0,
      ...(domainType === 'kvm' &&
        capabilities.accelerators.kvm?.sev && { sevLimits: (sources.sevLimits ?? readSevLimits)() }),
    }),
  );
}

/**
 * The emulator that a question is about, and by what it runs guests.
 * @throws VirtError qemu.missing, qemu.probe-failed, qemu.lacks, kvm.unusable, request.invalid
 */
export async function chooseEmulator(
  sources: CapabilitySources,
  query: Omit<DomainCapabilityQuery, 'machine'>,
): Promise<{
  readonly path: string;
  readonly capabilities: QemuCapabilities;
  readonly guestArch: string;
  readonly domainType: 'kvm' | 'qemu';
}> {
  const { arch: hostArch } = await sources.hostFacts();
  const arch = query.arch ?? (query.emulator === undefined ? hostArch : undefined);
  const path = query.emulator ?? (await emulatorPath(sources, arch ?? hostArch));
  const capabilities = await sources.emulators.capabilities(path);
  const guestArch = checkArch(capabilities, arch);
  const domainType = await domainTypeOf(sources, query, { capabilities, guestArch, hostArch });
  return { path, capabilities, guestArch, domainType };
}

async function emulatorPath(sources: CapabilitySources, arch: string): Promise<string> {
  const path = await sources.emulators.find(arch);
  if (path !== undefined) return path;
  throw new VirtError('qemu.missing', {
    wanted: 'tell domain capabilities',
    reason: `no emulator for ${arch} is installed`,
    hint: `install the package that has qemu-system-${targetsOfArch(arch)[0] ?? arch}`,
  });
}

function lacks(capabilities: QemuCapabilities, what: string): VirtError {
  return new VirtError('qemu.lacks', {
    wanted: 'tell domain capabilities',
    reason: `${capabilities.path} has no ${what}`,
    details: { path: capabilities.path },
  });
}

function checkArch(capabilities: QemuCapabilities, wanted: string | undefined): string {
  const arch = wanted ?? capabilities.arch;
  if (arch === capabilities.arch || widerArchs[capabilities.arch] === arch) return arch;
  throw lacks(capabilities, `guests of architecture ${arch}`);
}

/** @throws VirtError qemu.lacks */
export function machineNamed(capabilities: QemuCapabilities, wanted: string | undefined): QemuMachine {
  const machines = machinesOf(capabilities);
  const found =
    wanted === undefined
      ? (machines.find(({ isDefault }) => isDefault) ??
        machines.find(({ alias }) => alias === 'virt') ??
        machines[0])
      : machines.find(({ name, alias }) => name === wanted || alias === wanted);
  if (found === undefined) throw lacks(capabilities, `machine type ${wanted ?? ''}`.trim());
  return found;
}

async function domainTypeOf(
  sources: CapabilitySources,
  { virtType }: DomainCapabilityQuery,
  guest: { readonly capabilities: QemuCapabilities; readonly guestArch: string; readonly hostArch: string },
): Promise<'kvm' | 'qemu'> {
  if (virtType === 'qemu') return 'qemu';
  if (virtType !== undefined && virtType !== 'kvm')
    throw new VirtError('request.invalid', {
      wanted: 'tell domain capabilities',
      reason: `'${virtType}' is no type of domain here; use kvm or qemu`,
    });
  const report = await sources.kvmReport();
  const possible = guest.capabilities.kvm.enabled && runsNatively(guest.hostArch, guest.guestArch);
  if (report.usable && possible) return 'kvm';
  if (virtType === undefined) return 'qemu';
  if (!report.usable) throw kvmUnusable(report, 'tell domain capabilities for KVM');
  throw new VirtError('kvm.unusable', {
    wanted: 'tell domain capabilities for KVM',
    reason: `${guest.capabilities.path} cannot use KVM for ${guest.guestArch} guests here`,
  });
}

function readFirmware(sources: CapabilitySources): ReturnType<typeof firmwareDescriptors> {
  return firmwareDescriptors(sources.firmwareDirectories, {
    onProblem: (path, reason) => sources.log.debug({ path, reason }, 'a firmware descriptor is passed over'),
  });
}
