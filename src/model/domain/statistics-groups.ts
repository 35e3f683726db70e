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
