/** The guest's CPUs: -cpu with model and features, and -smp. */
import type { Cpu } from '../../../model/domain/cpu.ts';
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
  refuseMatching(b, cpu);
  b.pairs('-cpu', [...model(b, cpu), ...cpuDetails(b, cpu), ...switches]);
}

/** The name that -cpu takes for the machine's default type: `qemu64-x86_64-cpu` -> `qemu64`. */
function defaultModel(b: Build): string {
  const machines = b.accelerator?.machines ?? [];
  const found = machines.find((machine) => machine.name === b.machine || machine.alias === b.machine);
  const name = found?.defaultCpuType?.replace(/-[a-z0-9_]+-cpu$/, '');
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
      return [
        ['', 'max'],
        ['migratable', b.isKvm ? cpu.migratable : undefined],
      ];
    case 'host-model':
      return hostModel(b);
    default:
      return namedModel(b, cpu);
  }
}

/** The host's CPU as QEMU describes it by a model that can be told to another host: name and each feature. */
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
  if (cpu.match === 'minimum' || cpu.match === 'strict')
    b.problem('cpu.match', `'${cpu.match}' is not supported; use 'exact', and check='full' to insist`);
  if (cpu.vendor === undefined) return;
  const host = b.accelerator?.hostModel?.props.vendor;
  const wanted = { Intel: 'GenuineIntel', AMD: 'AuthenticAMD', Hygon: 'HygonGenuine' }[cpu.vendor];
  if (wanted === undefined) b.problem('cpu.vendor', `'${cpu.vendor}' is not a vendor we know`);
  else if (b.isKvm && host !== undefined && host !== wanted)
    b.problem('cpu.vendor', `wants a CPU of ${cpu.vendor}, the host's is ${String(host)}`);
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
  const host = b.accelerator?.hostModel?.props[feature.name];
  switch (feature.policy) {
    case 'disable':
      return [[feature.name, false]];
    case 'forbid':
      if (host === true)
        b.problem(`cpu.feature[${index}]`, `'${feature.name}' is forbidden, and the host has it`);
      return [[feature.name, false]];
    case 'optional':
      return host === true ? [[feature.name, true]] : [];
    default:
      return [[feature.name, true]];
  }
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
  if (cpu.cache.mode === 'emulate' && cpu.cache.level !== undefined && cpu.cache.level !== 3)
    b.problem('cpu.cache.level', 'only level 3 can be emulated');
  return [
    ['l3-cache', cpu.cache.mode === 'emulate'],
    ['host-cache-info', false],
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
  const { vcpu, vcpus, cpu } = b.definition;
  const present = vcpus.length === 0 ? (vcpu.current ?? vcpu.count) : presentCpus(b);
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

/** Of single CPUs only the first N can be there at boot: -smp takes no other choice. */
function presentCpus(b: Build): number {
  const { vcpus } = b.definition;
  const enabled = vcpus.filter((entry) => entry.enabled).length;
  if (vcpus.some((entry) => entry.enabled !== entry.id < enabled))
    b.problem('vcpus', 'only the first CPUs can be enabled at boot');
  return enabled;
}
