/** Everything that explains what became of a guest, gathered in one place and cleaned of secrets: what goes into a bug report. */
import { release } from 'node:os';
import { isVirtError, reasonOf } from '../../base/errors.ts';
import type { HypervisorDriver } from '../../drivers/driver.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { Redactor } from '../../model/domain/redaction.ts';
import type { HostCheck } from '../host-check/check.ts';
import type { Domain } from '../services/domain.ts';
import type { DomainService } from '../services/domain-service.ts';
import { networksOf } from '../services/network-demand.ts';
import type { NetworkService } from '../services/network-service.ts';
import type { FlightEntry, FlightRecorder } from './flight-recorder.ts';

/** The end of QEMU's log, in bytes. */
const LOG_BYTES = 64 * 1024;
/** The newest entries of the record. */
const MAX_ENTRIES = 2000;

export interface GuestReport {
  readonly takenAtMs: number;
  readonly versions: Readonly<Record<'vireo' | 'node' | 'kernel' | 'emulator', string>>;
  /** Documents without secrets; undefined where there is none. */
  readonly stored: string | undefined;
  readonly running: string | undefined;
  /** QEMU's command line. */
  readonly argv: readonly string[];
  readonly record: readonly FlightEntry[];
  readonly log: string;
  /** Networks that its cards are on, as documents. */
  readonly networks: readonly { readonly name: string; readonly active: boolean; readonly xml: string }[];
  readonly checks: readonly HostCheck[];
  /** What could not be had, and why. */
  readonly missing: readonly string[];
}

export interface ReportParts {
  readonly domains: DomainService;
  readonly networks: NetworkService | undefined;
  readonly driver: Pick<HypervisorDriver, 'logTail'>;
  readonly recorder: Pick<FlightRecorder, 'read'>;
  readonly check: (signal: AbortSignal) => Promise<readonly HostCheck[]>;
  readonly version: string;
}

/**
 * Gathers it; what cannot be had is named in `missing`, and the rest is there all the same. Takes a second or two for the check
 * of the host.
 */
export async function reportOn(
  domain: Domain,
  parts: ReportParts,
  signal: AbortSignal,
): Promise<GuestReport> {
  const { domains, driver, recorder } = parts;
  const redactor = new Redactor('report');
  const missing: string[] = [];
  const have = <T>(what: string, otherwise: T, get: () => T | Promise<T>): Promise<T> =>
    attempt(what, { otherwise, missing }, get);
  const xml = (inactive: boolean): string =>
    redactor.domain(domains.definitions.xml(domain, { inactive, secure: true }));
  // Documents first: what is secret in them is looked for in all that follows.
  const stored = domain.isPersistent ? await have('the stored definition', '', () => xml(true)) : undefined;
  const running = domain.isActive ? await have('the running definition', '', () => xml(false)) : undefined;
  const definition = domains.definitions.definition(domain);
  const [argv, record, log, checks] = await Promise.all([
    have('the command line', [] as readonly string[], () => domains.controls.commandLine(domain)),
    have('the flight record', [] as FlightEntry[], () => recorder.read(domain.uuid, MAX_ENTRIES)),
    have("QEMU's log", '', () => driver.logTail(definition, LOG_BYTES)),
    have('the check of the host', [] as readonly HostCheck[], () => parts.check(signal)),
  ]);
  return {
    takenAtMs: Date.now(),
    versions: {
      vireo: parts.version,
      node: process.version,
      kernel: release(),
      emulator: definition.devices.emulator ?? '',
    },
    stored,
    running,
    argv: argv.map((word) => redactor.text(word)),
    record: record.map((entry) => cleanEntry(redactor, entry)),
    log: redactor.text(log),
    networks: networkReports(parts.networks, definition).map((one) => ({
      ...one,
      xml: redactor.text(one.xml),
    })),
    checks,
    missing: missing.map((one) => redactor.text(one)),
  };
}

/** A part that fails must not cost the others: a report is asked for when something is broken. */
async function attempt<T>(
  what: string,
  failure: { readonly otherwise: T; readonly missing: string[] },
  get: () => T | Promise<T>,
): Promise<T> {
  try {
    return await get();
  } catch (error) {
    if (isVirtError(error, 'operation.aborted')) throw error;
    failure.missing.push(`${what}: ${reasonOf(error)}`);
    return failure.otherwise;
  }
}

function cleanEntry(redactor: Redactor, entry: FlightEntry): FlightEntry {
  const { facts } = entry;
  return {
    ...entry,
    text: redactor.text(entry.text),
    ...(facts && { facts: redactor.value(facts) as Record<string, unknown> }),
  };
}

function networkReports(
  service: NetworkService | undefined,
  definition: DomainDef,
): { name: string; active: boolean; xml: string }[] {
  if (service === undefined) return [];
  const names = new Set(networksOf(definition));
  return service
    .list({})
    .filter(({ name }) => names.has(name))
    .map((network) => ({
      name: network.name,
      active: network.isActive,
      xml: service.definitions.xml(network, { inactive: false }),
    }));
}
