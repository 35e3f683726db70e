/** The engine's events in libvirt's words: kind, numbers and body of the messages that one of ours becomes; here those of domains. */
import type { PublishedEvent } from '../../../../api/index.ts';
import { paramType, type TypedParam } from '../../../../libvirt/protocol/objects.ts';
import type { RemoteMessage, RemoteMessageName } from '../../../../libvirt/protocol/programs.ts';
import { memoryMeasures } from '../memory-measures.ts';
import { type DomainEventKind, domainEventKinds } from './kinds.ts';
import { metadataTypes, type OutgoingEvent } from './outgoing.ts';
import { translateObject } from './translate-objects.ts';

type EventOf<Name extends PublishedEvent['event']> = Extract<PublishedEvent, { event: Name }>;
type DomainIdentity = EventOf<'domain.started'>['domain'];

/** virDomainEventType and the details of each (libvirt-domain.h). */
const lifecycle = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  shutdown: 6,
  pmsuspended: 7,
  crashed: 8,
} as const;

const startedDetails = ['booted', 'migrated', 'restored', 'from snapshot', 'event wakeup'];
const suspendedDetails = [
  'user',
  'migrating',
  'I/O error',
  'watchdog',
  'restored',
  'from snapshot',
  'api error',
];
const resumedDetails = ['unpaused', 'migrated', 'from snapshot', 'post-copy'];
const stoppedDetails = ['shutdown', 'destroyed', 'crashed', 'migrated', 'saved', 'failed', 'from snapshot'];
const watchdogActions = ['none', 'pause', 'reset', 'poweroff', 'shutdown', 'debug', 'inject-nmi'];
const ioErrorActions: Readonly<Record<string, number>> = { ignore: 0, stop: 1, report: 2 };

/** The number of a word; the first for a word that has none. */
const numberOf = (words: readonly string[], word: string) => Math.max(0, words.indexOf(word));

/** What clients are told of an event; nothing for what libvirt has no event for. */
export function translate(event: PublishedEvent): OutgoingEvent[] {
  switch (event.event) {
    case 'domain.defined':
      return [lifecycleEvent(event.domain, lifecycle.defined, definedDetail(event))];
    case 'domain.undefined':
      return [lifecycleEvent(event.domain, lifecycle.undefined, 0)];
    case 'domain.renamed':
      // To clients the old one goes and the new one comes.
      return [
        lifecycleEvent({ ...event.domain, name: event.previousName }, lifecycle.undefined, 1),
        lifecycleEvent(event.domain, lifecycle.defined, 2),
      ];
    case 'domain.started':
      return [lifecycleEvent(event.domain, lifecycle.started, numberOf(startedDetails, event.reason))];
    case 'domain.suspended':
      return [lifecycleEvent(event.domain, lifecycle.suspended, numberOf(suspendedDetails, event.reason))];
    case 'domain.resumed':
      return [lifecycleEvent(event.domain, lifecycle.resumed, numberOf(resumedDetails, event.reason))];
    case 'domain.shutdown':
      return [lifecycleEvent(event.domain, lifecycle.shutdown, shutdownDetail(event.reason))];
    case 'domain.stopped':
      return [lifecycleEvent(event.domain, lifecycle.stopped, numberOf(stoppedDetails, event.reason))];
    case 'domain.crashed':
      return crashed(event);
    default:
      return translateRest(event);
  }
}

/** virDomainEventDefinedDetailType: added, updated, from a snapshot. */
const definedDetail = ({ isNew, fromSnapshot }: EventOf<'domain.defined'>): number =>
  fromSnapshot ? 3 : isNew ? 0 : 1;

/** virDomainEventCrashedDetailType. A QEMU that died is "stopped, crashed", and that event follows by itself. */
function crashed({ domain, reason }: EventOf<'domain.crashed'>): OutgoingEvent[] {
  const detail = ['panicked', 'crash-loaded'].indexOf(reason);
  return detail === -1 ? [] : [lifecycleEvent(domain, lifecycle.crashed, detail)];
}

const shutdownDetail = (reason: string) => (reason === 'guest' ? 1 : reason === 'host' ? 2 : 0);

function translateRest(event: PublishedEvent): OutgoingEvent[] {
  switch (event.event) {
    case 'domain.rebooted':
      return [wrapped('reboot', event.domain, {})];
    case 'domain.rtc-changed':
      return [wrapped('rtcChange', event.domain, { offset: event.offsetSeconds })];
    case 'domain.watchdog':
      return [wrapped('watchdog', event.domain, { action: numberOf(watchdogActions, event.action) })];
    case 'domain.io-error':
      return ioErrors(event);
    case 'domain.device-removed':
      return [wrapped('deviceRemoved', event.domain, { devAlias: event.alias })];
    case 'domain.device-added':
      return [flat('deviceAdded', event.domain, { devAlias: event.alias })];
    case 'domain.device-removal-failed':
      return [flat('deviceRemovalFailed', event.domain, { devAlias: event.alias })];
    case 'domain.agent':
      return agentLifecycle(event);
    case 'domain.balloon-changed':
      return [wrapped('balloonChange', event.domain, { actual: Math.floor(event.memoryBytes / 1024) })];
    case 'domain.tray-changed':
      return [wrapped('trayChange', event.domain, { devAlias: event.alias, reason: event.open ? 0 : 1 })];
    case 'domain.disk-changed':
      return diskChange(event);
    case 'domain.migration-pass':
      return [flat('migrationIteration', event.domain, { iteration: event.pass })];
    case 'domain.graphics':
      return [wrapped('graphics', event.domain, graphicsBody(event))];
    case 'domain.mac-changed': {
      const { alias, previousMac: oldMAC, mac: newMAC } = event;
      return [flat('nicMacChange', event.domain, { alias, oldMAC, newMAC })];
    }
    case 'domain.sleeping':
      return sleeping(event);
    case 'domain.woke-up':
      return [withReason('pmWakeup', event.domain)];
    case 'domain.block-job':
      return blockJob(event);
    case 'domain.block-threshold':
      return blockThreshold(event);
    case 'domain.memory-failure':
      return [flat('memoryFailure', event.domain, memoryFailureBody(event))];
    case 'domain.memory-device-size':
      return [flat('memoryDeviceSizeChange', event.domain, { alias: event.alias, size: event.bytes })];
    case 'domain.tunable':
      return [flat('tunable', event.domain, { params: tunables(event.parameters) })];
    case 'domain.memory-written':
      return memoryWritten(event);
    case 'job.ended':
      return backupEnded(event);
    case 'domain.metadata-changed':
      return [flat('metadataChange', event.domain, { type: metadataTypes[event.what], nsuri: event.uri })];
    default:
      return translateObject(event);
  }
}

/** virConnectDomainEventAgentLifecycleState and ...Reason: 2 is "the channel". */
function agentLifecycle({ domain, connected }: EventOf<'domain.agent'>): OutgoingEvent[] {
  return [flat('agentLifecycle', domain, { state: connected ? 1 : 2, reason: 2 })];
}

/** virConnectDomainEventDiskChangeReason. A disk that is not there has no alias; its target names it. */
function diskChange(event: EventOf<'domain.disk-changed'>): OutgoingEvent[] {
  const { domain, alias, disk, path: oldSrcPath, reason } = event;
  const number = reason === 'drive is empty' ? 0 : 1;
  return [
    wrapped('diskChange', domain, { oldSrcPath, newSrcPath: null, devAlias: alias ?? disk, reason: number }),
  ];
}

/** virDomainBlockJobType, virConnectDomainEventBlockJobStatus. */
export const blockJobTypes = { pull: 1, copy: 2, commit: 3, 'active-commit': 4 } as const;
const blockJobStatuses = { completed: 0, failed: 1, cancelled: 2, ready: 3 } as const;

/** The older event names the image, the newer one the disk; what is no file or device has only the newer. */
function blockJob({ domain, disk, path, job, status }: EventOf<'domain.block-job'>): OutgoingEvent[] {
  const numbers = { type: blockJobTypes[job], status: blockJobStatuses[status] };
  const byDisk = flat('blockJob2', domain, { dst: disk, ...numbers });
  return path === null ? [byDisk] : [wrapped('blockJob', domain, { path, ...numbers }), byDisk];
}

/** The image that the guest writes to is told by the disk's name alone too: clients may have named either. */
function blockThreshold(event: EventOf<'domain.block-threshold'>): OutgoingEvent[] {
  const { domain, device, path, image, topmost, thresholdBytes: threshold, excessBytes: excess } = event;
  const names = [
    ...(topmost || image === null ? [device] : []),
    ...(image === null ? [] : [`${device}[${image}]`]),
  ];
  return names.map((dev) => flat('blockThreshold', domain, { dev, path, threshold, excess }));
}

/** virDomainEventGraphicsPhase, virDomainEventGraphicsAddressType. */
const graphicsPhases = { connect: 0, initialize: 1, disconnect: 2 } as const;
const graphicsFamilies = { ipv4: 0, ipv6: 1, unix: 2 } as const;

function graphicsBody({ phase, local, remote, authScheme, identities }: EventOf<'domain.graphics'>) {
  const end = ({ family, node, service }: typeof local) => ({
    family: graphicsFamilies[family],
    node,
    service,
  });
  return {
    phase: graphicsPhases[phase],
    local: end(local),
    remote: end(remote),
    authScheme,
    subject: identities,
  };
}

/** The lifecycle tells it too (virDomainEventPMSuspendedDetailType); a guest asleep on disk powers off next. */
function sleeping({ domain, to }: EventOf<'domain.sleeping'>): OutgoingEvent[] {
  if (to === 'disk')
    return [withReason('pmSuspendDisk', domain), lifecycleEvent(domain, lifecycle.pmsuspended, 1)];
  return [withReason('pmSuspend', domain), lifecycleEvent(domain, lifecycle.pmsuspended, 0)];
}

/** virDomainMemoryFailureRecipientType, ...ActionType, ...Flags. */
const failureActions = ['ignore', 'inject', 'fatal', 'reset'];

function memoryFailureBody(event: EventOf<'domain.memory-failure'>) {
  return {
    recipient: event.recipient === 'hypervisor' ? 0 : 1,
    action: numberOf(failureActions, event.action),
    flags: (event.actionRequired ? 1 : 0) | (event.recursive ? 2 : 0),
  };
}

function tunables(parameters: EventOf<'domain.tunable'>['parameters']): TypedParam[] {
  return Object.entries(parameters).map(([field, value]) => ({
    field,
    value:
      typeof value === 'string'
        ? { type: paramType.string, value }
        : { type: paramType.ullong, value: Math.max(0, value) },
  }));
}

/** virDomainJobOperation. */
const jobOperations = { save: 2, snapshot: 6, dump: 8, backup: 9 } as const;

/** libvirt tells of backups however they ended, and of memory when it is whole; of other jobs it tells nothing. */
function backupEnded(event: EventOf<'job.ended'>): OutgoingEvent[] {
  if (event.domain === undefined || event.job !== 'backup') return [];
  return jobCompleted(event.domain, 'backup', event.durationMs, [
    ...diskFigures(event),
    { field: 'success', value: { type: paramType.boolean, value: event.error === null ? 1 : 0 } },
  ]);
}

function memoryWritten(event: EventOf<'domain.memory-written'>): OutgoingEvent[] {
  const { domain, job, durationMs, stoppedMs: downtimeMs, passes: iterations, ...figures } = event;
  return jobCompleted(domain, job, durationMs, memoryMeasures({ ...figures, downtimeMs, iterations }));
}

function jobCompleted(
  domain: DomainIdentity,
  job: keyof typeof jobOperations,
  durationMs: number,
  rest: readonly TypedParam[],
): OutgoingEvent[] {
  const params: TypedParam[] = [
    { field: 'operation', value: { type: paramType.int, value: jobOperations[job] } },
    { field: 'time_elapsed', value: { type: paramType.ullong, value: durationMs } },
    ...rest,
  ];
  return [flat('jobCompleted', domain, { params })];
}

/** What a backup read, or its scratch images took: VIR_DOMAIN_JOB_DISK_*. libvirt leaves them out when all are 0. */
function diskFigures({ step, done, total }: EventOf<'job.ended'>): TypedParam[] {
  if (done === null || total === null || total === 0) return [];
  const figure = (field: string, value: number): TypedParam => ({
    field,
    value: { type: paramType.ullong, value },
  });
  return step === 'pull'
    ? [figure('disk_temp_used', done), figure('disk_temp_total', total)]
    : [figure('disk_total', total), figure('disk_processed', done), figure('disk_remaining', total - done)];
}

function ioErrors(event: EventOf<'domain.io-error'>): OutgoingEvent[] {
  const body = {
    srcPath: event.path ?? '',
    devAlias: event.device,
    action: ioErrorActions[event.action] ?? 0,
  };
  return [
    wrapped('ioError', event.domain, body),
    wrapped('ioErrorReason', event.domain, { ...body, reason: event.isFull ? 'enospc' : '' }),
  ];
}

const wireDomain = ({ uuid, name, id }: DomainIdentity) => ({ uuid, name, id: id ?? -1 });

function lifecycleEvent(domain: DomainIdentity, event: number, detail: number): OutgoingEvent {
  return wrapped('lifecycle', domain, { event, detail });
}

/** Kinds that exist in both forms: the new one has the old one's body behind the callback's number. */
type WrappedKind = {
  [K in DomainEventKind]: (typeof domainEventKinds)[K] extends { legacy: RemoteMessageName } ? K : never;
}[DomainEventKind];

type LegacyBody<K extends WrappedKind> = Omit<RemoteMessage<(typeof domainEventKinds)[K]['legacy']>, 'dom'>;

function wrapped<K extends WrappedKind>(kind: K, domain: DomainIdentity, rest: LegacyBody<K>): OutgoingEvent {
  const { id, message, legacy } = domainEventKinds[kind];
  const msg = { dom: wireDomain(domain), ...rest };
  return {
    object: 'domain',
    eventId: id,
    uuid: domain.uuid,
    message,
    body: (callbackId) => ({ callbackId, msg }),
    legacy: { message: legacy, body: msg },
  };
}

/** Power events: the new form has a reason besides, which is always 0. */
function withReason(kind: 'pmWakeup' | 'pmSuspend' | 'pmSuspendDisk', domain: DomainIdentity): OutgoingEvent {
  const plain = wrapped(kind, domain, {});
  return { ...plain, body: (callbackId) => ({ reason: 0, ...(plain.body(callbackId) as object) }) };
}

/** Kinds that came later, in one form. */
type FlatKind = Exclude<DomainEventKind, WrappedKind>;

function flat<K extends FlatKind>(
  kind: K,
  domain: DomainIdentity,
  rest: Omit<RemoteMessage<(typeof domainEventKinds)[K]['message']>, 'dom' | 'callbackId'>,
): OutgoingEvent {
  const { id, message } = domainEventKinds[kind];
  const dom = wireDomain(domain);
  return {
    object: 'domain',
    eventId: id,
    uuid: domain.uuid,
    message,
    body: (callbackId) => ({ callbackId, dom, ...rest }),
  };
}
