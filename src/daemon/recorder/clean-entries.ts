/** Takes out of the flight record what quotes a guest's secrets: QEMU repeats in its errors what it was told. */
import { formatDomain } from '../../model/domain/domain.ts';
import { Redactor } from '../../model/domain/redaction.ts';
import type { Domain } from '../services/domain.ts';
import type { FlightEntry } from './flight-recorder.ts';

/** Entries whose words are free text are cleaned of what is secret in the domain's definitions; names stay as they are. */
export function cleanEntries(
  entries: readonly FlightEntry[],
  domain: Pick<Domain, 'xml' | 'live'> | undefined,
): FlightEntry[] {
  let redactor: Redactor | undefined;
  return entries.map((entry) => {
    const { facts } = entry;
    if (facts === undefined || !hasFreeText(facts)) return entry;
    redactor ??= redactorOf(domain);
    return { ...entry, facts: redactor.value(facts) as Record<string, unknown> };
  });
}

function redactorOf(domain: Pick<Domain, 'xml' | 'live'> | undefined): Redactor {
  const redactor = new Redactor('secrets');
  const running = domain?.live && formatDomain(domain.live.guest.definition, { secure: true });
  for (const xml of [domain?.xml, running]) if (xml !== undefined) redactor.domain(xml);
  return redactor;
}

/** True for a value with words in it, or an address with what is behind it. */
function hasFreeText(value: unknown): boolean {
  if (typeof value === 'string') return /\s|:\/\/|\?/.test(value);
  if (typeof value !== 'object' || value === null) return false;
  return Object.values(value).some(hasFreeText);
}
