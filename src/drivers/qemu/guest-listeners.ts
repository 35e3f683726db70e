/** Who listens to the events of one guest. */
import type { Logger } from '../../base/log.ts';
import type { GuestEvent } from '../driver.ts';

/** Events kept for a listener that has yet to come. */
const MAX_EARLY_EVENTS = 1000;

/** Tells events to all listeners; those that come before the first one are kept for it. */
export class GuestListeners {
  private readonly listeners = new Set<(event: GuestEvent) => void>();
  private early: GuestEvent[] = [];
  private isClosed = false;
  private readonly log: Logger;

  constructor(log: Logger) {
    this.log = log;
  }

  add(listener: (event: GuestEvent) => void): () => void {
    this.listeners.add(listener);
    const early = this.early;
    this.early = [];
    if (early.length > 0) queueMicrotask(() => early.forEach((event) => this.deliver(event)));
    return () => this.listeners.delete(listener);
  }

  emit(event: GuestEvent): void {
    if (this.listeners.size > 0) this.deliver(event);
    else if (!this.isClosed && this.early.length < MAX_EARLY_EVENTS) this.early.push(event);
  }

  /** Forgets all listeners, and keeps nothing for later ones. */
  close(): void {
    this.isClosed = true;
    this.listeners.clear();
  }

  private deliver(event: GuestEvent): void {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        this.log.error({ err: error, event: event.kind }, 'a listener of guest events failed');
      }
    }
  }
}
