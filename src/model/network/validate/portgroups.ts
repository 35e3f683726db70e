/** `<portgroup>`, `<vlan>` and `<bandwidth>`: names given once, one default, tags and rates that make sense. */
import type { Problem } from '../../../base/errors.ts';
import { bandwidthProblems, vlanProblems } from '../connection.ts';
import type { NetworkDef } from '../network.ts';

export function portgroupProblems(definition: NetworkDef): Problem[] {
  const { portgroups } = definition;
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [i, group] of portgroups.entries()) {
    const path = `portgroup[${i}]`;
    if (seen.has(group.name))
      problems.push({ path: `${path}.name`, message: `'${group.name}' is given twice` });
    seen.add(group.name);
    problems.push(
      ...vlanProblems(group.vlan, `${path}.vlan`),
      ...bandwidthProblems(group.bandwidth, `${path}.bandwidth`, { floor: 'refused' }),
    );
  }
  const defaults = portgroups.filter((group) => group.default === true);
  if (defaults.length > 1) problems.push({ path: 'portgroup', message: 'more than one is the default' });
  return [
    ...problems,
    ...vlanProblems(definition.vlan, 'vlan'),
    ...bandwidthProblems(definition.bandwidth, 'bandwidth', { floor: 'refused' }),
  ];
}
