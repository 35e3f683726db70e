/** Memory: sizes that fit each other. All in KiB. */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';

/** 1 PiB: more than any host has, and far below where sums lose precision. */
const MAX_KIB = 2 ** 40;

export function memoryProblems(definition: DomainDef): Problem[] {
  return [...sizeProblems(definition), ...numaProblems(definition), ...moduleProblems(definition)];
}

function sizeProblems({ memory, currentMemoryKiB, maxMemory }: DomainDef): Problem[] {
  const problems: Problem[] = [];
  if (memory.sizeKiB < 1024) problems.push({ path: 'memory', message: 'is less than 1 MiB' });
  if (memory.sizeKiB > MAX_KIB) problems.push({ path: 'memory', message: 'is more than 1 PiB' });
  if (currentMemoryKiB !== undefined && currentMemoryKiB > memory.sizeKiB)
    problems.push({ path: 'currentMemory', message: `is more than memory (${memory.sizeKiB} KiB)` });
  if (maxMemory && maxMemory.sizeKiB < memory.sizeKiB)
    problems.push({ path: 'maxMemory', message: `is less than memory (${memory.sizeKiB} KiB)` });
  if (maxMemory && maxMemory.slots === 0) problems.push({ path: 'maxMemory.slots', message: 'is 0' });
  return problems;
}

/** libvirt rounds cells and modules up to whole MiB, on some machines to 2 MiB, without touching the numbers. */
const ROUNDING_KIB = 2048;

/** Modules are part of `memory` once the definition is complete; before that a document may leave them out. */
function numaProblems({ cpu, memory, devices }: DomainDef): Problem[] {
  const cells = cpu?.numa?.cells ?? [];
  if (cells.length === 0) return [];
  const cellsKiB = sum(cells.map((cell) => cell.memoryKiB));
  const allKiB = cellsKiB + sum(devices.memories.map((module) => module.target.sizeKiB));
  const slackKiB = ROUNDING_KIB * (cells.length + devices.memories.length);
  if ([cellsKiB, allKiB].some((kib) => Math.abs(memory.sizeKiB - kib) <= slackKiB)) return [];
  const message = `the NUMA cells hold ${cellsKiB} KiB (${allKiB} KiB with memory devices), but memory is ${memory.sizeKiB} KiB`;
  return [{ path: 'cpu.numa', message }];
}

/** QEMU hw/virtio/virtio-mem.c: blocks are powers of two, and sizes are whole blocks. */
function blockProblems({ target }: DomainDef['devices']['memories'][number], path: string): Problem[] {
  const { blockKiB, sizeKiB, requestedKiB = 0 } = target;
  if (blockKiB === undefined) return [];
  // Above 2^31 KiB bit operations are no longer exact.
  if (blockKiB <= 0 || !Number.isInteger(Math.log2(blockKiB)))
    return [{ path: `${path}.block`, message: 'is no power of two' }];
  const problems: Problem[] = [];
  if (sizeKiB % blockKiB !== 0)
    problems.push({ path: `${path}.size`, message: 'is not a whole number of blocks' });
  if (requestedKiB % blockKiB !== 0)
    problems.push({ path: `${path}.requested`, message: 'is not a whole number of blocks' });
  return problems;
}

function moduleProblems({ cpu, maxMemory, devices }: DomainDef): Problem[] {
  const problems: Problem[] = [];
  const cells = new Set((cpu?.numa?.cells ?? []).map((cell, index) => cell.id ?? index));
  for (const [index, module] of devices.memories.entries()) {
    const path = `devices.memory[${index}]`;
    const { node, requestedKiB, blockKiB, sizeKiB } = module.target;
    if (node !== undefined && !cells.has(node))
      problems.push({ path: `${path}.target.node`, message: `${node} is no NUMA cell of the guest` });
    if (module.model !== 'sgx-epc' && maxMemory === undefined)
      problems.push({ path, message: 'memory devices need <maxMemory>' });
    if (requestedKiB !== undefined && requestedKiB > sizeKiB)
      problems.push({ path: `${path}.target.requested`, message: 'is more than the size' });
    problems.push(...blockProblems(module, `${path}.target`));
    if (module.model === 'virtio-mem' && (blockKiB === undefined || requestedKiB === undefined))
      problems.push({ path: `${path}.target`, message: 'virtio-mem needs <block> and <requested>' });
    if ((module.model === 'nvdimm' || module.model === 'virtio-pmem') && module.source?.path === undefined)
      problems.push({ path: `${path}.source.path`, message: `is missing for ${module.model}` });
  }
  const plugged = devices.memories.filter(
    (module) => module.model === 'dimm' || module.model === 'nvdimm',
  ).length;
  if (maxMemory && plugged > maxMemory.slots)
    problems.push({ path: 'maxMemory.slots', message: `is less than the ${plugged} memory modules given` });
  return problems;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
