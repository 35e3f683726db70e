/** `<cpu mode='host-model'>` written out: the model nearest to the host's CPU, with what it lacks and without what the host lacks. */
import { featureName, vendorName } from '../../model/capabilities/cpu-names.ts';
import type { Cpu } from '../../model/domain/cpu.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { AcceleratorCapabilities, QemuCapabilities } from './probe/types.ts';

/** The same CPU as a named model; as it was where it is of another mode, or QEMU tells of no model. */
export function namedHostModel(cpu: Cpu, accelerator: AcceleratorCapabilities | undefined): Cpu {
  const closest = accelerator?.closestModel;
  if (cpu.mode !== 'host-model' || closest === undefined) return cpu;
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
export function withNamedHostModel(definition: DomainDef, { accelerators }: QemuCapabilities): DomainDef {
  const { cpu, type } = definition;
  if (cpu?.mode !== 'host-model') return definition;
  return { ...definition, cpu: namedHostModel(cpu, type === 'kvm' ? accelerators.kvm : accelerators.tcg) };
}
