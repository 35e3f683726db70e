/** Methods that have something measured of a guest onto the services. */
import { perfEvents } from '../../../model/domain/perf-events.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type MeasuringHandlers = Pick<Handlers, 'domain.perf' | 'domain.set-perf' | 'domain.dirty-rate.start'>;

export function bindMeasuring(domains: DomainService): MeasuringHandlers {
  const find = domainFinder(domains);
  return {
    'domain.perf': async ({ domain, inactive }) => {
      const found = find(domain);
      const counts = inactive ? new Map<string, number>() : domains.perf.counts(found);
      const events = domains.perf.events(found, { inactive }).map(({ name, enabled, problem }) => ({
        name,
        enabled,
        count: counts.get(name) ?? null,
        problem: problem ?? null,
      }));
      return { events };
    },
    'domain.set-perf': async ({ domain, events, ...targets }) => {
      const wish = perfEvents.flatMap((name) => {
        const enabled = events[name];
        return enabled === undefined ? [] : [[name, enabled] as const];
      });
      await domains.perf.set(find(domain), new Map(wish), targets);
      return {};
    },
    'domain.dirty-rate.start': async ({ domain, seconds, mode }) => {
      const { guest } = find(domain).requireLive('measure');
      await guest.tuning.startDirtyRate(seconds, mode);
      return {};
    },
  };
}
