/** What the flight recorder hears of by itself: the daemon's events, what monitors say, the host and networks at starts and ends. */
import { loadavg } from 'node:os';
import type { PublishedEvent } from '../../api/index.ts';
import type { MonitorEvent } from '../../drivers/driver.ts';
import type { MonitorReply } from '../../drivers/qemu/qmp/wire.ts';
import type { HostMemory } from '../../kvm/host-facts.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from '../services/domain.ts';
import type { DomainService } from '../services/domain-service.ts';
import type { EventBus } from '../services/events.ts';
import type { FlightRecorder } from './flight-recorder.ts';

/** Events that come too often to say anything. */
const tooMany: ReadonlySet<string> = new Set(['job.progress']);
/** Monitor events that come too often, or that an event of the daemon's tells better. */
const quietMonitorEvents: ReadonlySet<string> = new Set(['RTC_CHANGE', 'NIC_RX_FILTER_CHANGED']);
/** Events around which the host's state may explain something. */
const turningPoints: ReadonlySet<string> = new Set(['domain.started', 'domain.crashed', 'domain.io-error']);

/** A question that QEMU answered well says nothing, unless it took so long. */
const SLOW_MS = 1000;
const questions = /^(query-|qom-get$|qom-list)/;
/** Arguments that name things; values that a client chose freely may be secret. */
const namingArguments = [
  'id',
  'device',
  'driver',
  'node-name',
  'job-id',
  'name',
  'protocol',
  'uri',
  'property',
] as const;

/** Passes events of the daemon and of all monitors on. Returns what ends it. */
export function listenTo(
  recorder: FlightRecorder,
  parts: {
    readonly events: EventBus;
    readonly domains: Pick<DomainService, 'list' | 'monitorEvents'>;
    readonly memory: () => HostMemory;
  },
): () => void {
  const { events, domains, memory } = parts;
  const stopEvents = events.subscribe((event) => {
    if (!('domain' in event) || event.domain === undefined || tooMany.has(event.event)) return;
    const { uuid } = event.domain as { readonly uuid: string };
    recorder.note(uuid, 'event', event.event, factsOf(event));
    if (turningPoints.has(event.event)) noteHost(recorder, uuid, memory());
    if (event.event === 'domain.started') noteNetwork(recorder, domains, uuid);
    if (event.event === 'domain.crashed') void recorder.flush();
  });
  const stopMonitors = domains.monitorEvents.subscribe((domain: Domain, event: MonitorEvent) => {
    if (!quietMonitorEvents.has(event.name)) recorder.note(domain.uuid, 'qmp', event.name, event.data);
  });
  return () => {
    stopEvents();
    stopMonitors();
  };
}

/** Notes what QEMU answered to a command: its name, whom it was for, how long it took, what went wrong. */
export function noteReply(recorder: FlightRecorder, uuid: string, reply: MonitorReply): void {
  const { command, args, ms, problem } = reply;
  if (problem === undefined && ms < SLOW_MS && questions.test(command)) return;
  const facts: Record<string, unknown> = { ms: Math.round(ms * 10) / 10 };
  for (const key of namingArguments) {
    const value = args?.[key];
    if (typeof value === 'string' && value.length <= 200) facts[key] = value;
  }
  if (problem !== undefined) facts['error'] = problem;
  recorder.note(uuid, 'qmp', command, facts);
}

function factsOf(event: PublishedEvent): Readonly<Record<string, unknown>> | undefined {
  // The object of a job is the domain again.
  const { event: _, domain: __, object: ___, ...facts } = event as unknown as Record<string, unknown>;
  return Object.keys(facts).length === 0 ? undefined : facts;
}

function noteHost(recorder: FlightRecorder, uuid: string, memory: HostMemory): void {
  const [load = 0] = loadavg();
  recorder.note(uuid, 'host', 'host', {
    load: Math.round(load * 100) / 100,
    memoryMiB: Math.round(memory.totalKiB / 1024),
    availableMiB: Math.round(memory.availableKiB / 1024),
  });
}

function noteNetwork(recorder: FlightRecorder, domains: Pick<DomainService, 'list'>, uuid: string): void {
  const running = domains.list({ active: true }).find((domain) => domain.uuid === uuid)?.live
    ?.guest.definition;
  for (const card of running?.devices.interfaces ?? []) recorder.note(uuid, 'network', cardText(card));
}

function cardText({ alias, mac, source, target }: DomainDef['devices']['interfaces'][number]): string {
  const where = 'network' in source ? source.network : 'bridge' in source ? source.bridge : undefined;
  const parts = [
    `${alias ?? 'interface'}: ${source.type}`,
    where === undefined ? '' : `'${where}'`,
    mac?.address ?? '',
    target?.dev ?? '',
  ];
  return parts.filter((part) => part !== '').join(' ');
}
