/** What <perf> can have counted. */

/** libvirt's names (virPerfEventType), in its order. */
export const perfEvents = [
  'cmt',
  'mbmt',
  'mbml',
  'cpu_cycles',
  'instructions',
  'cache_references',
  'cache_misses',
  'branch_instructions',
  'branch_misses',
  'bus_cycles',
  'stalled_cycles_frontend',
  'stalled_cycles_backend',
  'ref_cpu_cycles',
  'cpu_clock',
  'task_clock',
  'page_faults',
  'context_switches',
  'cpu_migrations',
  'page_faults_min',
  'page_faults_maj',
  'alignment_faults',
  'emulation_faults',
] as const;

export type PerfEventName = (typeof perfEvents)[number];

/** Shares of caches and memory bandwidth: Linux has had no such counters since 4.14, and resctrl is not used. */
const goneEvents: ReadonlySet<string> = new Set(['cmt', 'mbmt', 'mbml']);

/** Why an event of that name cannot be counted on any host; undefined when some can. */
export function perfEventProblem(name: string): string | undefined {
  if (!perfEvents.some((one) => one === name)) return `there is no perf event '${name}'`;
  return goneEvents.has(name)
    ? `perf event '${name}' is not counted by Linux any more (it needs resctrl, which is not used)`
    : undefined;
}
