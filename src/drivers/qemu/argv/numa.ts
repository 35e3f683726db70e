/** Guest NUMA cells: a memory backend each, -numa node, distances, caches and interconnects. */

import { toBytes } from '../../../base/units.ts';
import { cpusetMembers } from '../../../model/domain/cpuset.ts';
import type { NumaCell } from '../../../model/domain/numa.ts';
import type { Build } from './context.ts';
import { memoryBackend, wholeMebibytes } from './memory.ts';

type Numa = NonNullable<NonNullable<Build['definition']['cpu']>['numa']>;

/** True when the guest is told latencies and bandwidths (ACPI HMAT), which the machine must be told too. */
export function needsHmat(b: Build): boolean {
  const numa = b.definition.cpu?.numa;
  return numa?.interconnects !== undefined || numa?.cells.some((cell) => cell.caches.length > 0) === true;
}

/** All of <cpu><numa>. */
export function buildNuma(b: Build): void {
  const numa = b.definition.cpu?.numa;
  if (numa === undefined || numa.cells.length === 0) return;
  const hmat = needsHmat(b);
  for (const [index, cell] of numa.cells.entries()) buildCell(b, numa, cell, index, hmat);
  for (const [index, cell] of numa.cells.entries())
    for (const sibling of cell.distances)
      b.pairs('-numa', [
        ['', 'dist'],
        ['src', cell.id ?? index],
        ['dst', sibling.id],
        ['val', sibling.value],
      ]);
  if (hmat) buildHmat(b, numa);
}

function buildCell(b: Build, numa: Numa, cell: NumaCell, index: number, hmat: boolean): void {
  const id = cell.id ?? index;
  const memory = cell.memoryKiB > 0 ? `ram-node${id}` : undefined;
  if (memory !== undefined)
    b.object(
      `cpu.numa.cell[${index}]`,
      memoryBackend(b, {
        id: memory,
        sizeKiB: wholeMebibytes(cell.memoryKiB),
        cell: id,
        access: cell.memAccess,
        discard: cell.discard,
        path: `cpu.numa.cell[${index}]`,
      }),
    );
  b.pairs('-numa', [
    ['', 'node'],
    ['nodeid', id],
    ...cpuRanges(cell.cpus).map((range) => ['cpus', range] as const),
    ['initiator', hmat ? initiatorOf(numa, cell, id) : undefined],
    ['memdev', memory],
  ]);
}

/** A cell without CPUs is reached from the first one that has some (ACPI HMAT wants an initiator for each). */
function initiatorOf(numa: Numa, cell: NumaCell, id: number): number {
  if (cell.cpus !== undefined) return id;
  const first = numa.cells.findIndex((candidate) => candidate.cpus !== undefined);
  return numa.cells[first]?.id ?? first;
}

/** -numa takes one range for each `cpus`. */
function cpuRanges(cpus: string | undefined): string[] {
  if (cpus === undefined) return [];
  const ranges: string[] = [];
  const members = cpusetMembers(cpus);
  for (let i = 0; i < members.length; ) {
    let end = i;
    while (members[end + 1] === (members[end] as number) + 1) end++;
    ranges.push(end === i ? String(members[i]) : `${members[i]}-${members[end]}`);
    i = end + 1;
  }
  return ranges;
}

const associativity = { none: 'none', direct: 'direct', full: 'complex' } as const;
const policy = { none: 'none', writeback: 'write-back', writethrough: 'write-through' } as const;

function buildHmat(b: Build, numa: Numa): void {
  for (const [kind, entries] of [
    ['latency', numa.interconnects?.latencies ?? []],
    ['bandwidth', numa.interconnects?.bandwidths ?? []],
  ] as const)
    for (const entry of entries)
      b.pairs('-numa', [
        ['', 'hmat-lb'],
        ['initiator', entry.initiator],
        ['target', entry.target],
        ['hierarchy', hierarchy(entry.cache)],
        ['data-type', `${entry.type}-${kind}`],
        kind === 'latency'
          ? ['latency', entry.value]
          : ['bandwidth', toBytes(entry.value, 'unit' in entry ? entry.unit : 'KiB')],
      ]);
  for (const [index, cell] of numa.cells.entries())
    for (const cache of cell.caches)
      b.pairs('-numa', [
        ['', 'hmat-cache'],
        ['node-id', cell.id ?? index],
        ['size', toBytes(cache.size.value, cache.size.unit)],
        ['level', cache.level],
        ['associativity', associativity[cache.associativity]],
        ['policy', policy[cache.policy]],
        ['line', toBytes(cache.line.value, cache.line.unit)],
      ]);
}

function hierarchy(cache: number | undefined): string {
  return cache === undefined || cache === 0
    ? 'memory'
    : `${['', 'first', 'second', 'third'][cache] ?? cache}-level`;
}
