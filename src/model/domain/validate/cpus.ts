/** vCPUs, topology, NUMA's share of them, and IO threads. */
import type { Problem } from '../../../base/errors.ts';
import type { Cpu } from '../cpu.ts';
import { cpusetMembers } from '../cpuset.ts';
import type { DomainDef } from '../domain.ts';
import { vcpuStateProblems } from '../vcpu-states.ts';

export function cpuProblems(definition: DomainDef): Problem[] {
  return [
    ...countProblems(definition),
    ...vcpuStateProblems(definition),
    ...modelProblems(definition),
    ...topologyProblems(definition),
    ...numaProblems(definition),
    ...pinProblems(definition),
    ...iothreadProblems(definition),
  ];
}

function countProblems({ vcpu, vcpus }: DomainDef): Problem[] {
  const problems: Problem[] = [];
  if (vcpu.current !== undefined && vcpu.current > vcpu.count)
    problems.push({ path: 'vcpu.current', message: `is more than the ${vcpu.count} vCPUs` });
  for (const [index, one] of vcpus.entries())
    if (one.id >= vcpu.count)
      problems.push({
        path: `vcpus.vcpu[${index}].id`,
        message: `${one.id} is not one of the ${vcpu.count} vCPUs`,
      });
  return problems;
}

/** What libvirt takes of no `<cpu>`: each of it would be dropped, or would be one thing and its opposite. */
function modelProblems({ cpu }: DomainDef): Problem[] {
  if (cpu === undefined) return [];
  const problems: Problem[] = [];
  const isHosts = cpu.mode === 'host-passthrough' || cpu.mode === 'maximum';
  if (cpu.migratable !== undefined && !isHosts)
    problems.push({ path: 'cpu.migratable', message: 'goes with the modes host-passthrough and maximum' });
  const seen = new Set<string>();
  for (const [index, { name }] of cpu.features.entries()) {
    if (seen.has(name)) problems.push({ path: `cpu.feature[${index}]`, message: `'${name}' is given twice` });
    seen.add(name);
  }
  return [...problems, ...cacheProblems(cpu.cache, isHosts), ...addressProblems(cpu.maxphysaddr)];
}

function cacheProblems(cache: Cpu['cache'], isHosts: boolean): Problem[] {
  if (cache?.mode === 'passthrough' && !isHosts)
    return [
      { path: 'cpu.cache.mode', message: `'passthrough' goes with the modes host-passthrough and maximum` },
    ];
  if (cache !== undefined && cache.mode !== 'emulate' && cache.level !== undefined)
    return [{ path: 'cpu.cache.level', message: `goes with mode 'emulate'` }];
  return [];
}

function addressProblems(size: Cpu['maxphysaddr']): Problem[] {
  const path = 'cpu.maxphysaddr';
  if (size?.mode === 'passthrough' && size.bits !== undefined)
    return [{ path: `${path}.bits`, message: `goes with mode 'emulate'; 'passthrough' has a limit` }];
  if (size?.mode !== 'emulate') return [];
  return [
    ...(size.bits === undefined ? [{ path: `${path}.bits`, message: `is needed with mode 'emulate'` }] : []),
    ...(size.limit === undefined ? [] : [{ path: `${path}.limit`, message: `goes with mode 'passthrough'` }]),
  ];
}

function topologyProblems({ vcpu, cpu }: DomainDef): Problem[] {
  const topology = cpu?.topology;
  if (!topology) return [];
  const product =
    topology.sockets * (topology.dies ?? 1) * (topology.clusters ?? 1) * topology.cores * topology.threads;
  if (product === vcpu.count) return [];
  return [{ path: 'cpu.topology', message: `makes ${product} CPUs, but vcpu is ${vcpu.count}` }];
}

function numaProblems({ vcpu, cpu }: DomainDef): Problem[] {
  const problems: Problem[] = [];
  const owner = new Map<number, number>();
  const ids = new Set<number>();
  for (const [index, cell] of (cpu?.numa?.cells ?? []).entries()) {
    const id = cell.id ?? index;
    const path = `cpu.numa.cell[${index}]`;
    if (ids.has(id)) problems.push({ path: `${path}.id`, message: `${id} is given twice` });
    ids.add(id);
    for (const member of members(cell.cpus)) {
      if (member >= vcpu.count)
        problems.push({
          path: `${path}.cpus`,
          message: `CPU ${member} is not one of the ${vcpu.count} vCPUs`,
        });
      else if (owner.has(member))
        problems.push({
          path: `${path}.cpus`,
          message: `CPU ${member} is in cell ${owner.get(member)} already`,
        });
      else owner.set(member, id);
    }
  }
  return problems;
}

/** The reader has checked the text; a definition from elsewhere may hold anything, and then names no CPU. */
function members(cpus: string | undefined): number[] {
  return cpus === undefined || cpus === '' ? [] : cpusetMembers(cpus);
}

function pinProblems({ vcpu, cputune }: DomainDef): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<number>();
  for (const [index, pin] of (cputune?.vcpupins ?? []).entries()) {
    const path = `cputune.vcpupin[${index}].vcpu`;
    if (pin.vcpu >= vcpu.count)
      problems.push({ path, message: `${pin.vcpu} is not one of the ${vcpu.count} vCPUs` });
    if (seen.has(pin.vcpu)) problems.push({ path, message: `vCPU ${pin.vcpu} is pinned twice` });
    seen.add(pin.vcpu);
  }
  return problems;
}

/**
 * The ids of a domain's IO threads: those given, and, up to the count, the lowest free numbers (formatdomain,
 * "iothreadids").
 */
export function iothreadIds({ iothreads, iothreadids }: DomainDef): Set<number> {
  const ids = new Set(iothreadids.map((thread) => thread.id));
  for (let id = 1; ids.size < (iothreads ?? 0); id++) ids.add(id);
  return ids;
}

function iothreadProblems(definition: DomainDef): Problem[] {
  const { iothreads, iothreadids, cputune, devices } = definition;
  const problems: Problem[] = [];
  if (iothreads !== undefined && iothreads < iothreadids.length)
    problems.push({ path: 'iothreads', message: `is less than the ${iothreadids.length} ids given` });
  if (new Set(iothreadids.map((thread) => thread.id)).size < iothreadids.length)
    problems.push({ path: 'iothreadids', message: 'has an id twice' });
  const known = iothreadIds(definition);
  const check = (path: string, id: number | undefined): void => {
    if (id !== undefined && !known.has(id)) problems.push({ path, message: `there is no IO thread ${id}` });
  };
  for (const [i, pin] of (cputune?.iothreadpins ?? []).entries())
    check(`cputune.iothreadpin[${i}].iothread`, pin.iothread);
  for (const [i, disk] of devices.disks.entries())
    check(`devices.disk[${i}].driver.iothread`, disk.driver?.iothread);
  for (const [i, one] of devices.controllers.entries())
    check(`devices.controller[${i}].driver.iothread`, one.driver?.iothread);
  return problems;
}
