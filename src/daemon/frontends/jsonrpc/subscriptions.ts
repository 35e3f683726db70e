/** The subscriptions of one connection, and the fan-out of events to all connections. */
import type { DomainRef } from '../../../api/domain-objects.ts';
import type { PublishedEvent } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { EventFilter, EventSource } from './handlers.ts';

/** Subscriptions one connection may have. */
const MAX_SUBSCRIPTIONS = 100;

/** An event ready to be sent: formatted once, whoever gets it. */
export interface ReadyEvent {
  readonly event: PublishedEvent;
  /** The JSON of the notification's params without the opening brace and the subscription. */
  readonly rest: string;
}

export function matchesFilter(event: PublishedEvent, filter: EventFilter): boolean {
  return matchesName(event, filter) && matchesObject(event, filter);
}

function matchesName(event: PublishedEvent, { events }: EventFilter): boolean {
  if (events === undefined) return true;
  const group = `${event.event.slice(0, event.event.indexOf('.'))}.*`;
  return events.some((pattern) => pattern === event.event || pattern === group);
}

function matchesObject(event: PublishedEvent, { domains, networks, pools }: EventFilter): boolean {
  if (domains === undefined && networks === undefined && pools === undefined) return true;
  return (
    matchesDomain(event, domains ?? []) ||
    matchesNetwork(event, networks ?? []) ||
    matchesPool(event, pools ?? [])
  );
}

function matchesPool(event: PublishedEvent, pools: readonly string[]): boolean {
  if (event.event === 'pool.quarantined')
    return pools.some((ref) => isText(ref, event.name) || isUuid(ref, event.uuid));
  if ('pool' in event) {
    const { pool } = event;
    return pools.some((ref) => isUuid(ref, pool.uuid) || isText(ref, pool.name));
  }
  if (!('object' in event)) return false;
  const { type, name, uuid, pool } = event.object;
  if (type === 'volume') return pools.some((ref) => isText(ref, pool));
  return type === 'pool' && pools.some((ref) => isUuid(ref, uuid) || isText(ref, name));
}

function matchesNetwork(event: PublishedEvent, networks: readonly string[]): boolean {
  if (event.event === 'network.quarantined')
    return networks.some((ref) => isText(ref, event.name) || isUuid(ref, event.uuid));
  const network = 'network' in event ? event.network : undefined;
  if (network === undefined) return false;
  return networks.some((ref) => isUuid(ref, network.uuid) || isText(ref, network.name));
}

function matchesDomain(event: PublishedEvent, domains: readonly DomainRef[]): boolean {
  if (event.event === 'domain.quarantined')
    return domains.some((ref) => isText(ref, event.name) || isUuid(ref, event.uuid));
  const domain = 'domain' in event ? event.domain : undefined;
  if (domain === undefined) return false;
  const previousName = event.event === 'domain.renamed' ? event.previousName : null;
  return domains.some(
    (ref) =>
      isUuid(ref, domain.uuid) ||
      isText(ref, domain.name) ||
      isText(ref, previousName) ||
      (typeof ref === 'object' && ref.id === domain.id),
  );
}

function isText(ref: DomainRef, name: string | null): boolean {
  return typeof ref === 'string' && ref === name;
}

function isUuid(ref: DomainRef, uuid: string | null): boolean {
  return typeof ref === 'string' && ref.toLowerCase() === uuid;
}

/** What one connection has subscribed to. */
export class Subscriptions {
  private readonly filters = new Map<string, EventFilter>();
  private counter = 0;

  get count(): number {
    return this.filters.size;
  }

  /** @throws VirtError request.too-large */
  add(filter: EventFilter): string {
    if (this.filters.size >= MAX_SUBSCRIPTIONS)
      throw new VirtError('request.too-large', {
        wanted: 'subscribe to events',
        reason: `the connection has ${MAX_SUBSCRIPTIONS} subscriptions already`,
        hint: "end one with 'event.unsubscribe'",
      });
    this.counter += 1;
    const name = `s${this.counter}`;
    this.filters.set(name, filter);
    return name;
  }

  remove(name: string): boolean {
    return this.filters.delete(name);
  }

  clear(): void {
    this.filters.clear();
  }

  /** The lines to send for an event: one for each subscription that wants it. */
  linesFor(ready: ReadyEvent): string[] {
    const lines: string[] = [];
    for (const [name, filter] of this.filters) {
      if (matchesFilter(ready.event, filter))
        lines.push(`{"jsonrpc":"2.0","method":"event","params":{"subscription":"${name}",${ready.rest}}\n`);
    }
    return lines;
  }
}

/** Gives every event its number and time, and hands it to all connections that listen. */
export class EventFanout {
  private readonly listeners = new Set<(ready: ReadyEvent) => void>();
  private readonly stop: () => void;
  private sequence = 0;

  constructor(source: EventSource) {
    this.stop = source((event) => this.publish(event));
  }

  add(listener: (ready: ReadyEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  close(): void {
    this.stop();
    this.listeners.clear();
  }

  private publish(event: PublishedEvent): void {
    this.sequence += 1;
    if (this.listeners.size === 0) return;
    const { event: name, ...payload } = event;
    const body = { event: name, sequence: this.sequence, time: new Date().toISOString(), ...payload };
    const ready = { event, rest: JSON.stringify(body).slice(1) };
    for (const listener of this.listeners) listener(ready);
  }
}
