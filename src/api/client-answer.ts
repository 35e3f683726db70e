/** Responses as the client reads them: the envelope checked, errors as ours, results by their schema. */
import { type ErrorCode, errorTable, VirtError } from '../base/errors.ts';
import { type MethodDeclaration, type MethodName, methods, type Result } from './index.ts';

/** A response, with its envelope checked. */
export type Answer = { readonly result: unknown } | { readonly error: VirtError };

/** @throws Error when it is no object */
export function asObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw new Error('the message is not an object');
}

export function readAnswer(fields: Readonly<Record<string, unknown>>): Answer {
  const error = answerError(fields);
  return error ? { error } : { result: fields['result'] };
}

/** The error of a response as ours: code, reason, hint and details as the daemon told them. */
export function answerError(fields: Readonly<Record<string, unknown>>): VirtError | undefined {
  if (fields['error'] === undefined) return undefined;
  const error = asObject(fields['error']);
  const data = typeof error['data'] === 'object' && error['data'] !== null ? asObject(error['data']) : {};
  const message = typeof error['message'] === 'string' ? error['message'] : 'unknown error';
  const reason = typeof data['reason'] === 'string' ? data['reason'] : message;
  const wanted = wantedOf(message, reason);
  return new VirtError(codeOf(data['code']), {
    reason,
    ...(wanted !== undefined && { wanted }),
    ...(typeof data['hint'] === 'string' && { hint: data['hint'] }),
    details: detailsOf(data['details'], error['code']),
  });
}

function codeOf(code: unknown): ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorTable, code)
    ? (code as ErrorCode)
    : 'operation.failed';
}

/** VirtError's message is `cannot WANTED: REASON`. */
function wantedOf(message: string, reason: string): string | undefined {
  const end = `: ${reason}`;
  return message.startsWith('cannot ') && message.endsWith(end) ? message.slice(7, -end.length) : undefined;
}

function detailsOf(details: unknown, jsonrpcCode: unknown): Readonly<Record<string, unknown>> {
  return { ...(typeof details === 'object' && details !== null ? details : {}), jsonrpcCode };
}

/** The result, checked by its schema; members that a newer daemon sends besides are left out. */
export function readResult<Name extends MethodName>(name: Name, answer: Answer): Result<Name> {
  if ('error' in answer) throw answer.error;
  const declaration: MethodDeclaration = methods[name];
  const parsed = declaration.result.safeParse(answer.result);
  if (parsed.success) return parsed.data as Result<Name>;
  const issue = parsed.error.issues[0];
  throw new VirtError('operation.failed', {
    wanted: `read the answer of '${name}'`,
    reason: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unknown form'}`,
    hint: 'client and daemon may be of different versions',
  });
}
