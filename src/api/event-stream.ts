/** Events of one subscription, as an async iterator. */
import { VirtError } from '../base/errors.ts';
import type { EventNotification } from './index.ts';

/** Events that may wait for a slow reader; the next one ends the iterator with an error. */
const MAX_WAITING = 10_000;

/** Iterate it with `for await`; leaving the loop ends the subscription. One reader at a time. */
export class EventStream implements AsyncIterableIterator<EventNotification, undefined> {
  /** Its name at the daemon; set once the subscription holds. */
  subscription = '';
  private readonly waiting: EventNotification[] = [];
  private readonly unsubscribe: (subscription: string) => Promise<void>;
  private wake: (() => void) | undefined;
  private failure: VirtError | undefined;
  private isClosed = false;

  constructor(unsubscribe: (subscription: string) => Promise<void>) {
    this.unsubscribe = unsubscribe;
  }

  /** Takes an event from the connection. */
  push(notification: EventNotification): void {
    if (this.isClosed || this.failure) return;
    if (this.waiting.length >= MAX_WAITING)
      this.fail(
        new VirtError('stream.failed', {
          wanted: 'read events',
          reason: `${MAX_WAITING} events wait unread`,
          hint: 'subscribe to fewer events, or read them faster',
        }),
      );
    else this.waiting.push(notification);
    this.wake?.();
  }

  /** Ends the iterator with an error, after the events that wait. */
  fail(error: VirtError): void {
    this.failure ??= error;
    this.wake?.();
  }

  /** @throws VirtError daemon.unreachable, stream.failed */
  async next(): Promise<IteratorResult<EventNotification, undefined>> {
    for (;;) {
      const value = this.waiting.shift();
      if (value !== undefined) return { done: false, value };
      if (this.isClosed) return { done: true, value: undefined };
      if (this.failure) throw this.failure;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
  }

  /** Ends the subscription. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.waiting.length = 0;
    this.wake?.();
    await this.unsubscribe(this.subscription);
  }

  async return(): Promise<IteratorResult<EventNotification, undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
