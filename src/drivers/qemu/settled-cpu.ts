/**
 * A `<cpu>` that leaves something to the host, settled as it is for a guest that starts now: host-model becomes the model
 * nearest to the host's CPU, with what it lacks and without what the host lacks; optional features are there or not.
 */
import { featureName, qemuFeatureName, vendorName } from '../../model/capabilities/cpu-names.ts';
import { type Cpu, leavesToHost } from '../../model/domain/cpu.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { AcceleratorCapabilities, ClosestCpuModel, QemuCapabilities } from './probe/types.ts';

/** The settled CPU; as it was where it leaves nothing to the host, or where QEMU tells nothing of CPUs. */
export function settledCpu(cpu: Cpu, accelerator: AcceleratorCapabilities | undefined): Cpu {
  if (!leavesToHost(cpu)) return cpu;
  const closest = accelerator?.closestModel;
  const isHosts = cpu.mode === 'host-model' || cpu.match === 'minimum';
  const named = isHosts && closest !== undefined ? namedModel(cpu, closest) : cpu;
  const props = accelerator?.hostModel?.props;
  if (props === undefined) return named;
  const features = named.features.map((feature) =>
    feature.policy === 'optional'
      ? { ...feature, policy: policyOf(props[qemuFeatureName(feature.name)] === true) }
      : feature,
  );
  return { ...named, features };
}

const policyOf = (isThere: boolean): 'require' | 'disable' => (isThere ? 'require' : 'disable');

function namedModel(cpu: Cpu, closest: ClosestCpuModel): Cpu {
  const given = new Set(cpu.features.map(({ name }) => name));
  const listed = (policy: 'require' | 'disable', names: readonly string[]) =>
    names
      .map(featureName)
      .filter((name) => !given.has(name))
      .sort()
      .map((name) => ({ policy, name }));
  return {
    ...cpu,
    mode: 'custom',
    match: 'exact',
    check: cpu.check ?? 'partial',
    model: { fallback: 'forbid', vendorId: cpu.model?.vendorId, name: closest.name },
    vendor: vendorName(closest.vendor),
    features: [
      ...listed('require', closest.addedFeatures),
      ...listed('disable', closest.removedFeatures ?? []),
      ...cpu.features,
    ],
  };
}

/**
 * What runs says which CPU the guest got: a saved state or snapshot of it goes on with that one, whatever the host, its
 * kernel or QEMU offer by then.
 */
export function withSettledCpu(definition: DomainDef, { accelerators }: QemuCapabilities): DomainDef {
  const { cpu, type } = definition;
  if (cpu === undefined || !leavesToHost(cpu)) return definition;
  return { ...definition, cpu: settledCpu(cpu, type === 'kvm' ? accelerators.kvm : accelerators.tcg) };
}
