/**
 * Comparing processors and finding what several have in common, as sets of features. Pure: who knows which features a
 * model has hands them in. (libvirt: virConnectCompareHypervisorCPU, virConnectBaselineHypervisorCPU.)
 */
import { VirtError } from '../../base/errors.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { childElements, childOf, formatXml, textOf, type XmlElement } from '../../base/xml/tree.ts';
import { element, textElement } from './parts.ts';

/** A `<cpu>` element, of a host or of a guest. */
export interface CpuDescription {
  /** It says how a guest is to get it; a host's has an architecture instead. */
  readonly isGuest: boolean;
  readonly arch: string | undefined;
  readonly model: string | undefined;
  readonly vendor: string | undefined;
  /** A host with more than it asks for will not do (match='strict'). */
  readonly isStrict: boolean;
  readonly required: readonly string[];
  /** Features that the host may lack although the model has them: optional ones, and such as are shown regardless. */
  readonly waived: readonly string[];
  /** Features that it must not have. */
  readonly excluded: readonly string[];
  /** Those of them that the host must not have, either. */
  readonly forbidden: readonly string[];
}

/** Features by model. */
export type ModelFeatures = ReadonlyMap<string, readonly string[]>;

/** @throws VirtError xml.malformed, xml.invalid */
export function parseCpu(xml: string): CpuDescription {
  const root = parseXml(xml);
  if (root.name !== 'cpu') throw invalid(`the element is <${root.name}> where <cpu> is expected`);
  const features = childElements(root, 'feature').map((feature) => ({
    name: feature.attrs.get('name') ?? missingName(),
    policy: feature.attrs.get('policy') ?? 'require',
  }));
  const isExcluded = (policy: string) => policy === 'disable' || policy === 'forbid';
  const isWaived = (policy: string) => policy === 'optional' || policy === 'force';
  return {
    isGuest: root.attrs.has('mode') || root.attrs.has('match'),
    arch: text(root, 'arch'),
    model: text(root, 'model'),
    vendor: text(root, 'vendor'),
    isStrict: root.attrs.get('match') === 'strict',
    required: features.filter(({ policy }) => !isExcluded(policy) && policy !== 'optional').map(nameOf),
    waived: features.filter(({ policy }) => isWaived(policy)).map(nameOf),
    excluded: features.filter(({ policy }) => isExcluded(policy)).map(nameOf),
    forbidden: features.filter(({ policy }) => policy === 'forbid').map(nameOf),
  };
}

const nameOf = ({ name }: { readonly name: string }) => name;

function text(root: XmlElement, name: string): string | undefined {
  const found = childOf(root, name);
  const value = found === undefined ? '' : textOf(found).trim();
  return value === '' ? undefined : value;
}

function missingName(): never {
  throw invalid('a <feature> has no name');
}

function invalid(reason: string): VirtError {
  return new VirtError('xml.invalid', { wanted: 'read a CPU', reason });
}

/** All features of a processor. @throws VirtError request.invalid for a model that nobody knows */
export function featuresOfCpu(cpu: CpuDescription, models: ModelFeatures): Set<string> {
  const ofModel = cpu.model === undefined ? [] : models.get(cpu.model);
  if (ofModel === undefined)
    throw new VirtError('request.invalid', {
      wanted: 'compare CPUs',
      reason: `Unknown CPU model ${cpu.model}`,
      details: { model: cpu.model },
    });
  const features = new Set([...ofModel, ...cpu.required]);
  for (const name of cpu.excluded) features.delete(name);
  return features;
}

/** A processor that another is to run on. */
export interface HostSide {
  readonly features: ReadonlySet<string>;
  /** In libvirt's words, as far as it is known. */
  readonly vendor: string | undefined;
}

/** How a processor stands to its host: what speaks against it, if anything does, and whether both are the same. */
export interface CpuComparison {
  readonly problem: string | undefined;
  readonly isIdentical: boolean;
}

/** `wanted`: all features of `cpu`. */
export function compareCpu(cpu: CpuDescription, wanted: ReadonlySet<string>, host: HostSide): CpuComparison {
  const waived = new Set(cpu.waived);
  const missing = [...wanted].filter((name) => !host.features.has(name) && !waived.has(name)).sort();
  const extra = [...host.features].filter((name) => !wanted.has(name) && !waived.has(name)).sort();
  return {
    problem: problemOf(cpu, host, { missing, extra }),
    isIdentical: missing.length + extra.length === 0,
  };
}

function problemOf(
  cpu: CpuDescription,
  host: HostSide,
  { missing, extra }: { readonly missing: readonly string[]; readonly extra: readonly string[] },
): string | undefined {
  if (cpu.vendor !== undefined && host.vendor !== undefined && cpu.vendor !== host.vendor)
    return `it is of ${cpu.vendor}, the host's CPU of ${host.vendor}`;
  const forbidden = cpu.forbidden.filter((name) => host.features.has(name));
  if (forbidden.length > 0) return `Host CPU has forbidden features: ${forbidden.join(', ')}`;
  if (missing.length > 0) return `Host CPU does not provide required features: ${missing.join(', ')}`;
  const unnamed = extra.filter((name) => !cpu.excluded.includes(name));
  if (cpu.isStrict && unnamed.length > 0) return `Host CPU has more features: ${unnamed.join(', ')}`;
  return undefined;
}

/**
 * The vendor that processors have in common: where each says one, it is told. A model without a vendor of its own fits all.
 * @param vendorOf the vendor whose processors a model is named after, in libvirt's words
 * @throws VirtError request.invalid when they are of several
 */
export function commonVendor(
  cpus: readonly CpuDescription[],
  vendorOf: (model: string) => string | undefined,
): string | undefined {
  const all = new Set(
    cpus.flatMap(({ vendor, model }) => vendor ?? (model === undefined ? undefined : vendorOf(model)) ?? []),
  );
  if (all.size > 1)
    throw new VirtError('request.invalid', {
      wanted: 'find what CPUs have in common',
      reason: 'CPU vendors do not match',
      details: { vendors: [...all] },
    });
  return cpus.every(({ vendor }) => vendor !== undefined) ? [...all][0] : undefined;
}

/** A processor by the model that is nearest, and what it has beside it. */
export interface NearestCpu {
  readonly model: string;
  readonly added: readonly string[];
  readonly all: readonly string[];
}

/**
 * What all of them have, as the richest model that has nothing else. One of the models that were named is taken before
 * others that are as rich. Undefined when no model fits.
 */
export function baselineOf(
  cpus: readonly ReadonlySet<string>[],
  models: ModelFeatures,
  preferred: ReadonlySet<string>,
): NearestCpu | undefined {
  const [first, ...others] = cpus;
  if (first === undefined) return undefined;
  const common = new Set([...first].filter((name) => others.every((cpu) => cpu.has(name))));
  let best: { name: string; features: ReadonlySet<string>; rank: number } | undefined;
  for (const [name, list] of models) {
    const features = new Set(list);
    if ([...features].some((feature) => !common.has(feature))) continue;
    const rank = features.size * 2 + (preferred.has(name) ? 1 : 0);
    if (best === undefined || rank > best.rank) best = { name, features, rank };
  }
  if (best === undefined) return undefined;
  const { name: model, features } = best;
  const all = [...common].sort();
  return { model, added: all.filter((name) => !features.has(name)), all };
}

/** The `<cpu>` of a guest that is to have it; `expanded` lists every feature. */
export function formatBaseline(
  { model, added, all }: NearestCpu,
  options: {
    readonly expanded: boolean;
    readonly fallback: 'allow' | 'forbid';
    readonly vendor?: string | undefined;
  },
): string {
  const features = options.expanded ? all : added;
  return formatXml(
    element('cpu', { mode: 'custom', match: 'exact' }, [
      { ...textElement('model', model), attrs: new Map([['fallback', options.fallback]]) },
      ...(options.vendor === undefined ? [] : [textElement('vendor', options.vendor)]),
      ...features.map((name) => element('feature', { policy: 'require', name })),
    ]),
  );
}
