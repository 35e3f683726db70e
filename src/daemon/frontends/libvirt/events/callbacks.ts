/** Which events one connection has asked for, and what it is sent of one. */
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { RemoteMessageName } from '../../../../libvirt/protocol/programs.ts';
import { type EventObject, idCounts } from './kinds.ts';
import type { OutgoingEvent } from './outgoing.ts';

/** More than any client needs; each costs a little at every event. */
const MAX_CALLBACKS = 1000;

interface Callback {
  readonly object: EventObject;
  readonly eventId: number;
  /** Of this object only; undefined for all. */
  readonly uuid: string | undefined;
}

type Send = (message: RemoteMessageName, body: unknown) => void;

export class EventCallbacks {
  private readonly callbacks = new Map<number, Callback>();
  /** Event ids registered in the old form, which has no numbers of callbacks. */
  private readonly legacy = new Set<number>();
  private nextId = 0;

  get count(): number {
    return this.callbacks.size + this.legacy.size;
  }

  /** Returns the callback's number. @throws LibvirtError for an event id that does not exist */
  register(object: EventObject, eventId: number, uuid: string | undefined): number {
    checkEventId(object, eventId);
    if (this.callbacks.size >= MAX_CALLBACKS)
      throw new LibvirtError(errorNumber.operationFailed, `more than ${MAX_CALLBACKS} event callbacks`);
    const id = this.nextId++;
    this.callbacks.set(id, { object, eventId, uuid });
    return id;
  }

  /** @throws LibvirtError when this connection has no such callback of that kind */
  deregister(object: EventObject, id: number): void {
    if (this.callbacks.get(id)?.object !== object)
      throw new LibvirtError(
        errorNumber.internalError,
        `event callback ${id} not registered`,
        errorDomain.rpc,
      );
    this.callbacks.delete(id);
  }

  /** The old form, domains only. @throws LibvirtError for an unknown id, or one that is registered already */
  registerLegacy(eventId: number): void {
    checkEventId('domain', eventId);
    if (this.legacy.has(eventId))
      throw new LibvirtError(
        errorNumber.internalError,
        `domain event ${eventId} already registered`,
        errorDomain.rpc,
      );
    this.legacy.add(eventId);
  }

  /** @throws LibvirtError when it is not registered */
  deregisterLegacy(eventId: number): void {
    if (!this.legacy.delete(eventId))
      throw new LibvirtError(
        errorNumber.internalError,
        `domain event ${eventId} not registered`,
        errorDomain.rpc,
      );
  }

  /** Sends an event to each callback that wants it. */
  deliver(event: OutgoingEvent, send: Send): void {
    for (const [id, callback] of this.callbacks) {
      if (callback.object !== event.object || callback.eventId !== event.eventId) continue;
      if (callback.uuid !== undefined && callback.uuid !== event.uuid) continue;
      send(event.message, event.body(id));
    }
    if (event.object === 'domain' && event.legacy !== undefined && this.legacy.has(event.eventId))
      send(event.legacy.message, event.legacy.body);
  }

  clear(): void {
    this.callbacks.clear();
    this.legacy.clear();
  }
}

function checkEventId(object: EventObject, eventId: number): void {
  if (eventId >= 0 && eventId < idCounts[object]) return;
  throw new LibvirtError(errorNumber.invalidArg, `unsupported event ID ${eventId}`, errorDomain.rpc);
}
