/** Guest RAM: -m, its memory backends with huge pages, sharing and host nodes, and -numa. */
import { cpusetMembers } from '../../../model/domain/cpuset.ts';
import { needsSharedMemory } from '../../../model/domain/defaults/shared-memory.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

const KIB = 1024;

/** What one piece of guest RAM wants of its backend. */
interface BackendRequest {
  readonly id: string;
  readonly sizeKiB: number;
  /** Guest NUMA cell the memory belongs to. */
  readonly cell?: number;
  readonly access?: 'shared' | 'private' | undefined;
  readonly discard?: boolean | undefined;
  /** Overrides memoryBacking's huge pages (memory devices' <source>). */
  readonly pageSizeKiB?: number | undefined;
  /** Host nodes that override numatune. */
  readonly nodemask?: string | undefined;
  /** Path in the definition, for findings. */
  readonly path: string;
}

/** RAM comes in whole MiB, rounded up as libvirt does it: guests see the sum. */
export function wholeMebibytes(kib: number): number {
  return Math.ceil(kib / KIB) * KIB;
}

/** KiB of RAM at boot: what the cells hold, or the total without the memory devices, which bring their own. */
function initialMemoryKiB(b: Build): number {
  const cells = b.definition.cpu?.numa?.cells ?? [];
  if (cells.length > 0) return cells.reduce((sum, cell) => sum + wholeMebibytes(cell.memoryKiB), 0);
  const devices = b.definition.devices.memories.reduce((sum, device) => sum + device.target.sizeKiB, 0);
  return wholeMebibytes(b.definition.memory.sizeKiB - devices);
}

/** -m. Memory devices need free slots and address space above the RAM at boot. */
export function buildMemorySize(b: Build): void {
  const { maxMemory } = b.definition;
  const initial = initialMemoryKiB(b);
  if (initial <= 0) b.problem('memory', 'is not more than the memory devices take');
  if (b.definition.devices.memories.length > 0 && maxMemory === undefined)
    b.problem('maxMemory', 'is needed when there are memory devices');
  b.pairs('-m', [
    ['size', `${initial}k`],
    ['slots', maxMemory?.slots],
    ['maxmem', maxMemory === undefined ? undefined : `${maxMemory.sizeKiB}k`],
  ]);
}

/** -overcommit mem-lock for locked memory; -mem-prealloc is said by each backend. */
export function buildOvercommit(b: Build): void {
  if (b.definition.memoryBacking?.locked) b.pairs('-overcommit', [['mem-lock', true]]);
}

/**
 * The backend of RAM without guest NUMA cells. The answer is its id for `-machine memory-backend=`, or undefined when
 * the machine type doesn't say under which name it takes one (then -m alone does it).
 */
export function buildMainMemory(b: Build, defaultRamId: string | undefined): string | undefined {
  if ((b.definition.cpu?.numa?.cells.length ?? 0) > 0) return undefined;
  const request = { sizeKiB: initialMemoryKiB(b), cell: 0, path: 'memoryBacking' };
  if (defaultRamId === undefined) {
    if (b.definition.memoryBacking !== undefined || needsSharedMemory(b.definition))
      b.lacks('memoryBacking', `memory-backend option of machine type '${b.machine}'`);
    return undefined;
  }
  b.object('memoryBacking', memoryBackend(b, { id: defaultRamId, ...request }));
  return defaultRamId;
}

/** The -object of one memory backend. */
export function memoryBackend(
  b: Build,
  request: BackendRequest,
): JsonObject & { 'qom-type': string; id: string } {
  const backing = b.definition.memoryBacking;
  const access = request.access ?? backing?.access;
  const share = access === undefined ? needsSharedMemory(b.definition) : access === 'shared';
  if (!share && needsSharedMemory(b.definition))
    b.problem(`${request.path}.access`, 'must be shared for virtiofs and vhost-user devices');
  const pages = hugePages(b, request);
  const immediate = backing?.allocation?.mode === 'immediate' || pages !== undefined;
  return {
    ...backendKind(b, request, share, pages),
    id: request.id,
    size: request.sizeKiB * KIB,
    share: share ? true : undefined,
    prealloc: immediate ? true : undefined,
    'prealloc-threads': immediate ? backing?.allocation?.threads : undefined,
    ...hostNodes(b, request),
  };
}

interface HugePages {
  readonly sizeBytes?: number;
}

/** The huge pages for this piece: those given for its cell, else those for all; undefined for ordinary pages. */
function hugePages(b: Build, request: BackendRequest): HugePages | undefined {
  if (request.pageSizeKiB !== undefined) return pagesOf(request.pageSizeKiB);
  const huge = b.definition.memoryBacking?.hugepages;
  if (huge === undefined) return undefined;
  if (huge.pages.length === 0) return {};
  const cell = request.cell;
  const own = huge.pages.find(
    (page) => cell !== undefined && page.nodeset !== undefined && cpusetMembers(page.nodeset).includes(cell),
  );
  const page = own ?? huge.pages.find((candidate) => candidate.nodeset === undefined);
  return page === undefined ? undefined : pagesOf(page.sizeKiB);
}

/** 4 KiB is what RAM has anyway on the hosts we run on. */
function pagesOf(sizeKiB: number): HugePages | undefined {
  return sizeKiB === 4 ? undefined : { sizeBytes: sizeKiB * KIB };
}

/**
 * Huge pages and shared RAM come from memfd, so that QEMU needs no directory of its own on hugetlbfs
 * (QEMU docs, "memory-backend-memfd").
 */
function backendKind(
  b: Build,
  request: BackendRequest,
  share: boolean,
  pages: HugePages | undefined,
): JsonObject & { 'qom-type': string } {
  const source = b.definition.memoryBacking?.source;
  if (pages !== undefined)
    return { 'qom-type': 'memory-backend-memfd', hugetlb: true, hugetlbsize: pages.sizeBytes };
  if (source === 'file') return fileBackend(b, request);
  if (source === 'memfd' || share) return { 'qom-type': 'memory-backend-memfd' };
  return { 'qom-type': 'memory-backend-ram' };
}

function fileBackend(b: Build, request: BackendRequest): JsonObject & { 'qom-type': string } {
  const directory = b.context.memoryDirectory;
  if (directory === undefined)
    b.problem('memoryBacking.source.type', `'file' is not offered here; use 'memfd' for shared memory`);
  const fd = b.need({
    kind: 'memory-file',
    path: `${directory ?? ''}/${b.definition.uuid ?? ''}-${request.id}`,
    access: 'rw',
    createBytes: request.sizeKiB * KIB,
    purpose: 'memoryBacking.source',
  });
  const discard = request.discard ?? b.definition.memoryBacking?.discard;
  return {
    'qom-type': 'memory-backend-file',
    'mem-path': `/proc/self/fd/${fd}`,
    'discard-data': discard ? true : undefined,
  };
}

const policies = { strict: 'bind', preferred: 'preferred', interleave: 'interleave' } as const;

/** numatune as the backend's policy: the cell's memnode first, then <memory>. */
function hostNodes(b: Build, request: BackendRequest): JsonObject {
  if (request.nodemask !== undefined)
    return { 'host-nodes': cpusetMembers(request.nodemask), policy: 'bind' };
  const tune = b.definition.numatune;
  const own = tune?.memnodes.find((node) => node.cellid === request.cell);
  const mode = own?.mode ?? tune?.memory?.mode ?? 'strict';
  const nodeset = own?.nodeset ?? tune?.memory?.nodeset;
  if (tune?.memory?.placement === 'auto')
    b.problem('numatune.memory.placement', `'auto' needs numad, which is not used`);
  if (nodeset === undefined) return {};
  // The guest's control group does it for all of its memory (limits.ts); QEMU sets no policy.
  if (mode === 'restrictive') {
    if (own !== undefined)
      b.problem('numatune.memnode', `mode 'restrictive' is of the whole guest: it goes into <memory>`);
    return {};
  }
  return { 'host-nodes': cpusetMembers(nodeset), policy: policies[mode] };
}
