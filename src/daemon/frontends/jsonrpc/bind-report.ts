/** Methods about what happened around a domain onto the flight recorder. */
import type { Result } from '../../../api/index.ts';
import type { FlightEntry } from '../../recorder/flight-recorder.ts';
import type { GuestReport } from '../../recorder/guest-report.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

/** Where reports come from; `daemon/jsonrpc-door.ts` wires it. */
export interface ReportSource {
  read(uuid: string, limit: number): Promise<readonly FlightEntry[]>;
  report(domain: Domain, signal: AbortSignal): Promise<GuestReport>;
}

export function bindReports(
  domains: DomainService,
  source: ReportSource,
): Pick<Handlers, 'domain.record' | 'domain.report'> {
  const find = domainFinder(domains);
  return {
    'domain.record': async ({ domain, limit }) => ({
      entries: (await source.read(find(domain).uuid, limit)).map(entryOf),
    }),
    'domain.report': async ({ domain }, { signal }) => {
      const found = find(domain);
      const { identity, state } = found;
      return reportOf(await source.report(found, signal), { identity, state });
    },
  };
}

type Shown = Result<'domain.report'>;

function reportOf(
  { takenAtMs, stored, running, record, checks, ...report }: GuestReport,
  { identity, state }: Pick<Domain, 'identity' | 'state'>,
): Shown {
  return {
    takenAt: new Date(takenAtMs).toISOString(),
    domain: identity,
    state: state.state,
    reason: state.reason,
    versions: report.versions,
    stored: stored ?? null,
    running: running ?? null,
    argv: [...report.argv],
    record: record.map(entryOf),
    log: report.log,
    networks: [...report.networks],
    checks: checks.map((check) => ({ ...check, repair: check.repair ?? null })),
    missing: [...report.missing],
  };
}

function entryOf({ atMs, kind, text, facts = {}, times = 1 }: FlightEntry): Shown['record'][number] {
  return { at: new Date(atMs).toISOString(), kind, text, facts, times };
}
