/** Whether a libvirtd has something here that Vireo could take over. */
import type { CheckContext, HostCheck } from './check.ts';

/** What of a libvirtd's definitions is not here. */
export interface AdoptionState {
  /** The directory of its definitions. */
  readonly from: string;
  /** Domains and networks that are not here. */
  readonly count: number;
}

/** Nothing to tell where there never was a libvirtd. */
export function checkLibvirt({ adoption }: CheckContext): HostCheck[] {
  if (adoption === undefined || adoption.count === 0) return [];
  const what = adoption.count === 1 ? 'one domain or network' : `${adoption.count} domains and networks`;
  return [
    {
      id: 'libvirt',
      title: "libvirt's definitions",
      status: 'warning',
      detail: `${what} in ${adoption.from} ${adoption.count === 1 ? 'is' : 'are'} known to libvirtd and not to Vireo`,
      repair:
        "'vireo adopt libvirt --dry-run' tells what would come over, 'vireo adopt libvirt' takes it over",
    },
  ];
}
