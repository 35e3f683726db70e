/** How a procedure is declared: number, argument and result types, and the facts that decide how it is served. */
import { nothing, type StructValue, struct, type Xdr } from '../xdr/xdr.ts';

type Fields = Readonly<Record<string, Xdr<unknown>>>;
type ValueOf<F> = F extends Fields ? StructValue<F> : void;

/** A right of the access model: `domain:read`, or `domain:read_secure:FLAG` that is needed with that flag only. */
type Acl = readonly string[];

interface CallFacts {
  /** `high`: never waits for a hypervisor, or must get through when others do. */
  readonly priority?: 'high';
  /** A stream follows the reply, from the client's view: it reads or writes. */
  readonly stream?: 'read' | 'write';
  /** All of these are needed; none for what everybody may. */
  readonly acl: Acl;
  /** Its name on paper, where it does not follow from ours. */
  readonly wireName?: string;
}

/** A call with its reply. */
export interface Call<A = unknown, R = unknown> extends CallFacts {
  readonly kind: 'call';
  readonly number: number;
  readonly args: Xdr<A>;
  readonly ret: Xdr<R>;
}

/** A message that the server sends by itself: an event. */
export interface Message<M = unknown> {
  readonly kind: 'message';
  readonly number: number;
  readonly body: Xdr<M>;
  readonly wireName?: string;
}

export type Procedure = Call | Message;

/** Declares a call; null stands for nothing. */
export function call<const A extends Fields | null, const R extends Fields | null>(
  number: number,
  args: A,
  ret: R,
  facts: CallFacts,
): Call<ValueOf<A>, ValueOf<R>> {
  const codec = (fields: Fields | null) => (fields === null ? nothing : struct(fields));
  return { kind: 'call', number, args: codec(args), ret: codec(ret), ...facts } as Call<
    ValueOf<A>,
    ValueOf<R>
  >;
}

/** Declares a message by its fields, or by a body that several share. */
export function message<const F extends Fields>(
  number: number,
  fields: F,
  wireName?: string,
): Message<StructValue<F>>;
export function message<M>(number: number, body: Xdr<M>, wireName?: string): Message<M>;
export function message(number: number, what: Fields | Xdr<unknown>, wireName?: string): Message {
  const body = isCodec(what) ? what : struct(what);
  return { kind: 'message', number, body, ...(wireName !== undefined && { wireName }) };
}

function isCodec(what: Fields | Xdr<unknown>): what is Xdr<unknown> {
  return typeof what['minBytes'] === 'number';
}

/** The name on paper: `domainGetInfo` is DOMAIN_GET_INFO. */
export function wireName(name: string, procedure: Pick<Procedure, 'wireName'>): string {
  return procedure.wireName ?? name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}
