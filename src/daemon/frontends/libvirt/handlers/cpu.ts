/** CPU models: which there are, whether a guest's processor can be had here, what several hosts have in common. */
import { isVirtError, type VirtError } from '../../../../base/errors.ts';
import type { CpuQuery, CpuWorld } from '../../../../drivers/driver.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { namesOfKernelFlag, vendorName, vendorOfModel } from '../../../../model/capabilities/cpu-names.ts';
import {
  baselineOf,
  type CpuDescription,
  commonVendor,
  compareCpu,
  featuresOfCpu,
  formatBaseline,
  type HostSide,
  parseCpu,
} from '../../../../model/capabilities/cpu-sets.ts';
import { archNames } from '../../../../model/domain/os.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { checkFlags, invalid, telling } from './support.ts';

/** virConnectCompareCPUFlags: an error rather than "incompatible"; check the document against the schema. */
const compareFlag = { failIncompatible: 1, validate: 2 } as const;
/** virConnectBaselineCPUFlags. Features that stop a migration are none of a model's, so the second changes nothing. */
const baselineFlag = { expandFeatures: 1, migratable: 2 } as const;
/** virCPUCompareResult. */
const result = { incompatible: 0, identical: 1, superset: 2 } as const;

export function cpuHandlers(engine: Engine) {
  return {
    connectGetCpuModelNames: async ({ arch, needResults, flags }, call) => {
      checkFlags(flags, 0, call);
      if (!isArch(arch)) throw invalid(`cannot find architecture ${arch}`);
      const models = await modelNames(engine, arch);
      return { models: needResults === 0 ? [] : [...models], ret: models.length };
    },
    connectCompareCpu: async ({ xml, flags }, call) => {
      checkFlags(flags, compareFlag.failIncompatible | compareFlag.validate, call);
      const { arch } = await engine.host.facts();
      const cpu = parseCpu(xml);
      const problem = foreignArch(cpu, arch);
      if (problem !== undefined) return { result: incompatible(problem, flags) };
      const world = await engine.cpus.world({ arch });
      return { result: await compare(cpu, world, await hostSide(engine, world, cpu), flags) };
    },
    connectCompareHypervisorCpu: async ({ xmlCPU, flags, ...query }, call) => {
      checkFlags(flags, compareFlag.failIncompatible | compareFlag.validate, call);
      const cpu = parseCpu(xmlCPU);
      const world = await worldOf(engine, cpuQueryOf(query));
      return { result: await compare(cpu, world, await hypervisorSide(world, cpu), flags) };
    },
    connectBaselineCpu: async ({ xmlCPUs, flags }, call) => {
      checkFlags(flags, baselineFlag.expandFeatures | baselineFlag.migratable, call);
      const cpus = xmlCPUs.map(parseCpu);
      if (cpus.some(({ isGuest }) => isGuest))
        throw new LibvirtError(
          errorNumber.configUnsupported,
          'Attribute mode is only allowed for guest CPU',
          errorDomain.cpu,
        );
      const arch = cpus[0]?.arch;
      const world = await engine.cpus.world(arch === undefined ? {} : { arch });
      return { cpu: await baseline(cpus, world, { flags, fallback: 'allow' }) };
    },
    connectBaselineHypervisorCpu: async ({ xmlCPUs, flags, ...query }, call) => {
      checkFlags(flags, baselineFlag.expandFeatures | baselineFlag.migratable, call);
      const world = await worldOf(engine, cpuQueryOf(query));
      const cpus = xmlCPUs.map(parseCpu);
      return { cpu: await baseline(cpus, world, { flags, fallback: 'forbid', within: world.hypervisor }) };
    },
  } satisfies RemoteHandlers;
}

export function isArch(name: string): boolean {
  return (archNames as readonly string[]).includes(name);
}

/** What a client asks for and this host has not is a wrong argument, as for domain capabilities. @throws LibvirtError */
function worldOf({ cpus }: Engine, query: CpuQuery): Promise<CpuWorld> {
  return offered(() => cpus.world(query));
}

/** @throws LibvirtError invalid argument for a machine, architecture or accelerator that is not offered here */
export function offered<T>(work: () => Promise<T>): Promise<T> {
  const told = ({ reason }: VirtError) => invalid(reason);
  return telling('kvm.unusable', told, () => telling('qemu.lacks', told, work));
}

/** Why a processor of another architecture does not fit; 32-bit ones of a family do. */
function foreignArch({ arch }: CpuDescription, hostArch: string): string | undefined {
  const family = (name: string) => (name === 'i686' ? 'x86_64' : name);
  if (arch === undefined || family(arch) === family(hostArch)) return undefined;
  return `CPU arch ${arch} does not match host arch`;
}

/** None where no emulator of that architecture is installed. */
async function modelNames({ cpus }: Engine, arch: string): Promise<readonly string[]> {
  try {
    return await cpus.names(arch);
  } catch (error) {
    if (isVirtError(error, 'qemu.missing')) return [];
    throw error;
  }
}

/** The four facts that choose an emulator, checked. @throws LibvirtError */
export function cpuQueryOf(told: {
  readonly emulator: string | null;
  readonly arch: string | null;
  readonly machine: string | null;
  readonly virttype: string | null;
}): CpuQuery {
  const { emulator, arch, machine, virttype } = told;
  if (virttype !== null && virttype !== 'qemu' && virttype !== 'kvm')
    throw invalid(`unknown virttype: ${virttype}`);
  if (arch !== null && !isArch(arch)) throw invalid(`unknown architecture: ${arch}`);
  return {
    ...(emulator !== null && { emulator }),
    ...(arch !== null && { arch }),
    ...(machine !== null && { machine }),
    ...(virttype !== null && { virtType: virttype }),
  };
}

/**
 * Features of the host's own processor: as QEMU tells them where it sees it (KVM), else as the kernel does, which writes
 * some names in its own way.
 */
async function hostSide({ host }: Engine, world: CpuWorld, cpu: CpuDescription): Promise<HostSide> {
  const { usable } = await host.kvmReport();
  if (usable) return hypervisorSide(world, cpu);
  const { flags, vendor } = (await host.facts()).cpu;
  return { features: new Set(flags.flatMap(namesOfKernelFlag)), vendor: vendorName(vendor) };
}

/** A model that can be used as it is can have all it has, also what the hypervisor's own CPU leaves out (TOPOEXT). */
async function hypervisorSide(world: CpuWorld, { model }: CpuDescription): Promise<HostSide> {
  const isUsable = model !== undefined && world.usableModels.includes(model);
  const given = isUsable ? (await world.features([model])).get(model) : undefined;
  return { features: new Set([...world.hypervisor, ...(given ?? [])]), vendor: world.vendor };
}

async function compare(cpu: CpuDescription, world: CpuWorld, host: HostSide, flags: number): Promise<number> {
  const models = await world.features(cpu.model === undefined ? [] : [cpu.model]);
  const { problem, isIdentical } = compareCpu(cpu, knownFeatures(cpu, models), host);
  if (problem === undefined) return isIdentical ? result.identical : result.superset;
  return incompatible(problem, flags);
}

/** @throws LibvirtError where the caller wants an error rather than a result */
function incompatible(problem: string, flags: number): number {
  if ((flags & compareFlag.failIncompatible) === 0) return result.incompatible;
  throw new LibvirtError(errorNumber.cpuIncompatible, problem, errorDomain.cpu);
}

/** @throws LibvirtError for a model that QEMU does not know */
function knownFeatures(...args: Parameters<typeof featuresOfCpu>): Set<string> {
  try {
    return featuresOfCpu(...args);
  } catch (error) {
    if (!isVirtError(error, 'request.invalid')) throw error;
    throw new LibvirtError(errorNumber.internalError, error.reason, errorDomain.cpu);
  }
}

interface BaselineOptions {
  readonly flags: number;
  readonly fallback: 'allow' | 'forbid';
  /** Features that the hypervisor has; without it all count. */
  readonly within?: readonly string[];
}

async function baseline(
  cpus: readonly CpuDescription[],
  world: CpuWorld,
  { flags, fallback, within }: BaselineOptions,
): Promise<string> {
  if (cpus.length === 0) throw invalid('no CPUs were given');
  const named = new Set(cpus.flatMap(({ model }) => model ?? []));
  const candidates = within === undefined ? world.models : world.usableModels;
  const models = await world.features([...new Set([...candidates, ...named])]);
  const sets = cpus.map((cpu) => knownFeatures(cpu, models));
  const vendor = vendorOf(cpus);
  const offered = new Map(candidates.flatMap((name) => [[name, models.get(name) ?? []] as const]));
  const all = within === undefined ? sets : [...sets, new Set([...within, ...[...offered.values()].flat()])];
  const found = baselineOf(all, offered, named);
  if (found === undefined)
    throw new LibvirtError(errorNumber.operationFailed, 'CPUs are incompatible', errorDomain.cpu);
  return formatBaseline(found, { expanded: (flags & baselineFlag.expandFeatures) !== 0, fallback, vendor });
}

/** @throws LibvirtError when they are of several vendors */
function vendorOf(cpus: readonly CpuDescription[]): string | undefined {
  try {
    return commonVendor(cpus, (model) => {
      const vendor = vendorOfModel(model);
      return vendor === 'unknown' ? undefined : vendor;
    });
  } catch (error) {
    if (!isVirtError(error, 'request.invalid')) throw error;
    throw new LibvirtError(errorNumber.operationFailed, error.reason, errorDomain.cpu);
  }
}
