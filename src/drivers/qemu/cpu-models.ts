/** CPU models as an emulator knows them: which there are, and which features each has, asked of QEMU itself. */
import { featureName, vendorName } from '../../model/capabilities/cpu-names.ts';
import { leavesToHost } from '../../model/domain/cpu.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { CpuModelSource, CpuQuery, CpuWorld, MemoryEncryption } from '../driver.ts';
import { type CapabilitySources, chooseEmulator, machineNamed } from './capabilities.ts';
import { readMemoryEncryption } from './memory-encryption.ts';
import { type ExpandedModel, expandModel } from './probe/cpu.ts';
import { type ProbeOptions, withSession } from './probe/session.ts';
import type { AcceleratorCapabilities, AcceleratorName } from './probe/types.ts';
import { settledCpu } from './settled-cpu.ts';

/** A processor that a definition may have, and that is not one by name. */
const follower = /^(max|host|base)$/;

/** What QEMU has told of models, and for which it was asked. */
interface Expansions {
  readonly features: Map<string, readonly string[]>;
  readonly asked: Set<string>;
}

export class QemuCpuModels implements CpuModelSource {
  private readonly sources: CapabilitySources;
  private readonly probe: ProbeOptions;
  /** By emulator and accelerator; dropped when the emulator's capabilities are new ones. */
  private readonly expanded = new WeakMap<AcceleratorCapabilities, Expansions>();
  private turn: Promise<unknown> = Promise.resolve();

  constructor(sources: CapabilitySources, probe: ProbeOptions) {
    this.sources = sources;
    this.probe = probe;
  }

  async names(arch: string): Promise<readonly string[]> {
    const { accelerator } = await this.choose({ arch });
    return accelerator.cpuModels.map(({ name }) => name).filter((name) => !follower.test(name));
  }

  async world(query: CpuQuery): Promise<CpuWorld> {
    const { path, accelerator, domainType, capabilities } = await this.choose(query);
    if (query.machine !== undefined) machineNamed(capabilities, query.machine);
    const usable = featuresOf(accelerator.staticHostModel);
    return {
      hypervisor: usable,
      vendor: vendorOf(accelerator.staticHostModel),
      models: accelerator.cpuModels.map(({ name }) => name).filter((name) => !follower.test(name)),
      usableModels: accelerator.cpuModels
        .filter(({ unavailableFeatures }) => unavailableFeatures?.length === 0)
        .map(({ name }) => name)
        .filter((name) => !follower.test(name)),
      features: (names) => this.expand(path, domainType === 'kvm' ? 'kvm' : 'tcg', accelerator, names),
    };
  }

  memoryEncryption(): Promise<MemoryEncryption> {
    return readMemoryEncryption(this.sources);
  }

  async expandHostModel(definition: DomainDef): Promise<DomainDef> {
    const { cpu, emulator, os, type } = { ...definition, emulator: definition.devices.emulator };
    if (cpu === undefined || !leavesToHost(cpu)) return definition;
    const { accelerator } = await this.choose({
      ...(emulator !== undefined && { emulator }),
      ...(os.type.arch !== undefined && { arch: os.type.arch }),
      virtType: type,
    });
    return { ...definition, cpu: settledCpu(cpu, accelerator) };
  }

  private async choose(query: CpuQuery) {
    const chosen = await chooseEmulator(this.sources, query);
    const { accelerators } = chosen.capabilities;
    const accelerator = (chosen.domainType === 'kvm' ? accelerators.kvm : accelerators.tcg) ?? {
      machines: [],
      cpuModels: [],
    };
    return { ...chosen, accelerator };
  }

  /**
   * One short QEMU run for those that were not asked for before, one run at a time: who may only look may ask as well, and
   * must not be able to start any number of programs.
   */
  private expand(
    path: string,
    name: AcceleratorName,
    accelerator: AcceleratorCapabilities,
    models: readonly string[],
  ): Promise<ReadonlyMap<string, readonly string[]>> {
    const mine = this.turn.then(() => this.ask(path, name, accelerator, models));
    this.turn = mine.catch(() => undefined); // Its caller hears of the failure.
    return mine;
  }

  private async ask(
    path: string,
    name: AcceleratorName,
    accelerator: AcceleratorCapabilities,
    models: readonly string[],
  ): Promise<ReadonlyMap<string, readonly string[]>> {
    const { features, asked } = this.expanded.get(accelerator) ?? { features: new Map(), asked: new Set() };
    this.expanded.set(accelerator, { features, asked });
    const listed = new Set(accelerator.cpuModels.map((model) => model.name));
    const missing = models.filter((model) => listed.has(model) && !asked.has(model));
    if (missing.length === 0) return features;
    const request = { ...this.probe, path, accelerator: name, deadlineMs: Date.now() + this.probe.timeoutMs };
    await withSession(request, async (client) => {
      for (const model of missing) {
        const expanded = await expandModel(client, 'static', model);
        if (expanded !== undefined) features.set(model, featuresOf(expanded));
        asked.add(model);
      }
    });
    return features;
  }
}

function vendorOf(model: Pick<ExpandedModel, 'props'> | undefined): string | undefined {
  const vendor = model?.props['vendor'];
  return typeof vendor === 'string' ? vendorName(vendor) : undefined;
}

/** Features that are on, in libvirt's names; what belongs to the hypervisor is no part of a processor. */
function featuresOf(model: Pick<ExpandedModel, 'props'> | undefined): string[] {
  const { props = {} } = model ?? {};
  return Object.keys(props)
    .filter(
      (name) =>
        props[name] === true && !/^(kvm|hv)[-_]|^(kvmclock|x-|min-|hypervisor$|migratable$)/.test(name),
    )
    .map(featureName)
    .sort();
}
