/** `<portgroup>` and `<bandwidth>`: names given once, one default, rates that make sense. */
import type { Problem } from '../../../base/errors.ts';
import { hasOwnBridge, type NetworkDef } from '../network.ts';

type Bandwidth = NonNullable<NetworkDef['bandwidth']>;

export function portgroupProblems(definition: NetworkDef): Problem[] {
  const { portgroups } = definition;
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [i, group] of portgroups.entries()) {
    const path = `portgroup[${i}]`;
    if (seen.has(group.name))
      problems.push({ path: `${path}.name`, message: `'${group.name}' is given twice` });
    seen.add(group.name);
    if (group.vlan !== undefined && hasOwnBridge(definition))
      problems.push({
        path: `${path}.vlan`,
        message: 'needs a bridge that knows VLANs, which a Linux bridge made here does not',
      });
    problems.push(...bandwidthProblems(group.bandwidth, `${path}.bandwidth`));
  }
  const defaults = portgroups.filter((group) => group.default === true);
  if (defaults.length > 1) problems.push({ path: 'portgroup', message: 'more than one is the default' });
  return [...problems, ...bandwidthProblems(definition.bandwidth, 'bandwidth')];
}

function bandwidthProblems(bandwidth: Bandwidth | undefined, path: string): Problem[] {
  const problems: Problem[] = [];
  for (const direction of ['inbound', 'outbound'] as const) {
    const rates = bandwidth?.[direction];
    if (rates === undefined) continue;
    const at = `${path}.${direction}`;
    if (rates.average === undefined && rates.floor === undefined)
      problems.push({ path: `${at}.average`, message: 'is missing' });
    if (rates.floor !== undefined)
      problems.push({ path: `${at}.floor`, message: 'belongs to interfaces, not to networks' });
    if (rates.peak !== undefined && rates.average !== undefined && rates.peak < rates.average)
      problems.push({ path: `${at}.peak`, message: 'is less than the average' });
  }
  return problems;
}
