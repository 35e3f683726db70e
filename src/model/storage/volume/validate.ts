/** What goes together in a volume that is to be made; all findings at once. */
import type { Problem } from '../../../base/errors.ts';
import type { VolumeDef } from './volume.ts';

/** The largest image that anything here makes: QEMU's own limit for a disk is below 2^63, a number holds 2^53. */
const MAX_BYTES = Number.MAX_SAFE_INTEGER;

/** Findings about a description for a create; an empty list means that it is sound. */
export function validateNewVolume(volume: VolumeDef): Problem[] {
  const { capacityBytes, allocationBytes, target, backingStore } = volume;
  const format = target.format?.type ?? 'raw';
  const problems: Problem[] = [];
  const refuse = (path: string, message: string) => problems.push({ path, message });
  if (capacityBytes === undefined && backingStore === undefined) refuse('capacity', 'is missing');
  if ((capacityBytes ?? 0) > MAX_BYTES) refuse('capacity', 'is out of range');
  if (
    allocationBytes !== undefined &&
    capacityBytes !== undefined &&
    format === 'raw' &&
    allocationBytes > capacityBytes
  )
    refuse('allocation', 'is more than the capacity');
  if (backingStore !== undefined && format === 'raw')
    refuse('backingStore', 'a raw volume has no backing store; use qcow2');
  if (backingStore !== undefined && backingStore.format === undefined)
    refuse('backingStore.format', 'is missing: the format of a backing store is never guessed');
  problems.push(...qcow2Problems(volume, format));
  return problems;
}

function qcow2Problems({ target }: VolumeDef, format: string): Problem[] {
  const problems: Problem[] = [];
  const { compat, clusterSizeBytes, features } = target;
  const parts = { compat, clusterSize: clusterSizeBytes, features };
  if (format !== 'qcow2') {
    for (const [name, value] of Object.entries(parts))
      if (value !== undefined)
        problems.push({ path: `target.${name}`, message: `goes with qcow2 only, not with ${format}` });
    return problems;
  }
  if (compat !== undefined && compat !== '0.10' && compat !== '1.1')
    problems.push({ path: 'target.compat', message: `'${compat}' is neither 0.10 nor 1.1` });
  if (clusterSizeBytes !== undefined && !isClusterSize(clusterSizeBytes))
    problems.push({ path: 'target.clusterSize', message: 'is no power of two from 512 bytes to 2 MiB' });
  if (compat === '0.10' && features?.lazyRefcounts === true)
    problems.push({ path: 'target.features.lazy_refcounts', message: 'needs compat 1.1' });
  if (compat === '0.10' && features?.extendedL2 === true)
    problems.push({ path: 'target.features.extended_l2', message: 'needs compat 1.1' });
  return problems;
}

/** QEMU docs/interop/qcow2.rst: cluster_bits 9 to 21. */
function isClusterSize(bytes: number): boolean {
  return bytes >= 512 && bytes <= 2 * 1024 * 1024 && Number.isInteger(Math.log2(bytes));
}
