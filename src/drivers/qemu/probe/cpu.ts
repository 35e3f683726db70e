/** CPU models under one accelerator: which are usable, what the host is made of, which named model is nearest. */
import { isVirtError } from '../../../base/errors.ts';
import { vendorName, vendorOfModel } from '../../../model/capabilities/cpu-names.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { QemuCpuDefinition } from '../qmp/replies.ts';
import type { ClosestCpuModel, QemuCpuModel } from './types.ts';

export type ModelProps = Readonly<Record<string, boolean | string | number>>;

export interface ExpandedModel {
  readonly name: string;
  readonly props: ModelProps;
}

/** A model that could be the nearest; with what QEMU says that the host lacks of it. */
export type CandidateModel = ExpandedModel & Pick<QemuCpuModel, 'unavailableFeatures'>;

export function cpuModelOf(definition: QemuCpuDefinition): QemuCpuModel {
  const {
    'migration-safe': migrationSafe,
    static: isStatic,
    'unavailable-features': unavailable,
  } = definition;
  const aliasOf = definition['alias-of'];
  return {
    name: definition.name,
    typename: definition.typename,
    deprecated: definition.deprecated ?? false,
    ...(migrationSafe !== undefined && { migrationSafe }),
    ...(isStatic !== undefined && { isStatic }),
    ...(unavailable !== undefined && { unavailableFeatures: unavailable }),
    ...(aliasOf !== undefined && { aliasOf }),
  };
}

/** The properties of a model; undefined where this QEMU cannot expand it (not x86, Arm or s390, or not that way). */
export async function expandModel(
  client: QmpClient,
  type: 'full' | 'static',
  name: string,
): Promise<ExpandedModel | undefined> {
  try {
    const { model } = await client.execute('query-cpu-model-expansion', { type, model: { name } });
    return { name: model.name, props: sorted(model.props ?? {}) };
  } catch (error) {
    if (isVirtError(error, 'qmp.failed')) return undefined;
    throw error;
  }
}

function sorted(props: ModelProps): ModelProps {
  return Object.fromEntries(Object.entries(props).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Models that stand for no real processor, or that follow the host. */
const generic = /^(max|host|base|qemu(32|64)|kvm(32|64))(-v\d+)?$/;

/** Models that could be the nearest: named, not going away, and not a versioned spelling of another. */
export function candidateModels(models: readonly QemuCpuModel[]): QemuCpuModel[] {
  return models.filter(
    (model) => !model.deprecated && !generic.test(model.name) && !/-v\d+$/.test(model.name),
  );
}

function enabled(props: ModelProps): string[] {
  return Object.keys(props).filter((name) => props[name] === true);
}

/**
 * Picks the model that differs in fewest features, of the host's vendor where there is one. Both host and models are
 * static expansions, so that the same properties are compared. Under KVM QEMU gives all of them the host's vendor, so
 * whose processor a model is named after follows from its name.
 */
export function closestModel(
  host: ExpandedModel,
  candidates: ReadonlyMap<string, CandidateModel>,
): ClosestCpuModel | undefined {
  const hostFeatures = cpuidFeatures(host.props);
  const { vendor } = host.props;
  const isOurs = (name: string) => typeof vendor === 'string' && vendorOfModel(name) === vendorName(vendor);
  const [best] = [...candidates]
    .map(([name, model]) => ({ name, ...differences(hostFeatures, model) }))
    .sort(
      (a, b) =>
        Number(isOurs(b.name)) - Number(isOurs(a.name)) ||
        a.added.length + a.removed.length - b.added.length - b.removed.length ||
        a.removed.length - b.removed.length ||
        (a.name < b.name ? -1 : 1),
    );
  if (best === undefined) return undefined;
  const { name, added, removed } = best;
  return {
    name,
    ...(typeof vendor === 'string' && { vendor }),
    addedFeatures: added,
    removedFeatures: removed,
  };
}

/**
 * What the host lacks of a model is what QEMU says: its own `host` leaves some out that a model may have, as AMD's TOPOEXT,
 * without which guests see no threads (target/i386/cpu.c, no_autoenable_flags).
 */
function differences(
  host: ReadonlySet<string>,
  { props, unavailableFeatures }: CandidateModel,
): { readonly added: string[]; readonly removed: string[] } {
  const model = cpuidFeatures(props);
  const isLacking =
    unavailableFeatures === undefined
      ? (feature: string) => !host.has(feature)
      : (feature: string) => unavailableFeatures.includes(feature);
  return {
    added: [...host].filter((feature) => !model.has(feature)),
    removed: [...model].filter(isLacking),
  };
}

function cpuidFeatures(props: ModelProps): Set<string> {
  return new Set(enabled(props).filter(isCpuidFeature));
}

/**
 * KVM's and Hyper-V's paravirtual switches and the like are no part of a CPU model; the single features of VMX go with it,
 * and libvirt has no names for them.
 */
function isCpuidFeature(name: string): boolean {
  return !/^(kvm|hv)[-_]|^(kvmclock|x-|min-|vmx-|hypervisor$)/.test(name);
}
