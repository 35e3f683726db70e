/** The history of statistics onto its service. */
import type { Result } from '../../../api/index.ts';
import type { StatisticsHistory } from '../../history/history.ts';
import { metrics, type Point, rings } from '../../history/ring.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type Shown = Result<'domain.stats-history'>['points'][number];

/** Where histories come from; `isOn`: guests are measured. */
export interface HistorySource {
  readonly isOn: boolean;
  readonly history: Pick<StatisticsHistory, 'read'>;
}

export function bindHistory(
  domains: DomainService,
  source: HistorySource,
): Pick<Handlers, 'domain.stats-history'> {
  const find = domainFinder(domains);
  return {
    'domain.stats-history': async ({ domain, span }) => {
      const { stepSeconds, count } = rings.find((ring) => ring.span === span) ?? rings[0];
      const points = await source.history.read(find(domain), span);
      const now = Math.floor(Date.now() / 1000 / stepSeconds) * stepSeconds;
      return {
        stepSeconds,
        from: new Date((now - (count - 1) * stepSeconds) * 1000).toISOString(),
        points: points.map(pointOf),
        enabled: source.isOn,
      };
    },
  };
}

function pointOf({ at, values }: Point): Shown {
  const told = metrics.map((name, index) => {
    const value = values[index] ?? Number.NaN;
    return [name, Number.isNaN(value) ? null : Math.round(value * 100) / 100];
  });
  return { at: new Date(at * 1000).toISOString(), ...Object.fromEntries(told) } as Shown;
}
