/** The machine itself: -machine, -accel, and the switches of <features> that belong to them. */
import type { QemuMachine } from '../probe/types.ts';
import type { Build } from './context.ts';
import { hasNvdimm } from './memory-device.ts';

const MIB = 1024 * 1024;

type Pair = readonly [string, string | number | boolean | undefined];

/** What other parts add to -machine. */
interface MachineParts {
  readonly memoryBackend: string | undefined;
  readonly pflash: readonly string[];
  readonly hmat: boolean;
  /** The object that encrypts memory. */
  readonly confidential: string | undefined;
}

/** The machine type as the binary knows it, by name or alias; undefined is reported as lacking. */
export function findMachine(b: Build): QemuMachine | undefined {
  const machines = b.accelerator?.machines ?? [];
  const found = machines.find((machine) => machine.name === b.machine || machine.alias === b.machine);
  if (found === undefined) b.lacks('os.type.machine', `machine type '${b.machine}' for ${b.definition.type}`);
  return found;
}

/** -machine with everything that is set on it. */
export function buildMachine(b: Build, parts: MachineParts): void {
  const { features, memory, memoryBacking } = b.definition;
  const options: Pair[] = [
    ['', b.machine],
    ['usb', b.isX86 ? false : undefined],
    ['smm', smm(b)],
    ['dump-guest-core', memory.dumpCore ?? false],
    ['mem-merge', memoryBacking?.nosharepages ? false : undefined],
    ['vmport', x86Only(b, 'vmport', features?.vmport)],
    ['i8042', ps2(b)],
    ...gic(b),
    ['ras', armOnly(b, 'ras', features?.ras)],
    ['pflash0', parts.pflash[0]],
    ['pflash1', parts.pflash[1]],
    ['hpet', hpet(b)],
    ['pit', pit(b)],
    ['nvdimm', hasNvdimm(b) ? true : undefined],
    ['memory-backend', parts.memoryBackend],
    ['hmat', parts.hmat ? true : undefined],
    // The property's name before QEMU 6.0 was memory-encryption, and QEMU before 6.2 is not supported.
    ['confidential-guest-support', parts.confidential],
    ['iommu', b.definition.devices.iommu?.model === 'smmuv3' ? 'smmuv3' : undefined],
    ['acpi', acpi(b)],
  ];
  b.pairs('-machine', options);
}

function x86Only<T>(b: Build, name: string, value: T | undefined): T | undefined {
  if (value !== undefined && !b.isX86)
    b.problem(`features.${name}`, `is only there on x86, not on ${b.arch}`);
  return b.isX86 ? value : undefined;
}

function armOnly<T>(b: Build, name: string, value: T | undefined): T | undefined {
  const isArm = b.arch === 'aarch64' || b.arch === 'armv7l';
  if (value !== undefined && !isArm) b.problem(`features.${name}`, `is only there on ARM, not on ${b.arch}`);
  return isArm ? value : undefined;
}

function smm(b: Build): boolean | undefined {
  const wanted = b.definition.features?.smm;
  if (wanted === undefined) return undefined;
  if (wanted.tsegBytes !== undefined) buildTseg(b, wanted.tsegBytes);
  return x86Only(b, 'smm', wanted.state ?? true);
}

/** The size of TSEG is a property of q35's memory controller, in MiB (QEMU hw/pci-host/q35.c). */
function buildTseg(b: Build, bytes: number): void {
  if (!b.isQ35) b.problem('features.smm.tseg', 'needs a q35 machine');
  if (bytes % MIB !== 0) b.problem('features.smm.tseg', 'is not a whole number of MiB');
  b.pairs('-global', [['', `mch.extended-tseg-mbytes=${bytes / MIB}`]]);
}

/** The keyboard controller can be left out since QEMU 7.0 (machine property i8042). */
function ps2(b: Build): boolean | undefined {
  const wanted = x86Only(b, 'ps2', b.definition.features?.ps2);
  if (wanted === undefined) return undefined;
  if (b.caps.version.major < 7) b.lacks('features.ps2', 'machine property i8042');
  return wanted;
}

function gic(b: Build): Pair[] {
  const wanted = b.definition.features?.gic;
  if (wanted === undefined) return [];
  return [['gic-version', armOnly(b, 'gic', wanted.version ?? 'max')]];
}

function hpet(b: Build): boolean | undefined {
  return timerPresence(b, 'hpet');
}

function pit(b: Build): boolean | undefined {
  return timerPresence(b, 'pit');
}

function timerPresence(b: Build, name: 'hpet' | 'pit'): boolean | undefined {
  const index = b.definition.clock?.timers.findIndex((timer) => timer.name === name) ?? -1;
  const present = b.definition.clock?.timers[index]?.present;
  if (present === undefined) return undefined;
  if (!b.isX86) b.problem(`clock.timer[${index}]`, `there is no ${name} on ${b.arch}`);
  return name === 'pit' && present ? undefined : present;
}

/** ACPI is on by default where a machine has it; a definition without <acpi/> wants none. */
function acpi(b: Build): boolean | undefined {
  const hasAcpi = b.isX86 || (b.arch === 'aarch64' && b.machine.startsWith('virt'));
  return hasAcpi && !b.definition.features?.acpi ? false : undefined;
}

/** -accel, with what <features> sets on the accelerator. */
export function buildAccelerator(b: Build): void {
  const { type, features } = b.definition;
  if (type !== 'kvm' && type !== 'qemu') {
    b.problem('type', `domains of type '${type}' are not supported; use kvm or qemu`);
    return;
  }
  if (b.accelerator === undefined) b.lacks('type', `accelerator for domains of type '${type}'`);
  const ring = features?.kvm?.dirtyRing;
  const cache = features?.tcg?.tbCacheBytes;
  if (cache !== undefined && (type === 'kvm' || cache % MIB !== 0))
    b.problem('features.tcg.tb-cache', type === 'kvm' ? 'needs a domain of type qemu' : 'is not whole MiB');
  b.pairs('-accel', [
    ['', type === 'kvm' ? 'kvm' : 'tcg'],
    ['kernel-irqchip', kernelIrqchip(b)],
    ['dirty-ring-size', type === 'kvm' && ring?.state !== false ? ring?.size : undefined],
    ['tb-size', cache === undefined ? undefined : cache / MIB],
  ]);
}

/** Where the I/O APIC lives: in KVM or in QEMU (kernel-irqchip=split, as interrupt remapping needs it). */
function kernelIrqchip(b: Build): string | undefined {
  const driver = b.definition.features?.ioapic;
  if (driver === undefined) return undefined;
  if (!b.isKvm) {
    if (driver === 'kvm') b.problem('features.ioapic', `driver 'kvm' needs a domain of type kvm`);
    return undefined;
  }
  return driver === 'qemu' ? 'split' : 'on';
}

/** Features that name something we do not offer. */
export function refuseFeatures(b: Build): void {
  const features = b.definition.features;
  if (features === undefined) return;
  const { viridian, privnet, xen, capabilities, hpt, htm, nestedHv, msrs, ccfAssist, cfpc, sbbc, ibs } =
    features;
  b.refuse('features', { viridian, privnet, xen, capabilities }, 'is of another hypervisor');
  b.refuse(
    'features',
    { hpt, htm, 'nested-hv': nestedHv, 'ccf-assist': ccfAssist, cfpc, sbbc, ibs },
    'is only there on POWER',
  );
  b.refuse('features', { msrs }, 'is a setting of the KVM module, not of one domain');
  if (features.asyncTeardown === true) buildAsyncTeardown(b);
}

/** Frees the memory of big guests in the background (QEMU 8.1: -run-with). */
function buildAsyncTeardown(b: Build): void {
  if (b.caps.options['run-with']?.includes('async-teardown'))
    b.pairs('-run-with', [['async-teardown', true]]);
  else b.lacks('features.async-teardown', 'option -run-with async-teardown');
}

/** Devices that a feature switch stands for. */
export function buildFeatureDevices(b: Build): void {
  if (b.definition.features?.vmcoreinfo) b.device('features.vmcoreinfo', { driver: 'vmcoreinfo' });
  const { genid } = b.definition;
  if (genid !== undefined) b.device('genid', { driver: 'vmgenid', guid: genid, id: 'vmgenid0' });
}
