/** Places for virtual CPUs of a running guest: which to fill or empty, and what its definition says then. Pure. */
import { VirtError } from '../base/errors.ts';
import type { DomainDef } from '../model/domain/domain.ts';
import { type VcpuState, withVcpuStates } from '../model/domain/vcpu-states.ts';
import type { CpuPlace } from './live-tuning.ts';

/** Places to fill, or to empty, by the numbers of their first CPUs. */
export interface CpuChange {
  readonly plug: readonly number[];
  readonly unplug: readonly number[];
}

export const countCpus = (places: readonly CpuPlace[]): number =>
  places.filter(({ isPresent }) => isPresent).reduce((sum, { count }) => sum + count, 0);

/**
 * What makes so many CPUs: the lowest free places are filled, and the highest emptied; those that were there at boot
 * last, since not every guest gives these back.
 * @throws VirtError request.invalid when places hold several CPUs each, and the number does not come out
 */
export function changeForCount(places: readonly CpuPlace[], count: number, wanted: string): CpuChange {
  let missing = count - countCpus(places);
  const chosen: CpuPlace[] = [];
  const lowest = missing > 0 ? places.filter(({ isPresent }) => !isPresent) : [];
  const present = places.filter(({ isPresent, first }) => isPresent && first > 0).toReversed();
  const highest =
    missing < 0 ? [...present.filter(isPlugged), ...present.filter((one) => !isPlugged(one))] : [];
  for (const place of [...lowest, ...highest]) {
    if (Math.abs(missing) < place.count) break;
    missing -= Math.sign(missing) * place.count;
    chosen.push(place);
  }
  if (missing !== 0)
    throw new VirtError('request.invalid', {
      wanted,
      reason: 'the guest has its CPUs in groups of several, which come and go together',
    });
  const firsts = chosen.map(({ first }) => first);
  return lowest.length > 0 ? { plug: firsts, unplug: [] } : { plug: [], unplug: firsts };
}

const isPlugged = ({ alias }: CpuPlace) => alias !== undefined;

/**
 * What makes just these CPUs come, or go.
 * @throws VirtError request.invalid for one that is there (or not) already, for the first, and for a part of a place
 */
export function changeForCpus(
  places: readonly CpuPlace[],
  ids: readonly number[],
  enabled: boolean,
  wanted: string,
): CpuChange {
  const refuse = (reason: string) => new VirtError('request.invalid', { wanted, reason });
  if (ids.includes(0)) throw refuse("vCPU '0' can't be modified");
  const chosen = places.filter(({ first, count }) => ids.some((id) => id >= first && id < first + count));
  for (const { first, count, isPresent } of chosen) {
    if (isPresent === enabled) throw refuse(`vcpu '${first}' is already in requested state`);
    for (let id = first; id < first + count; id++)
      if (!ids.includes(id))
        throw refuse(`vcpu '${id}' was not selected, but it comes and goes together with vcpu '${first}'`);
  }
  const firsts = chosen.map(({ first }) => first);
  return enabled ? { plug: firsts, unplug: [] } : { plug: [], unplug: firsts.toReversed() };
}

/** The running definition with the CPUs that QEMU has; single ones are named as soon as one was plugged in. */
export function withCpuPlaces(definition: DomainDef, places: readonly CpuPlace[]): DomainDef {
  const states = places.flatMap(statesOf).filter(({ id }) => id < definition.vcpu.count);
  // A start gives QEMU the first ones: what comes behind a gap has to be plugged in then, whatever it was here.
  const gap = states.findIndex(({ hotpluggable }) => hotpluggable);
  const named = states.map((state) =>
    gap >= 0 && state.id > gap ? { ...state, hotpluggable: true } : state,
  );
  const isNamed = definition.vcpus.length > 0 || places.some(isPlugged) || named.some(isBehindGap);
  const after = withVcpuStates(definition, named);
  return isNamed ? after : { ...after, vcpus: [] };
}

const isBehindGap = ({ id, enabled }: VcpuState, _index: number, all: readonly VcpuState[]) =>
  enabled && all[id - 1]?.enabled === false;

function statesOf({ first, count, isPresent, alias, order }: CpuPlace): VcpuState[] {
  return Array.from({ length: count }, (_, index) => ({
    id: first + index,
    enabled: isPresent,
    hotpluggable: !isPresent || alias !== undefined,
    ...(order !== undefined && { order }),
  }));
}
