/** What the JSON-RPC front end asks of the code behind it: one handler for each declared method. */
import type { Duplex } from 'node:stream';
import type { DomainRef } from '../../../api/domain-objects.ts';
import type {
  EventPattern,
  MethodName,
  Params,
  PublishedEvent,
  Result,
  UpgradeMethodName,
} from '../../../api/index.ts';

/** Who is at the other end, by SO_PEERCRED at the time it connected. */
export interface Peer {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/** Which events a subscription wants; what is left out means all. */
export interface EventFilter {
  readonly events?: readonly EventPattern[] | undefined;
  readonly domains?: readonly DomainRef[] | undefined;
  readonly networks?: readonly string[] | undefined;
  readonly pools?: readonly string[] | undefined;
}

/** What a handler may do with the connection of its caller. */
interface ConnectionHandle {
  /** Names the connection in the log. */
  readonly id: string;
  /**
   * Sends notifications from now on; returns the subscription's name.
   * @throws VirtError request.too-large with too many subscriptions
   */
  subscribe(filter: EventFilter): string;
  /** False when this connection has no such subscription. */
  unsubscribe(subscription: string): boolean;
  /** Calls back once when the connection has gone, at once when it has already (autodestroy). */
  onClose(listener: () => void): void;
}

export interface CallContext {
  readonly peer: Peer;
  readonly readOnly: boolean;
  /** Aborted when the client disconnects or the daemon stops. */
  readonly signal: AbortSignal;
  readonly connection: ConnectionHandle;
}

/** The answer of a method that turns the connection into a byte stream. */
export interface Upgrade<R> {
  readonly result: R;
  /** Belongs to the connection from now on, which destroys it at its end. */
  readonly stream: Duplex;
}

type Handled<Name extends MethodName> = Name extends UpgradeMethodName ? Upgrade<Result<Name>> : Result<Name>;

type Handler<Name extends MethodName> = (
  params: Params<Name>,
  context: CallContext,
) => Promise<Handled<Name>>;

/** All handlers, by method name: the compiler sees to it that none is missing. */
export type Handlers = { readonly [Name in MethodName]: Handler<Name> };

/** Where events come from: calls the listener for each one, in order, until the returned function is called. */
export type EventSource = (listener: (event: PublishedEvent) => void) => () => void;
