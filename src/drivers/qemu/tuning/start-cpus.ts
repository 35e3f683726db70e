/** Virtual CPUs that a definition names one by one: plugged in before a guest runs, and told as QEMU has them. */
import { VirtError } from '../../../base/errors.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import { pluggedVcpus, vcpuStates } from '../../../model/domain/vcpu-states.ts';
import { withCpuPlaces } from '../../cpu-places.ts';
import type { CpuPlace } from '../../live-tuning.ts';
import type { QmpClient } from '../qmp/client.ts';
import { cpuPlaces, plugCpus } from './cpus.ts';

/**
 * Plugs in those that `-smp` cannot give: behind a gap, or to be unplugged later. The answer is the definition with the
 * order in which they came. @throws VirtError definition.unsupported for a part of a place, qmp.*
 */
export async function withPluggedCpus(definition: DomainDef, qmp: QmpClient): Promise<DomainDef> {
  if (definition.vcpus.length === 0) return definition;
  const wanted = pluggedVcpus(definition);
  if (wanted.length > 0) {
    const places = await cpuPlaces(qmp);
    requireWhole(definition, places);
    await plugCpus(
      qmp,
      wanted.filter((id) => places.some(({ first, isPresent }) => first === id && !isPresent)),
    );
  }
  return withCpuPlaces(definition, await cpuPlaces(qmp));
}

/** The running definition with the CPUs that QEMU has now: the guest may give one back long after it was asked. */
export async function withPresentCpus(definition: DomainDef, qmp: QmpClient): Promise<DomainDef> {
  return withCpuPlaces(definition, await cpuPlaces(qmp));
}

/** CPUs of one place come and go together; two places cannot be filled at the same time. */
function requireWhole(definition: DomainDef, places: readonly CpuPlace[]): void {
  const states = vcpuStates(definition);
  const refuse = (id: number, message: string) =>
    new VirtError('definition.unsupported', {
      wanted: `start '${definition.name}'`,
      reason: `vcpus.vcpu[${id}]: ${message}`,
      details: { problems: [{ path: `vcpus.vcpu[${id}]`, message }] },
    });
  const orders = new Set<number>();
  for (const { first, count } of places) {
    const main = states[first];
    if (main?.order !== undefined && orders.has(main.order))
      throw refuse(first, `order ${main.order} is given twice`);
    if (main?.order !== undefined) orders.add(main.order);
    for (const state of states.slice(first, first + count))
      if (state.enabled !== main?.enabled || state.hotpluggable !== main.hotpluggable)
        throw refuse(state.id, `differs from CPU ${first}, with which it comes and goes`);
  }
}
