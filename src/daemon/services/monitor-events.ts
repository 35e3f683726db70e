/** Events of the guests' monitors as QEMU says them, for clients that want to see just these. */
import type { MonitorEvent } from '../../drivers/driver/live-guest.ts';
import type { Domain } from './domain.ts';

type Listener = (domain: Domain, event: MonitorEvent) => void;

export class MonitorEvents {
  private readonly listeners = new Set<Listener>();

  /** Passes one on to whoever listens. */
  tell(domain: Domain, event: MonitorEvent): void {
    for (const listener of this.listeners) listener(domain, event);
  }

  /** Returns what ends it. */
  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
