/** How a method or an event of our API is declared: once, here come types, checks, documents and help from. */
import type { z } from 'zod';
import type { ErrorCode } from '../base/errors.ts';

/**
 * What a method may do, for the access table (docs/security.md, class A): `query` only looks; `modify` changes something;
 * `secret` shows secrets; `exec` lets the caller choose a program or its arguments; `path` touches a path that the
 * caller names. Everything but `query` needs a read-write connection.
 */
export type AccessClass = 'query' | 'modify' | 'secret' | 'exec' | 'path';

export interface MethodDeclaration<
  Name extends string = string,
  P extends z.ZodType = z.ZodType,
  R extends z.ZodType = z.ZodType,
> {
  readonly name: Name;
  /** The version of Vireo that brought it. */
  readonly since: string;
  /** One sentence, ending with a full stop. */
  readonly summary: string;
  /** More, in Markdown: units, effects, what state it leaves behind. */
  readonly description?: string;
  readonly access: AccessClass;
  /**
   * Params that raise the access class when they are given and not false: `{ secure: 'secret' }`. So that a method
   * which mostly looks does not give a read-only connection more than that. With `values` only these raise it, alone or
   * as members of a list: `{ until: { values: ['agent'], access: 'modify' } }`.
   */
  readonly raises?: Readonly<
    Record<string, AccessClass | { readonly values: readonly string[]; readonly access: AccessClass }>
  >;
  /** An object schema (z.strictObject): params by name. A client may leave params out when nothing is required. */
  readonly params: P;
  readonly result: R;
  readonly errors: readonly ErrorCode[];
  /**
   * After the response line of a successful call the connection carries raw bytes both ways and no more messages
   * (console, upload, download); the kernel's socket buffers give the back-pressure.
   */
  readonly upgrade?: boolean;
}

/** A schema, or what makes it: then it is made when it is first looked at. */
type Lazily<S> = S | (() => S);

/**
 * Declares a method. Schemas cost some 20 µs and KiB each, and a client or daemon looks at few of all that there are, so
 * they are best given as functions (`params: () => z.strictObject({...})`).
 */
export function method<
  const Name extends string,
  P extends z.ZodType,
  R extends z.ZodType,
  const Upgrade extends boolean = false,
>(
  declaration: Omit<MethodDeclaration<Name, P, R>, 'params' | 'result'> & {
    readonly params: Lazily<P>;
    readonly result: Lazily<R>;
    readonly upgrade?: Upgrade;
  },
): MethodDeclaration<Name, P, R> & { readonly upgrade?: Upgrade } {
  const { params, result, ...rest } = declaration;
  return withLazy(withLazy(rest, 'params', params), 'result', result);
}

/** The object with one more member, made at the first look and kept. */
function withLazy<T extends object, K extends string, S>(
  object: T,
  key: K,
  value: Lazily<S>,
): T & { readonly [N in K]: S } {
  let made = typeof value === 'function' ? undefined : value;
  return Object.defineProperty(object, key, {
    get: () => (made ??= (value as () => S)()),
    enumerable: true,
  }) as T & { readonly [N in K]: S };
}

export interface EventDeclaration<Name extends string = string, P extends z.ZodType = z.ZodType> {
  readonly name: Name;
  readonly since: string;
  readonly summary: string;
  /** What a notification carries besides `event`, `sequence` and `time`. */
  readonly payload: P;
}

/** Declares an event; its payload as a function, as in `method`. */
export function event<const Name extends string, P extends z.ZodType>(
  declaration: Omit<EventDeclaration<Name, P>, 'payload'> & { readonly payload: Lazily<P> },
): EventDeclaration<Name, P> {
  const { payload, ...rest } = declaration;
  return withLazy(rest, 'payload', payload);
}
