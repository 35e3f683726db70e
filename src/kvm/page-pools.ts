/** Pools of huge pages, by NUMA cell (Documentation/admin-guide/mm/hugetlbpage.rst). */
import { VirtError } from '../base/errors.ts';
import type { HostFiles } from './host-files.ts';
import type { HostWriter } from './host-writer.ts';

export interface PagePoolWish {
  /** Undefined: the kernel spreads them over all cells. */
  readonly cell: number | undefined;
  readonly sizeKiB: number;
  /** How many there are to be, or how many more. */
  readonly count: number;
  readonly isMore: boolean;
}

/**
 * Changes the size of a pool. The kernel takes what it can get: when that is not enough, the pool stays as far as it came.
 * @throws VirtError request.invalid for a cell or size that the host has not, operation.failed, file.denied
 */
export function setPagePool(
  host: { readonly files: HostFiles; readonly write: HostWriter },
  { cell, sizeKiB, count, isMore }: PagePoolWish,
): void {
  const wanted = `change the pool of ${sizeKiB} KiB pages${cell === undefined ? '' : ` of NUMA cell ${cell}`}`;
  const above = cell === undefined ? '/sys/kernel/mm' : `/sys/devices/system/node/node${cell}`;
  const path = `${above}/hugepages/hugepages-${sizeKiB}kB/nr_hugepages`;
  const before = countIn(host.files, path);
  if (before === undefined)
    throw new VirtError('request.invalid', { wanted, reason: 'the host has no such pages, or no such cell' });
  const target = isMore ? before + count : count;
  host.write(path, String(target));
  const after = countIn(host.files, path) ?? 0;
  if (after === target) return;
  throw new VirtError('operation.failed', {
    wanted,
    reason: `unable to allocate ${target} pages, allocated only ${after}`,
    hint: 'memory is in use or in small pieces; soon after the start of the host there is more',
  });
}

function countIn(files: HostFiles, path: string): number | undefined {
  const text = files.read(path)?.trim();
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}
