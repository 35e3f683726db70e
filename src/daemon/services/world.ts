/** What the domain services share: registry, driver, stores, events, and how a definition becomes facts and text. */
import { VirtError } from '../../base/errors.ts';
import type { JobUnit, RunningJob } from '../../base/job-registry.ts';
import type { Logger } from '../../base/log.ts';
import type { HypervisorDriver, LiveGuest } from '../../drivers/driver.ts';
import type { GuestGroups } from '../../drivers/host-tuning/cgroups.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../model/domain/domain.ts';
import type { SaveFormat } from '../../model/saved-state/image.ts';
import type { LinkHost } from '../../net/links/requests.ts';
import type { Hooks } from '../hooks/hooks.ts';
import type { DaemonMode } from '../paths.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import type { RuntimeStore } from '../state/runtime.ts';
import { type StoredDisk, storedDisksOf } from './disks-at-rest.ts';
import type { Domain, DomainRegistry } from './domain.ts';
import type { EventBus } from './events.ts';
import type { JobObject, Jobs } from './jobs.ts';
import type { ManagedSaves } from './managed-saves.ts';
import type { MonitorEvents } from './monitor-events.ts';
import type { NetworkShares } from './network-shares.ts';
import type { TpmStates } from './tpm-states.ts';
import type { ForwardedPort } from './user-forwards.ts';

/** What is done to links of guests that run. */
export type GuestLinkControl = Pick<LinkHost, 'statistics' | 'setBandwidth' | 'setReceiveFilter'>;

export interface DomainWorld {
  readonly mode: DaemonMode;
  readonly registry: DomainRegistry;
  /** QEMU processes of domains, by uuid, that run but could not be taken over: none of these is started a second time. */
  readonly strangers: Map<string, { readonly pid: number; readonly startTimeTicks: string }>;
  readonly driver: HypervisorDriver;
  readonly definitions: DefinitionStore;
  readonly runtime: RuntimeStore;
  readonly events: EventBus;
  /** Devices of the host that running guests are plugged into. */
  readonly links: GuestLinkControl;
  /** Bandwidth of networks that interfaces are guaranteed; left out where there are no networks. */
  readonly shares?: Pick<NetworkShares, 'promise'>;
  /** Ports of the host that active networks lead to their guests; left out where there are no networks. */
  readonly forwardedPorts?: () => readonly ForwardedPort[];
  /** What goes on, for clients to see and to call off. */
  readonly jobs: Jobs;
  /** Who wants to know of each guest that has been started, or found again. */
  readonly followers: ((domain: Domain, guest: LiveGuest) => void)[];
  /** The administrator's scripts; none when left out. */
  readonly hooks?: Hooks;
  /** What the guests' monitors say by themselves. */
  readonly monitorEvents: MonitorEvents;
  /** Control groups of guests; undefined where they are not used. */
  readonly groups?: GuestGroups;
  /** State of emulated TPMs. */
  readonly tpmStates: TpmStates;
  /** Saved states that are kept for stored domains. */
  readonly managedSaves: ManagedSaves;
  /** How states are packed where nobody says it. */
  readonly saveFormat: SaveFormat;
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
  /** What clients ask of every domain again and again; absent in files of a version that did not write it. */
  readonly size?: {
    readonly maxVcpus: number;
    readonly currentMemoryKiB: number;
    /** `hvm` */
    readonly osType: string;
  };
  /** For statistics of all domains at once; absent as above. */
  readonly disks?: readonly StoredDisk[];
}

export function factsOf(definition: DomainDef): DomainFacts {
  return {
    ...(definition.title !== undefined && { title: definition.title }),
    memoryBytes: definition.memory.sizeKiB * 1024,
    vcpus: definition.vcpu.current ?? definition.vcpu.count,
    virtType: definition.type,
    size: {
      maxVcpus: definition.vcpu.count,
      currentMemoryKiB: definition.currentMemoryKiB ?? definition.memory.sizeKiB,
      osType: definition.os.type.kind,
    },
    disks: storedDisksOf(definition),
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

/** What a domain's stored text says. Definitions are never changed in place, so several callers may share one. */
export function storedDefinition(domain: Domain, xml: string): DomainDef {
  const known = domain.parsed?.deref();
  if (known?.xml === xml) return known.definition;
  const definition = parseTrusted(xml);
  domain.parsed = new WeakRef({ xml, definition });
  return definition;
}

export interface DomainJobOptions {
  /** Gives up waiting in line. */
  readonly signal?: AbortSignal;
  readonly waitMs?: number;
  /** The work obeys the signal of its job. */
  readonly isCancellable?: boolean;
  /** What its progress counts. */
  readonly unit?: JobUnit;
}

/** Runs a named job on a domain; start, progress and end are told as events. */
export async function runJob<T>(
  world: DomainWorld,
  domain: Domain,
  name: string,
  work: (job: RunningJob) => Promise<T>,
  options: DomainJobOptions = {},
): Promise<T> {
  const { signal, waitMs = world.jobWaitMs, isCancellable = false, unit } = options;
  return domain.jobs.run(
    name,
    () => {
      // The job before this one may have taken it away.
      if (world.registry.withUuid(domain.uuid) !== domain)
        throw new VirtError('domain.not-found', {
          wanted: `${name} domain '${domain.name}'`,
          reason: 'the domain is gone',
        });
      const object = () => objectOf(domain);
      return world.jobs.run({ kind: name, object, isCancellable, ...(unit && { unit }) }, work);
    },
    { waitMs, ...(signal && { signal }) },
  );
}

function objectOf(domain: Domain): JobObject {
  return { type: 'domain', ...domain.identity };
}
