/** What there is to measure of a domain. */

/** libvirt's groups of domain statistics (virDomainStatsTypes), in its words. */
export const statisticsGroups = [
  'state',
  'cpu',
  'balloon',
  'vcpu',
  'interface',
  'block',
  'perf',
  'iothread',
  'memory',
  'dirtyrate',
  'vm',
] as const;

export type StatisticsGroup = (typeof statisticsGroups)[number];

/**
 * Ways to measure how fast a guest writes to its memory: some pages now and then, all by a bitmap, or by KVM's ring, which
 * tells each virtual CPU's part.
 */
export const dirtyRateModes = ['page-sampling', 'dirty-bitmap', 'dirty-ring'] as const;

export type DirtyRateMode = (typeof dirtyRateModes)[number];
