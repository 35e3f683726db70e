/** The daemon's event bus: events reach listeners in order, after the change they tell of is visible. */
import type { EventName, EventPayload, PublishedEvent } from '../../api/index.ts';
import type { Logger } from '../../base/log.ts';

/** Which domain an event is about. */
export interface EventDomain {
  readonly uuid: string;
  readonly name: string;
  /** Number of the running guest; null while it is shut off. */
  readonly id: number | null;
}

type Listener = (event: PublishedEvent) => void;

/** Names of the events that are about one domain. */
type DomainEventName = Exclude<Extract<EventName, `domain.${string}`>, 'domain.quarantined'>;

/** Delivers events; a listener that throws is logged and doesn't disturb the others. */
export class EventBus {
  private readonly listeners = new Set<Listener>();
  private readonly log: Logger;

  constructor(log: Logger) {
    this.log = log;
  }

  /** Publishes an event of a domain; `payload` is what src/api/events.ts declares besides the domain. */
  emit<Name extends DomainEventName>(
    name: Name,
    domain: EventDomain,
    payload: Omit<EventPayload<Name>, 'domain'>,
  ): void {
    this.publish({ event: name, domain, ...payload } as unknown as PublishedEvent);
  }

  publish(event: PublishedEvent): void {
    for (const listener of [...this.listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.log.error({ err: error, event: event.event }, 'an event listener failed');
      }
    }
  }

  /** Returns the function that ends the subscription. */
  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
