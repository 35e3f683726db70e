/**
 * Which of a domain's virtual CPUs are there: `<vcpus>`, where each is named, beside `<vcpu current>`, which counts
 * (formatdomain, "vcpus"). Pure.
 */
import type { Problem } from '../../base/errors.ts';
import type { DomainDef } from './domain.ts';

type WithVcpus = Pick<DomainDef, 'vcpu' | 'vcpus'>;

/** One virtual CPU. `hotpluggable`: it is not there from QEMU's first moment, but plugged in. */
export interface VcpuState {
  readonly id: number;
  readonly enabled: boolean;
  readonly hotpluggable: boolean;
  /** Its place in the order in which they were plugged in, from 1. */
  readonly order?: number;
}

/** All virtual CPUs by their numbers. Where single ones are named, what is not named is not there. */
export function vcpuStates({ vcpu, vcpus }: WithVcpus): VcpuState[] {
  const named = new Map(vcpus.map((one) => [one.id, one]));
  const first = vcpus.length === 0 ? (vcpu.current ?? vcpu.count) : 0;
  return Array.from({ length: vcpu.count }, (_, id) => {
    const { enabled, hotpluggable = !enabled, order } = named.get(id) ?? { id, enabled: id < first };
    return { id, enabled, hotpluggable, ...(order !== undefined && { order }) };
  });
}

/** The definition with each of its CPUs named, and their count as it follows. */
export function withVcpuStates<T extends WithVcpus>(definition: T, states: readonly VcpuState[]): T {
  return { ...withCurrent(definition, states.filter(({ enabled }) => enabled).length), vcpus: [...states] };
}

/** How many CPUs QEMU has from its first moment (`-smp`). */
export function bootVcpus(definition: WithVcpus): number {
  return vcpuStates(definition).filter(({ enabled, hotpluggable }) => enabled && !hotpluggable).length;
}

/** The numbers of those that are plugged in before the guest runs, in the order that was asked for. */
export function pluggedVcpus(definition: WithVcpus): number[] {
  return vcpuStates(definition)
    .filter(({ enabled, hotpluggable }) => enabled && hotpluggable)
    .sort((a, b) => (a.order ?? 0) - (b.order ?? 0))
    .map(({ id }) => id);
}

/**
 * The stored definition with so many CPUs at the next start: the lowest free ones come, the highest go. Those that come
 * can be unplugged later when `hotpluggable` says so, or when one before them can: QEMU's own come first.
 */
export function withVcpuCount<T extends WithVcpus>(definition: T, count: number, hotpluggable = false): T {
  if (definition.vcpus.length === 0 && !hotpluggable) return withCurrent(definition, count);
  const states = vcpuStates(definition).map(withoutOrder);
  let missing = count - states.filter(({ enabled }) => enabled).length;
  let isPluggable = hotpluggable;
  const grown = states.map((state) => {
    if (state.enabled && state.hotpluggable) isPluggable = true;
    if (state.enabled || missing <= 0) return state;
    missing--;
    return { ...state, enabled: true, hotpluggable: isPluggable };
  });
  const shrunk = grown.toReversed().map((state) => {
    if (!state.enabled || missing >= 0) return state;
    missing++;
    return { ...state, enabled: false, hotpluggable: true };
  });
  return withVcpuStates(definition, shrunk.toReversed());
}

/** The stored definition with these CPUs there, or not, at the next start. */
export function withVcpusSet<T extends WithVcpus>(
  definition: T,
  ids: readonly number[],
  enabled: boolean,
): T {
  const states = vcpuStates(definition)
    .map(withoutOrder)
    .map((state) => (ids.includes(state.id) ? { ...state, enabled, hotpluggable: true } : state));
  return withVcpuStates(definition, states);
}

/** What changes has no order any more: the next start finds one. */
const withoutOrder = ({ id, enabled, hotpluggable }: VcpuState): VcpuState => ({ id, enabled, hotpluggable });

function withCurrent<T extends WithVcpus>(definition: T, current: number): T {
  const { current: _, ...vcpu } = definition.vcpu;
  return { ...definition, vcpu: current === vcpu.count ? vcpu : { ...vcpu, current } };
}

/** What QEMU cannot do with single CPUs: the first is always there, and those of its first moment come first. */
export function vcpuStateProblems({ vcpu, vcpus }: WithVcpus): Problem[] {
  if (vcpus.length === 0) return [];
  const problems: Problem[] = [];
  const states = vcpuStates({ vcpu, vcpus });
  const at = (id: number, message: string): void => {
    const index = vcpus.findIndex((one) => one.id === id);
    problems.push({ path: index < 0 ? 'vcpus' : `vcpus.vcpu[${index}]`, message });
  };
  const [first] = states;
  if (first?.enabled !== true) at(0, 'the first CPU must be enabled');
  else if (first.hotpluggable) at(0, 'the first CPU cannot be plugged in: it is there from the beginning');
  else if ((first.order ?? 1) !== 1) at(0, 'the first CPU has order 1');
  for (const { id, enabled, hotpluggable, order } of states) {
    if (id === 0) continue;
    const before = states[id - 1];
    if (!enabled && !hotpluggable) at(id, 'a CPU that is not enabled must be hotpluggable');
    else if (enabled && (order === undefined) !== (first?.order === undefined))
      at(id, 'either all enabled CPUs have an order, or none');
    else if (!hotpluggable && before?.hotpluggable === true)
      at(id, 'CPUs that are not hotpluggable come before those that are');
    else if (!hotpluggable && (before?.order ?? 0) > (order ?? 0))
      at(id, 'CPUs that are not hotpluggable are in ascending order');
  }
  return problems;
}
