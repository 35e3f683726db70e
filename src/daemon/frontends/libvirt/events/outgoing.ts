/** What an event of the engine becomes on the wire, before it is known which callbacks hear it. */
import type { RemoteMessageName } from '../../../../libvirt/protocol/programs.ts';
import type { EventObject } from './kinds.ts';

/** One message to be, for whoever registered that event id of that kind of object. */
export interface OutgoingEvent {
  readonly object: EventObject;
  readonly eventId: number;
  /** Who it is about: callbacks of one object get only its own events. */
  readonly uuid: string;
  readonly message: RemoteMessageName;
  /** The body for a callback. */
  body(callbackId: number): unknown;
  /** The message of the old form, without callbacks, where there is one. */
  readonly legacy?: { readonly message: RemoteMessageName; readonly body: unknown };
}

/** virDomainMetadataType, which networks use as well. */
export const metadataTypes = { description: 0, title: 1, metadata: 2 } as const;
