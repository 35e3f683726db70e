/** From a call to its answer: find the method, check params and access, run the handler. */
import { methods } from '../../../api/index.ts';
import type { MethodDeclaration } from '../../../api/method.ts';
import { checkAccess } from './access.ts';
import type { CallContext, Handlers } from './handlers.ts';
import { type Call, checkParams, methodNotFound } from './protocol.ts';

type AnyHandler = (params: unknown, context: CallContext) => Promise<unknown>;

/** The declaration of a method, or undefined. `methods` has no prototype, so `constructor` finds nothing. */
export function declarationOf(name: string): MethodDeclaration | undefined {
  return (methods as Readonly<Record<string, MethodDeclaration>>)[name];
}

/**
 * Answers one call with its handler's result.
 * @throws ProtocolError -32601, -32602
 * @throws VirtError access.read-only, and whatever the handler throws
 */
export function dispatch(call: Call, handlers: Handlers, context: CallContext): Promise<unknown> {
  const declaration = declarationOf(call.method);
  if (declaration === undefined) throw methodNotFound(call.method, call.id);
  const params: unknown = checkParams(declaration.params, call);
  // Before the handler sees anything of it (docs/security.md, class A).
  checkAccess(declaration, params, context.readOnly);
  const handler = (handlers as unknown as Readonly<Record<string, AnyHandler>>)[call.method];
  if (handler === undefined) throw new Error(`no handler for ${call.method}`);
  return handler(params, context);
}
