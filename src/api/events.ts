/** Events: all there are, and how a client subscribes. What they carry is in `events/`, by kind. */
import * as z from 'zod';
import { domainRef, timestamp } from './domain-objects.ts';
import { checkpointEvents } from './events/checkpoint.ts';
import { domainEvents } from './events/domain.ts';
import { guestEvents } from './events/guest.ts';
import { filterEvents, nodeDeviceEvents, secretEvents } from './events/host-objects.ts';
import { jobEvents } from './events/job.ts';
import { networkEvents } from './events/network.ts';
import { snapshotEvents } from './events/snapshot.ts';
import { storageEvents } from './events/storage.ts';
import { method } from './method.ts';
import { networkRef } from './network-objects.ts';
import { poolRef } from './pool-objects.ts';

const since = '0.1.0';

/** Every event, in the order of the documents. */
export const eventDeclarations = [
  ...domainEvents,
  ...guestEvents,
  ...snapshotEvents,
  ...checkpointEvents,
  ...jobEvents,
  ...networkEvents,
  ...storageEvents,
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

type GroupOf<Name extends string> = Name extends `${infer Kind}.${string}` ? `${Kind}.*` : never;
type EventGroup = GroupOf<EventName>;

/** Kinds of events, for those who want all of one: `domain.*`, `job.*`, ... */
export const eventGroups = [
  ...new Set(eventNames.map((name) => `${name.slice(0, name.indexOf('.'))}.*`)),
] as [EventGroup, ...EventGroup[]];

/** What `event.subscribe` takes for `events`: a name, or a group. */
const eventPattern = z.enum([...eventNames, ...eventGroups]).meta({
  id: 'EventPattern',
  description: `Name of an event, or a kind of events: ${eventGroups.map((group) => `\`${group}\``).join(', ')}.`,
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
    params: () =>
      z.strictObject({
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
          .describe(
            'Only events of these pools and their volumes; together with the others, of all of them.',
          ),
      }),
    result: () => z.object({ subscription: z.string() }),
    errors: ['request.too-large'],
  }),
  method({
    name: 'event.unsubscribe',
    since,
    summary: 'Ends a subscription of this connection.',
    access: 'query',
    params: () => z.strictObject({ subscription: z.string().min(1).max(64) }),
    result: () => z.object({}),
    errors: ['request.invalid'],
  }),
] as const;
