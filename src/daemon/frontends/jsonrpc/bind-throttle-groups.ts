/** Methods for groups of limits that disks share, onto the service. */
import type { DomainRef } from '../../../api/domain-objects.ts';
import type { IoTune } from '../../../model/domain/devices/disk.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { Handlers } from './handlers.ts';

type ThrottleGroupMethod = Extract<keyof Handlers, `domain.throttle-group.${string}`>;

export function bindThrottleGroups(domains: DomainService): Pick<Handlers, ThrottleGroupMethod> {
  const find = (ref: DomainRef): Domain =>
    typeof ref === 'string' ? domains.findByText(ref) : domains.find({ id: ref.id });
  return {
    'domain.throttle-group.list': async ({ domain, inactive }) => ({
      groups: domains.throttleGroups
        .list(find(domain), { inactive })
        .map(({ name, limits, disks }) => ({ group: name, limits: { ...limits }, disks: [...disks] })),
    }),
    'domain.throttle-group.set': async ({ domain, group, limits, ...targets }) => {
      const found = find(domain);
      const given = Object.entries(limits).filter(([, value]) => value !== undefined);
      await domains.throttleGroups.set(found, group, Object.fromEntries(given) as IoTune, targets);
      const inactive = targets.live !== true && targets.stored === true;
      const now = domains.throttleGroups.list(found, { inactive }).find(({ name }) => name === group);
      return { limits: { ...now?.limits } };
    },
    'domain.throttle-group.remove': async ({ domain, group, ...targets }) => {
      await domains.throttleGroups.remove(find(domain), group, targets);
      return {};
    },
  };
}
