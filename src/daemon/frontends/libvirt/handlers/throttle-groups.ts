/** Groups of limits that disks share (libvirt 11.2). There is no call that reads them: they stand in the XML. */
import type { IoTune } from '../../../../model/domain/devices/disk.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { type TuneName, tuneNames, tuneTypes } from './domain-blocks.ts';
import { readParams } from './params.ts';
import { affect, checkFlags, domainOf, impactOn, invalid } from './support.ts';

const bothSides = affect.live | affect.config;

export function throttleGroupHandlers(engine: Engine) {
  const { throttleGroups } = engine.domains;
  return {
    domainSetThrottleGroup: async ({ dom, group, params, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      const given = readParams(params, tuneTypes);
      const { groupName, ...limits } = Object.fromEntries(
        [...given].map(([name, value]) => [tuneNames[name as TuneName], value]),
      ) as IoTune;
      if (groupName !== undefined && groupName !== group)
        throw invalid(`the limits are of group '${groupName}', not of '${group}'`);
      await throttleGroups.set(domain, group, limits, impactOn(domain, flags));
    },
    domainDelThrottleGroup: async ({ dom, group, flags }, call) => {
      checkFlags(flags, bothSides, call);
      const domain = domainOf(engine, dom);
      if (group === null) throw invalid('group in virDomainDelThrottleGroup must not be NULL');
      await throttleGroups.remove(domain, group, impactOn(domain, flags));
    },
  } satisfies RemoteHandlers;
}
