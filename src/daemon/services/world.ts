/** What the domain services share: registry, driver, stores, events, and how a definition becomes facts and text. */
import { type ErrorCode, isVirtError, VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { HypervisorDriver } from '../../drivers/driver.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../model/domain/domain.ts';
import type { DaemonMode } from '../paths.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import type { RuntimeStore } from '../state/runtime.ts';
import type { Domain, DomainRegistry } from './domain.ts';
import type { EventBus } from './events.ts';

export interface DomainWorld {
  readonly mode: DaemonMode;
  readonly registry: DomainRegistry;
  /** QEMU processes of domains, by uuid, that run but could not be taken over: none of these is started a second time. */
  readonly strangers: Map<string, { readonly pid: number; readonly startTimeTicks: string }>;
  readonly driver: HypervisorDriver;
  readonly definitions: DefinitionStore;
  readonly runtime: RuntimeStore;
  readonly events: EventBus;
  readonly log: Logger;
  /** How long a call waits for another job on the same domain. */
  readonly jobWaitMs: number;
  /** Time between SIGTERM and SIGKILL. */
  readonly stopGraceMs: number;
}

/** What lists show of a definition; kept beside the text so that a list parses nothing. */
export interface DomainFacts {
  readonly title?: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly virtType: string;
}

export function factsOf(definition: DomainDef): DomainFacts {
  return {
    ...(definition.title !== undefined && { title: definition.title }),
    memoryBytes: definition.memory.sizeKiB * 1024,
    vcpus: definition.vcpu.current ?? definition.vcpu.count,
    virtType: definition.type,
  };
}

/** The stored form: inactive, with secrets (the file is 0600). */
export function storedXml(definition: DomainDef): string {
  return formatDomain(definition, { inactive: true, secure: true });
}

/**
 * Reads text that we wrote ourselves, or that was checked when it came in. Lenient: a later version may have written
 * more than this one knows.
 */
export function parseTrusted(xml: string): DomainDef {
  return parseDomain(xml, { mode: 'lenient' }).definition;
}

/** Runs a named job on a domain; start and end are told as events. */
export async function runJob<T>(
  world: DomainWorld,
  domain: Domain,
  name: string,
  work: () => Promise<T>,
  options: { readonly signal?: AbortSignal; readonly waitMs?: number } = {},
): Promise<T> {
  const waitMs = options.waitMs ?? world.jobWaitMs;
  return domain.jobs.run(
    name,
    async () => {
      const startedAt = performance.now();
      // The job before this one may have taken it away.
      if (world.registry.withUuid(domain.uuid) !== domain)
        throw new VirtError('domain.not-found', {
          wanted: `${name} domain '${domain.name}'`,
          reason: 'the domain is gone',
        });
      world.events.emit('job.started', domain.identity, { job: name });
      let error: JobFailure | null = null;
      try {
        return await work();
      } catch (caught) {
        error = describeFailure(caught);
        throw caught;
      } finally {
        const durationMs = Math.round(performance.now() - startedAt);
        world.events.emit('job.ended', domain.identity, { job: name, durationMs, error });
      }
    },
    { waitMs, ...(options.signal && { signal: options.signal }) },
  );
}

/** How a job failed, as its event tells it. */
export interface JobFailure {
  readonly code: ErrorCode;
  readonly reason: string;
}

export function describeFailure(error: unknown): JobFailure {
  return isVirtError(error)
    ? { code: error.code, reason: error.reason }
    : { code: 'internal.error', reason: 'the daemon has a bug; its log has more' };
}
