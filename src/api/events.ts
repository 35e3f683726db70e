/** Events: what they are called, what they carry, and how a client subscribes. */
import * as z from 'zod';
import { errorTable } from '../base/errors.ts';
import { domainIdentity, domainRef, timestamp } from './domain-objects.ts';
import { jobMeasure, jobObject } from './jobs.ts';
import { event, method } from './method.ts';
import { lease, networkIdentity, networkRef } from './network-objects.ts';
import { filterIdentity } from './nwfilter.ts';
import { poolIdentity, poolRef } from './pool-objects.ts';
import { secretIdentity } from './secret.ts';

const since = '0.1.0';
const domain = { domain: domainIdentity };
const reason = z.string().describe("Why, in libvirt's words.");

const graphicsEndpoint = z
  .object({ family: z.enum(['ipv4', 'ipv6', 'unix']), node: z.string(), service: z.string() })
  .meta({ id: 'GraphicsEndpoint', description: 'One end of a connection to a display.' });

const domainEvents = [
  event({
    name: 'domain.defined',
    since,
    summary: 'A definition was stored.',
    payload: z.object({ ...domain, isNew: z.boolean() }),
  }),
  event({
    name: 'domain.undefined',
    since,
    summary: 'A stored definition was forgotten.',
    payload: z.object(domain),
  }),
  event({
    name: 'domain.renamed',
    since,
    summary: 'A domain has another name.',
    payload: z.object({ ...domain, previousName: z.string() }),
  }),
  event({
    name: 'domain.started',
    since,
    summary: 'A guest runs.',
    payload: z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.suspended',
    since,
    summary: 'The virtual CPUs were stopped.',
    payload: z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.resumed',
    since,
    summary: 'The virtual CPUs go on.',
    payload: z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.shutdown',
    since,
    summary: 'The guest finished its shutdown; QEMU is about to end.',
    payload: z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.stopped',
    since,
    summary: 'QEMU has ended.',
    payload: z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.crashed',
    since,
    summary: 'The guest panicked, or QEMU ended by itself.',
    payload: z.object({ ...domain, reason, detail: z.string().describe("The end of QEMU's log, or empty.") }),
  }),
  event({
    name: 'domain.rebooted',
    since,
    summary: 'The guest was reset.',
    payload: z.object({ ...domain, byGuest: z.boolean() }),
  }),
  event({
    name: 'domain.metadata-changed',
    since,
    summary: 'Title, description or metadata changed.',
    payload: z.object({
      ...domain,
      what: z.enum(['title', 'description', 'metadata']),
      uri: z.string().nullable().describe('Namespace of the metadata.'),
    }),
  }),
  event({
    name: 'domain.watchdog',
    since,
    summary: 'The watchdog fired.',
    payload: z.object({ ...domain, action: z.string() }),
  }),
  event({
    name: 'domain.io-error',
    since,
    summary: 'A disk operation failed.',
    payload: z.object({ ...domain, device: z.string(), action: z.string(), reason: z.string() }),
  }),
  event({
    name: 'domain.rtc-changed',
    since,
    summary: 'The guest set its clock.',
    payload: z.object({
      ...domain,
      offsetSeconds: z
        .int()
        .describe('How far it is ahead now of UTC, or of what its definition begins with.'),
    }),
  }),
  event({
    name: 'domain.balloon-changed',
    since,
    summary: 'The balloon leaves the guest another amount of memory.',
    payload: z.object({ ...domain, memoryBytes: z.int() }),
  }),
  event({
    name: 'domain.tray-changed',
    since,
    summary: 'The tray of a drive was opened or closed.',
    payload: z.object({ ...domain, alias: z.string().describe('The drive.'), open: z.boolean() }),
  }),
  event({
    name: 'domain.graphics',
    since,
    summary: 'A client of a display connected, was let in, or left.',
    payload: z.object({
      ...domain,
      phase: z.enum(['connect', 'initialize', 'disconnect']),
      local: graphicsEndpoint,
      remote: graphicsEndpoint,
      authScheme: z.string().describe('How the client proved who it is; empty where none was told.'),
      identities: z.array(z.object({ type: z.string(), name: z.string() })),
    }),
  }),
  event({
    name: 'domain.sleeping',
    since,
    summary: 'The guest went to sleep.',
    payload: z.object({ ...domain, to: z.enum(['memory', 'disk']) }),
  }),
  event({
    name: 'domain.woke-up',
    since,
    summary: 'The guest woke up.',
    payload: z.object(domain),
  }),
  event({
    name: 'domain.block-threshold',
    since,
    summary: 'An image was written beyond the byte that `domain.set-block-threshold` had named; told once.',
    payload: z.object({
      ...domain,
      device: z.string().describe("Target of the disk, or QEMU's node where that is not known."),
      path: z.string().nullable(),
      thresholdBytes: z.int(),
      excessBytes: z.int(),
    }),
  }),
  event({
    name: 'domain.memory-failure',
    since,
    summary: "The host's hardware reported broken memory of a guest.",
    payload: z.object({
      ...domain,
      recipient: z.enum(['hypervisor', 'guest']),
      action: z.string().describe('`ignore`, `inject`, `fatal` or `reset`.'),
      actionRequired: z.boolean(),
      recursive: z.boolean(),
    }),
  }),
  event({
    name: 'domain.memory-device-size',
    since,
    summary: 'The guest took or gave back memory of a memory device.',
    payload: z.object({ ...domain, alias: z.string(), bytes: z.int() }),
  }),
  event({
    name: 'domain.tunable',
    since,
    summary: 'A setting of a running domain was changed: a pin, a limit, a share.',
    payload: z.object({
      ...domain,
      parameters: z
        .record(z.string(), z.union([z.number(), z.string()]))
        .describe("What changed, by libvirt's names: `cputune.vcpupin0`, `blkdeviotune.disk`, ..."),
    }),
  }),
  event({
    name: 'domain.agent',
    since,
    summary: 'The guest opened or closed an agent channel.',
    payload: z.object({ ...domain, alias: z.string(), connected: z.boolean() }),
  }),
  event({
    name: 'domain.helper-ended',
    since,
    summary:
      'A process that serves a device (passt for a network card) has ended before the guest; the device is dead until the guest is started again.',
    payload: z.object({
      ...domain,
      helper: z.string().describe('The program.'),
      alias: z.string().describe('Alias of the device, or empty.'),
    }),
  }),
  event({
    name: 'domain.device-added',
    since,
    summary: 'A running guest was given a device.',
    payload: z.object({ ...domain, alias: z.string() }),
  }),
  event({
    name: 'domain.device-removed',
    since,
    summary: 'The guest let go of a device.',
    payload: z.object({ ...domain, alias: z.string() }),
  }),
  event({
    name: 'domain.device-removal-failed',
    since,
    summary: 'The guest was asked to let go of a device, and refused.',
    payload: z.object({ ...domain, alias: z.string() }),
  }),
  event({
    name: 'domain.quarantined',
    since,
    summary: 'A stored definition could not be read and was put aside.',
    payload: z.object({
      file: z.string(),
      reason: z.string(),
      name: z.string().nullable(),
      uuid: z.string().nullable(),
    }),
  }),
] as const;

const errorCodes = Object.keys(errorTable) as [keyof typeof errorTable, ...(keyof typeof errorTable)[]];

/** What a job is and works on. A job on a domain or network carries that too, so that filters find it. */
const about = {
  id: z.string().describe('Names the job: the same in its events and in `job.list`.'),
  job: z.string().describe('Name of the job: `start`, `destroy`, ...'),
  object: jobObject,
  domain: domainIdentity.optional().describe('The domain it works on.'),
  network: networkIdentity.optional().describe('The network it works on.'),
};

const jobEvents = [
  event({
    name: 'job.started',
    since,
    summary: 'A job began to work on an object.',
    payload: z.object(about),
  }),
  event({
    name: 'job.progress',
    since,
    summary: 'A job came further: told at each new step, and at most four times a second in between.',
    payload: z.object({ ...about, ...jobMeasure }),
  }),
  event({
    name: 'job.ended',
    since,
    summary: 'A job let go of its object.',
    payload: z.object({
      ...about,
      durationMs: z.int(),
      error: z
        .object({ code: z.enum(errorCodes), reason: z.string() })
        .nullable()
        .describe('Null when it succeeded.'),
    }),
  }),
] as const;

const network = { network: networkIdentity };

const networkEvents = [
  event({
    name: 'network.defined',
    since,
    summary: 'A network was stored.',
    payload: z.object({ ...network, isNew: z.boolean() }),
  }),
  event({
    name: 'network.undefined',
    since,
    summary: 'A stored network was forgotten.',
    payload: z.object(network),
  }),
  event({
    name: 'network.started',
    since,
    summary: 'A network is active.',
    payload: z.object(network),
  }),
  event({
    name: 'network.stopped',
    since,
    summary: 'A network is not active any more.',
    payload: z.object(network),
  }),
  event({
    name: 'network.changed',
    since,
    summary: 'A part of a network changed.',
    payload: z.object({ ...network, what: z.string().describe('`update`, `add port forward`, ...') }),
  }),
  event({
    name: 'network.metadata-changed',
    since,
    summary: 'Title, description or metadata changed.',
    payload: z.object({
      ...network,
      what: z.enum(['title', 'description', 'metadata']),
      uri: z.string().nullable().describe('Namespace of the metadata.'),
    }),
  }),
  event({
    name: 'network.leases-changed',
    since,
    summary: 'The leases of a network changed in some way; what happened to each is told by the next three.',
    payload: z.object(network),
  }),
  event({
    name: 'network.lease-added',
    since,
    summary: 'A guest got an address by DHCP.',
    payload: z.object({ ...network, lease }),
  }),
  event({
    name: 'network.lease-renewed',
    since,
    summary: 'A guest keeps its address for longer, or gave another name.',
    payload: z.object({ ...network, lease }),
  }),
  event({
    name: 'network.lease-removed',
    since,
    summary: 'A guest gave its address back, or its lease ran out.',
    payload: z.object({ ...network, lease }),
  }),
  event({
    name: 'network.repaired',
    since,
    summary: 'Something of an active network was lost, and was restored or is missing.',
    payload: z.object({
      ...network,
      what: z.enum(['dnsmasq', 'firewall', 'bridge']),
      reason: z.string(),
    }),
  }),
  event({
    name: 'network.quarantined',
    since,
    summary: 'A stored network could not be read and was put aside.',
    payload: z.object({
      file: z.string(),
      reason: z.string(),
      name: z.string().nullable(),
      uuid: z.string().nullable(),
    }),
  }),
] as const;

const secret = { secret: secretIdentity };

const secretEvents = [
  event({
    name: 'secret.defined',
    since,
    summary: 'A secret was defined.',
    payload: z.object({ ...secret, isNew: z.boolean() }),
  }),
  event({
    name: 'secret.undefined',
    since,
    summary: 'A secret was forgotten, with its value.',
    payload: z.object(secret),
  }),
  event({
    name: 'secret.value-changed',
    since,
    summary: 'A secret has another value.',
    payload: z.object(secret),
  }),
] as const;

const filter = { filter: filterIdentity };

const filterEvents = [
  event({
    name: 'nwfilter.defined',
    since,
    summary: 'A network filter was stored, and is in force where running guests use it.',
    payload: z.object({ ...filter, isNew: z.boolean() }),
  }),
  event({
    name: 'nwfilter.undefined',
    since,
    summary: 'A stored network filter was forgotten.',
    payload: z.object(filter),
  }),
] as const;

const nodeDevice = { device: z.object({ name: z.string().describe("libvirt's name: `pci_0000_00_02_0`.") }) };

const nodeDeviceEvents = [
  event({
    name: 'node-device.added',
    since,
    summary: 'The host has a new device.',
    payload: z.object(nodeDevice),
  }),
  event({
    name: 'node-device.removed',
    since,
    summary: 'A device of the host is gone.',
    payload: z.object(nodeDevice),
  }),
  event({
    name: 'node-device.changed',
    since,
    summary: 'A device of the host is another now: it has a medium, or another driver.',
    payload: z.object(nodeDevice),
  }),
] as const;

const pool = { pool: poolIdentity };
const volume = { ...pool, volume: z.string().describe('Name of the volume.') };

const poolEvents = [
  event({
    name: 'pool.defined',
    since,
    summary: 'A storage pool was stored.',
    payload: z.object({ ...pool, isNew: z.boolean() }),
  }),
  event({
    name: 'pool.undefined',
    since,
    summary: 'A stored pool was forgotten.',
    payload: z.object(pool),
  }),
  event({ name: 'pool.started', since, summary: 'A pool is active.', payload: z.object(pool) }),
  event({ name: 'pool.stopped', since, summary: 'A pool is not active any more.', payload: z.object(pool) }),
  event({
    name: 'pool.built',
    since,
    summary: 'The directory, file system or volume group of a pool was made.',
    payload: z.object(pool),
  }),
  event({
    name: 'pool.deleted',
    since,
    summary: 'What a pool was built on was taken away.',
    payload: z.object(pool),
  }),
  event({
    name: 'pool.refreshed',
    since,
    summary: 'The list of volumes of a pool was read anew, or volumes came or went.',
    payload: z.object({ ...pool, added: z.int(), removed: z.int(), changed: z.int() }),
  }),
  event({
    name: 'pool.quarantined',
    since,
    summary: 'A stored pool could not be read and was put aside.',
    payload: z.object({
      file: z.string(),
      reason: z.string(),
      name: z.string().nullable(),
      uuid: z.string().nullable(),
    }),
  }),
  event({
    name: 'volume.created',
    since,
    summary: 'A volume is there, made by us or by hand.',
    payload: z.object(volume),
  }),
  event({ name: 'volume.deleted', since, summary: 'A volume is gone.', payload: z.object(volume) }),
  event({
    name: 'volume.changed',
    since,
    summary: 'A volume has another size, format, owner, mode or image below.',
    payload: z.object(volume),
  }),
] as const;

/** Every event, in the order of the documents. */
export const eventDeclarations = [
  ...domainEvents,
  ...jobEvents,
  ...networkEvents,
  ...poolEvents,
  ...secretEvents,
  ...filterEvents,
  ...nodeDeviceEvents,
] as const;

type EventDeclarations = (typeof eventDeclarations)[number];
export type EventName = EventDeclarations['name'];

/** What a notification of that event carries besides `event`, `sequence` and `time`. */
export type EventPayload<Name extends EventName> = z.output<
  Extract<EventDeclarations, { name: Name }>['payload']
>;

/** An event with its payload, as the services publish it: told apart by `event`. */
export type PublishedEvent = {
  [Name in EventName]: { readonly event: Name } & EventPayload<Name>;
}[EventName];

/** The params of an `event` notification. */
export type EventNotification = PublishedEvent & {
  readonly subscription: string;
  readonly sequence: number;
  readonly time: string;
};

const eventNames = eventDeclarations.map((declaration) => declaration.name) as [EventName, ...EventName[]];

/** What `event.subscribe` takes for `events`: a name, or a group. */
const eventPattern = z
  .enum([
    ...eventNames,
    'domain.*',
    'job.*',
    'network.*',
    'pool.*',
    'volume.*',
    'secret.*',
    'nwfilter.*',
    'node-device.*',
  ])
  .meta({
    id: 'EventPattern',
    description:
      'Name of an event, or a kind of events: `domain.*`, `job.*`, `network.*`, `pool.*`, `volume.*`, `secret.*`, `nwfilter.*`, `node-device.*`.',
  });

export type EventPattern = z.output<typeof eventPattern>;

/** What every notification carries besides the event's own payload. */
export const eventEnvelope = z.object({
  subscription: z.string().describe('Which subscription it belongs to.'),
  event: z.enum(eventNames),
  sequence: z.int().describe('Counts all events of this daemon; a filtered subscription sees gaps.'),
  time: timestamp,
});

export const eventMethods = [
  method({
    name: 'event.subscribe',
    since,
    summary: 'Sends this connection notifications `event` from now on.',
    description:
      'A client that does not read them is cut off when 4 MiB or 10,000 messages wait for it; nothing is dropped silently.',
    access: 'query',
    params: z.strictObject({
      events: z
        .array(eventPattern)
        .min(1)
        .max(100)
        .optional()
        .describe('Only these events; all when not given.'),
      domains: z
        .array(domainRef)
        .min(1)
        .max(1000)
        .optional()
        .describe(
          'Only events of these domains. A name means whichever domain has it when the event happens.',
        ),
      networks: z
        .array(networkRef)
        .min(1)
        .max(1000)
        .optional()
        .describe('Only events of these networks; together with `domains`, of those and of these.'),
      pools: z
        .array(poolRef)
        .min(1)
        .max(1000)
        .optional()
        .describe('Only events of these pools and their volumes; together with the others, of all of them.'),
    }),
    result: z.object({ subscription: z.string() }),
    errors: ['request.too-large'],
  }),
  method({
    name: 'event.unsubscribe',
    since,
    summary: 'Ends a subscription of this connection.',
    access: 'query',
    params: z.strictObject({ subscription: z.string().min(1).max(64) }),
    result: z.object({}),
    errors: ['request.invalid'],
  }),
] as const;
