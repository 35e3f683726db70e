/** Kernel same-page merging: what it does and how eagerly (Documentation/admin-guide/mm/ksm.rst). */
import { VirtError } from '../base/errors.ts';
import type { HostFiles } from './host-files.ts';
import type { HostWriter } from './host-writer.ts';

const directory = '/sys/kernel/mm/ksm';

/** Names of its files; what a kernel has not is missing. */
export const pageSharingFields = [
  'pages_to_scan',
  'sleep_millisecs',
  'pages_shared',
  'pages_sharing',
  'pages_unshared',
  'pages_volatile',
  'full_scans',
  'merge_across_nodes',
] as const;

export type PageSharingField = (typeof pageSharingFields)[number];

/** What can be set. */
export const settableSharingFields = ['pages_to_scan', 'sleep_millisecs', 'merge_across_nodes'] as const;

export type SettableSharingField = (typeof settableSharingFields)[number];

/** All figures that the kernel tells. Pages are those of the processor, mostly 4 KiB. */
export function readPageSharing(files: HostFiles): Map<PageSharingField, number> {
  const found = new Map<PageSharingField, number>();
  for (const field of pageSharingFields) {
    const text = files.read(`${directory}/${field}`)?.trim();
    if (text !== undefined && /^\d+$/.test(text)) found.set(field, Number(text));
  }
  return found;
}

/**
 * Sets some of them; first it is seen that the kernel has all.
 * @throws VirtError request.unsupported, file.denied, file.failed (the kernel takes no `merge_across_nodes` while pages are
 *   merged)
 */
export function setPageSharing(
  host: { readonly files: HostFiles; readonly write: HostWriter },
  values: ReadonlyMap<SettableSharingField, number>,
): void {
  for (const field of values.keys())
    if (!host.files.exists(`${directory}/${field}`))
      throw new VirtError('request.unsupported', {
        wanted: 'change how equal pages of memory are merged',
        reason: `this kernel has no '${field}'`,
      });
  for (const [field, value] of values) host.write(`${directory}/${field}`, String(value));
}
