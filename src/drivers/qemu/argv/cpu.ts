/** The guest's CPUs: -cpu with model and features, and -smp. */
import { featureName, qemuFeatureName } from '../../../model/capabilities/cpu-names.ts';
import type { Cpu } from '../../../model/domain/cpu.ts';
import { bootVcpus } from '../../../model/domain/vcpu-states.ts';
import type { QemuMachine } from '../probe/types.ts';
import { settledCpu } from '../settled-cpu.ts';
import type { Build } from './context.ts';
import { hypervOptions } from './hyperv.ts';

export type CpuOption = readonly [string, string | number | boolean | undefined];

/** Features that libvirt's CPU map knows and QEMU has no switch for: the guest OS sets them. */
const notConfigurable: ReadonlySet<string> = new Set(['osxsave', 'ospke']);

/** -cpu; nothing when the definition asks for nothing and the machine's own default will do. */
export function buildCpu(b: Build): void {
  const cpu = b.definition.cpu;
  const switches = [...featureSwitches(b), ...hypervOptions(b)];
  if (cpu === undefined || (cpu.mode === undefined && cpu.model?.name === undefined)) {
    const extra = [...(cpu === undefined ? [] : cpuDetails(b, cpu)), ...switches];
    if (extra.length > 0) b.pairs('-cpu', [['', defaultModel(b)], ...extra]);
    return;
  }
  const named = settledCpu(cpu, b.accelerator);
  refuseMatching(b, named);
  if (cpu.match === 'minimum') refuseMissing(b, { ...cpu, check: 'partial' });
  refuseMissing(b, named);
  b.pairs('-cpu', [...model(b, named), ...cpuDetails(b, named), ...switches]);
}

/** The guest's machine type, as the emulator tells of it. */
function machineOf(b: Build): QemuMachine | undefined {
  return b.accelerator?.machines.find(({ name, alias }) => name === b.machine || alias === b.machine);
}

/** The name that -cpu takes for the machine's default type: `qemu64-x86_64-cpu` -> `qemu64`. */
function defaultModel(b: Build): string {
  const name = machineOf(b)?.defaultCpuType?.replace(/-[a-z0-9_]+-cpu$/, '');
  if (name === undefined) b.problem('cpu.model', 'is needed: the machine type has no default CPU model');
  return name ?? '';
}

function model(b: Build, cpu: Cpu): CpuOption[] {
  switch (cpu.mode) {
    case 'host-passthrough':
      if (!b.isKvm) b.problem('cpu.mode', `'host-passthrough' needs KVM; use 'maximum' or a named model`);
      return [
        ['', 'host'],
        ['migratable', cpu.migratable],
      ];
    case 'maximum':
      if (!b.isX86) b.refuse('cpu', { migratable: cpu.migratable }, `is only there on x86, not on ${b.arch}`);
      return [
        ['', 'max'],
        ['migratable', cpu.migratable],
      ];
    case 'host-model':
      return hostModel(b);
    default:
      return namedModel(b, cpu);
  }
}

/** The host's CPU where no named model is near to it: as QEMU describes it, by name and each feature. */
function hostModel(b: Build): CpuOption[] {
  const expansion = b.accelerator?.staticHostModel;
  if (expansion === undefined) return [['', b.isKvm ? 'host' : 'max']];
  return [['', expansion.name], ...Object.entries(expansion.props)];
}

function namedModel(b: Build, cpu: Cpu): CpuOption[] {
  const name = cpu.model?.name ?? defaultModel(b);
  const found = b.accelerator?.cpuModels.find((candidate) => candidate.name === name);
  if (found === undefined) b.lacks('cpu.model', `CPU model '${name}'`);
  return [
    ['', name],
    ['enforce', cpu.check === 'full' ? true : undefined],
  ];
}

/** What follows from comparing with the host is not done here, as guests are compared by QEMU itself. */
function refuseMatching(b: Build, cpu: Cpu): void {
  if (cpu.match === 'minimum')
    b.problem('cpu.match', `'minimum' needs a QEMU that tells of its CPU models; use 'exact'`);
  if (cpu.match === 'strict' && cpu.check !== 'none')
    b.problem('cpu.match', `'strict' is only taken unchecked (check='none'); use 'exact', and check='full'`);
  if (cpu.vendor === undefined) return;
  const host = b.accelerator?.hostModel?.props.vendor;
  const wanted = { Intel: 'GenuineIntel', AMD: 'AuthenticAMD', Hygon: 'HygonGenuine' }[cpu.vendor];
  if (wanted === undefined) b.problem('cpu.vendor', `'${cpu.vendor}' is not a vendor we know`);
  else if (b.isKvm && host !== undefined && host !== wanted)
    b.problem('cpu.vendor', `wants a CPU of ${cpu.vendor}, the host's is ${String(host)}`);
}

/**
 * Features that QEMU's `host` is without although they can be had: the one is kept from CPUs that are to be migrated, the
 * other is left to those who ask for it (QEMU target/i386/cpu.c).
 */
const notShown: ReadonlySet<string> = new Set(['invtsc', 'topoext']);

/**
 * check='partial': no start with a CPU that this host cannot give. What QEMU knows of and libvirt's own list of features has
 * not (those of nested VMX) does not count: guests have always run without.
 */
function refuseMissing(b: Build, cpu: Cpu): void {
  if (cpu.mode !== 'custom' || cpu.check !== 'partial') return;
  const waived = new Set(cpu.features.filter(({ policy }) => policy !== 'require').map(({ name }) => name));
  const ofModel = b.accelerator?.cpuModels.find(({ name }) => name === cpu.model?.name)?.unavailableFeatures;
  const wanted = cpu.features.filter(({ name, policy }) => policy === 'require' && !notShown.has(name));
  const lacking = wanted.filter(({ name }) => hostProperty(b, name) === false).map(({ name }) => name);
  const missing = new Set(
    [...(ofModel ?? []).filter((name) => !name.startsWith('vmx-')).map(featureName), ...lacking].filter(
      (name) => !waived.has(name),
    ),
  );
  if (missing.size > 0)
    b.problem(
      'cpu',
      `this host's CPU does not provide ${[...missing].join(', ')}; disable that, or do not check it (check='none')`,
    );
}

/** What the host's CPU has of a feature; undefined where QEMU knows none of that name, or tells nothing of CPUs. */
function hostProperty(b: Build, name: string): boolean | string | number | undefined {
  return b.accelerator?.hostModel?.props[qemuFeatureName(name)];
}

function cpuDetails(b: Build, cpu: Cpu): CpuOption[] {
  const options: CpuOption[] = [
    ['vendor', cpu.model?.vendorId],
    ...cpu.features.flatMap((feature, index) => featureOption(b, feature, index)),
    ...cacheOptions(b, cpu),
    ...physicalBits(cpu),
  ];
  return options.filter(([, value]) => value !== undefined);
}

function featureOption(b: Build, feature: Cpu['features'][number], index: number): CpuOption[] {
  if (notConfigurable.has(feature.name)) return [];
  const host = hostProperty(b, feature.name);
  const name = qemuFeatureName(feature.name);
  // QEMU ends at the name of a feature that it has no switch for.
  if (b.accelerator?.hostModel !== undefined && host === undefined) return unknownFeature(b, feature, index);
  switch (feature.policy) {
    case 'disable':
      return [[name, false]];
    case 'forbid':
      if (host === true && b.definition.cpu?.check !== 'none')
        b.problem(`cpu.feature[${index}]`, `'${feature.name}' is forbidden, and the host has it`);
      return [[name, false]];
    case 'optional':
      return host === undefined ? [] : [[name, host === true]];
    default:
      return [[name, true]];
  }
}

/** A guest is without it anyway; only who insists on it is told. */
function unknownFeature(b: Build, { name, policy }: Cpu['features'][number], index: number): CpuOption[] {
  if (policy === undefined || policy === 'require' || policy === 'force')
    b.problem(`cpu.feature[${index}]`, `this QEMU knows no feature '${name}'`);
  return [];
}

/** CPUID leaf 4: the host's caches, an emulated L3, or none (QEMU target/i386/cpu.c, l3-cache and host-cache-info). */
function cacheOptions(b: Build, cpu: Cpu): CpuOption[] {
  if (cpu.cache === undefined) return [];
  if (!b.isX86) b.problem('cpu.cache', `is only there on x86, not on ${b.arch}`);
  if (cpu.cache.mode === 'passthrough')
    return [
      ['host-cache-info', true],
      ['l3-cache', false],
    ];
  // A property of the models host and max only (QEMU target/i386/cpu.c, max_x86_cpu_class_init).
  const isHosts = cpu.mode === 'host-passthrough' || cpu.mode === 'maximum';
  if (cpu.cache.mode === 'emulate' && cpu.cache.level !== undefined && cpu.cache.level !== 3)
    b.problem('cpu.cache.level', 'only level 3 can be emulated');
  return [
    ['l3-cache', cpu.cache.mode === 'emulate'],
    ['host-cache-info', isHosts ? false : undefined],
  ];
}

function physicalBits(cpu: Cpu): CpuOption[] {
  const bits = cpu.maxphysaddr;
  if (bits === undefined) return [];
  if (bits.mode === 'emulate') return [['phys-bits', bits.bits]];
  return [
    ['host-phys-bits', true],
    ['host-phys-bits-limit', bits.limit],
  ];
}

/** Switches of <features> and <clock> that are options of -cpu. */
function featureSwitches(b: Build): CpuOption[] {
  const { features, clock } = b.definition;
  const kvm = features?.kvm;
  const timer = (name: string) => clock?.timers.find((candidate) => candidate.name === name);
  const options: CpuOption[] = [
    ['pmu', features?.pmu],
    ['kvm-pv-eoi', features?.apic?.eoi],
    ['kvm-pv-unhalt', features?.pvspinlock],
    ['kvm', kvm?.hidden ? false : undefined],
    ['kvm-hint-dedicated', kvm?.hintDedicated],
    ['kvm-poll-control', kvm?.pollControl],
    ['kvm-pv-ipi', kvm?.pvIpi],
    ['kvmclock', timer('kvmclock')?.present],
    ['kvm-no-adjvtime', timer('armvtimer')?.tickpolicy === 'discard' ? true : undefined],
    ['tsc-frequency', timer('tsc')?.frequency],
  ];
  const wanted = options.filter(([, value]) => value !== undefined);
  // TCG has none of KVM's paravirtual features: switched off is what the guest gets anyway.
  const isParavirtual = ([name]: CpuOption) => name.startsWith('kvm');
  if (b.isKvm) return wanted;
  for (const [name, value] of wanted.filter(isParavirtual))
    if (value === true) b.problem('features', `'${name}' needs a domain of type kvm`);
  return wanted.filter((option) => !isParavirtual(option));
}

/** -smp: CPUs at boot, how many at most, and how they are laid out. */
export function buildSmp(b: Build): void {
  const { vcpu, cpu } = b.definition;
  // The others are plugged in before the guest runs: -smp knows the first ones only.
  const present = bootVcpus(b.definition);
  const most = machineOf(b)?.maxCpus ?? vcpu.count;
  if (vcpu.count > most)
    b.problem('vcpu', `is ${vcpu.count}, and machine type '${b.machine}' has at most ${most}`);
  const topology = cpu?.topology;
  const product = topologyProduct(topology) ?? vcpu.count;
  if (product !== vcpu.count)
    b.problem('cpu.topology', `has room for ${product} CPUs, and the domain has ${vcpu.count}`);
  const moreThanOne = (count: number | undefined) => (count !== undefined && count > 1 ? count : undefined);
  b.pairs('-smp', [
    ['', present],
    ['maxcpus', present === vcpu.count ? undefined : vcpu.count],
    ['sockets', topology?.sockets ?? vcpu.count],
    ['dies', moreThanOne(topology?.dies)],
    ['clusters', moreThanOne(topology?.clusters)],
    ['cores', topology?.cores ?? 1],
    ['threads', topology?.threads ?? 1],
  ]);
}

function topologyProduct(topology: Cpu['topology']): number | undefined {
  if (topology === undefined) return undefined;
  return (
    topology.sockets * (topology.dies ?? 1) * (topology.clusters ?? 1) * topology.cores * topology.threads
  );
}
