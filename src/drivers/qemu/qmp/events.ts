/** Events on their way to the listeners: in order, and bounded when the monitor storms. */
import { isObject, protocolError, type QmpObject } from './codec.ts';

/** One QMP event. */
export interface QmpEvent {
  readonly name: string;
  readonly data: QmpObject;
  /** QEMU's own time stamp, in seconds with microseconds as the fraction. */
  readonly seconds: number;
  /** How many earlier events of the same kind and object this one stands for (0 except in a storm). */
  readonly coalesced: number;
}

export type QmpListener = (event: QmpEvent) => void;

/** Events that are passed on at once in one window; what comes beyond is coalesced until the window ends. */
export const eventLimits = { perWindow: 200, windowMs: 100, heldKinds: 1000 } as const;

/** Reads an event message; undefined when it isn't one. Members of the wrong type become empty or zero. */
export function decodeEvent(message: QmpObject): QmpEvent | undefined {
  if (typeof message['event'] !== 'string') return undefined;
  return {
    name: message['event'],
    data: isObject(message['data']) ? message['data'] : {},
    seconds: secondsOf(message['timestamp']),
    coalesced: 0,
  };
}

/** QEMU sends -1 for both members when it can't tell the time. */
function secondsOf(stamp: unknown): number {
  if (!isObject(stamp)) return 0;
  const { seconds, microseconds } = stamp;
  if (!isTime(seconds, LAST_SECOND) || !isTime(microseconds, 1e6)) return 0;
  return seconds + microseconds / 1e6;
}

/** The last moment that a Date knows (ECMA-262, 21.4.1.1), in seconds. */
const LAST_SECOND = 8.64e12;

function isTime(value: unknown, most: number): value is number {
  return typeof value === 'number' && value >= 0 && value < most;
}

/** What an event is about: a later event with the same key replaces an earlier one that waits. */
function keyOf(event: QmpEvent): string {
  let key = event.name;
  for (const member of ['device', 'id', 'path', 'qom-path', 'node-name']) {
    const value = event.data[member];
    if (typeof value === 'string') key += ` ${value.slice(-200)}`;
  }
  return key;
}

/**
 * Passes events on. Up to a number of events a window go to the listeners at once. In a storm the rest wait for the
 * window's end, one event for each kind and object, the newest, in the order in which they last came; so a storm costs
 * bounded memory, and the last event of each kind is never lost unless there are over a thousand kinds.
 */
export class EventDispatcher {
  private readonly listeners = new Set<QmpListener>();
  private readonly held = new Map<string, QmpEvent>();
  private readonly onProblem: (error: unknown) => void;
  private timer: NodeJS.Timeout | undefined;
  private delivered = 0;
  /** Events of this window that found no place among those that wait. */
  private dropped = 0;

  /** `onProblem` gets what a listener throws (a bug, which must not stop the others), and how many events were lost. */
  constructor(onProblem: (error: unknown) => void) {
    this.onProblem = onProblem;
  }

  subscribe(listener: QmpListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  push(event: QmpEvent): void {
    this.timer ??= setTimeout(() => this.flush(), eventLimits.windowMs).unref();
    if (this.delivered < eventLimits.perWindow) {
      this.delivered++;
      this.deliver(event);
    } else this.hold(event);
  }

  /** Passes on what waits, at once; for the end of the connection. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.delivered = 0;
    const waiting = [...this.held.values()];
    this.held.clear();
    for (const event of waiting) this.deliver(event);
    if (this.dropped > 0)
      this.onProblem(protocolError(`${this.dropped} events of too many kinds were dropped`));
    this.dropped = 0;
  }

  private hold(event: QmpEvent): void {
    const key = keyOf(event);
    const earlier = this.held.get(key);
    if (earlier === undefined && this.held.size >= eventLimits.heldKinds) {
      this.dropped++;
      return;
    }
    // Deleted first, so that the map's order is that of the last arrival.
    this.held.delete(key);
    this.held.set(key, earlier === undefined ? event : { ...event, coalesced: earlier.coalesced + 1 });
  }

  private deliver(event: QmpEvent): void {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        this.onProblem(error);
      }
    }
  }
}
