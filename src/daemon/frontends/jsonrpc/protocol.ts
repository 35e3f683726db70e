/** JSON-RPC 2.0 (https://www.jsonrpc.org/specification): what a message is, and how answers and errors are written. */
import type { z } from 'zod';
import { BadMessage } from '../../../api/framing.ts';
import { type ErrorCode, isVirtError, oneLine, type Problem, VirtError } from '../../../base/errors.ts';
import { repairs } from '../../../base/repairs.ts';

export type RequestId = string | number | null;

/** A request, or a notification when `id` is undefined. */
export interface Call {
  readonly id: RequestId | undefined;
  readonly method: string;
  readonly params: unknown;
}

/** The error object of a response. */
export interface ErrorObject {
  readonly code: number;
  readonly message: string;
  readonly data: ErrorData;
}

/** What every error of ours tells besides number and message. */
export interface ErrorData {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The numbers the specification reserves (section 5.1). */
const reservedCodes = {
  parseError: -32_700,
  invalidRequest: -32_600,
  methodNotFound: -32_601,
  invalidParams: -32_602,
  internalError: -32_603,
} as const;

/** An id longer than this is refused: it is echoed and logged. */
const MAX_ID_CHARS = 256;

/** A message that breaks the protocol itself; `id` is the request's where it could be read. */
export class ProtocolError extends Error {
  readonly object: ErrorObject;
  readonly id: RequestId;

  constructor(code: number, data: ErrorData, id: RequestId = null) {
    super(data.reason);
    this.name = 'ProtocolError';
    this.object = { code, message: data.reason, data };
    this.id = id;
  }
}

export function invalidRequest(
  reason: string,
  id: RequestId = null,
  code: ErrorCode = 'request.invalid',
): ProtocolError {
  return new ProtocolError(reservedCodes.invalidRequest, { code, reason }, id);
}

/** What a line that is no message is answered with. */
export function badMessage(error: BadMessage): ProtocolError {
  if (error.kind === 'depth') return invalidRequest(error.message, null, 'request.too-large');
  return new ProtocolError(reservedCodes.parseError, { code: 'request.invalid', reason: error.message });
}

function isId(value: unknown): value is RequestId {
  return (
    value === null ||
    (typeof value === 'string' && value.length <= MAX_ID_CHARS) ||
    (typeof value === 'number' && Number.isFinite(value))
  );
}

/**
 * Reads one request object. Members that the specification does not know are passed over, as it allows.
 * @throws ProtocolError -32600
 */
export function readCall(value: unknown): Call {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidRequest('a request is an object');
  // JSON.parse makes own properties only; hasOwn keeps an inherited name from being taken for a member.
  const member = (name: string): unknown =>
    Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  const id = member('id');
  if (id !== undefined && !isId(id))
    throw invalidRequest(`"id" must be a number, null or a string of at most ${MAX_ID_CHARS} characters`);
  if (member('jsonrpc') !== '2.0') throw invalidRequest('"jsonrpc" must be "2.0"', id ?? null);
  const method = member('method');
  if (typeof method !== 'string') throw invalidRequest('"method" must be a string', id ?? null);
  const params = member('params');
  if (params !== undefined && (typeof params !== 'object' || params === null))
    throw invalidRequest('"params" must be an object', id ?? null);
  return { id, method, params };
}

export function methodNotFound(method: string, id: RequestId | undefined): ProtocolError {
  return new ProtocolError(
    reservedCodes.methodNotFound,
    {
      code: 'request.unsupported',
      reason: `there is no method '${oneLine(method, 64)}'`,
      hint: "'rpc.discover' lists the methods; a daemon that was updated has the new ones when it is restarted",
    },
    id ?? null,
  );
}

/**
 * Checks params by the method's schema; all problems are told at once, each with its path (`disks[1].path`).
 * @throws ProtocolError -32602
 */
export function checkParams<P extends z.ZodType>(schema: P, call: Call): z.output<P> {
  const problems: Problem[] = [];
  if (Array.isArray(call.params))
    problems.push({ path: '', message: 'params are given by name, in an object' });
  else {
    const parsed = schema.safeParse(call.params ?? {});
    if (parsed.success) return parsed.data;
    problems.push(...parsed.error.issues.slice(0, 100).flatMap(problemsOf));
  }
  const first = problems[0];
  const place = first && first.path !== '' ? `${first.path}: ` : '';
  throw new ProtocolError(
    reservedCodes.invalidParams,
    {
      code: 'request.invalid',
      reason: oneLine(`${place}${first?.message ?? 'wrong params'}`),
      hint: `docs/api.md describes the params of '${call.method}'`,
      details: { problems },
    },
    call.id ?? null,
  );
}

/** A union tells the problems of its alternatives in one; an unknown key is named with its own path. */
function problemsOf(issue: z.core.$ZodIssue): Problem[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      path: formatPath([...issue.path, oneLine(key, 64)]),
      message: 'is not a parameter here',
    }));
  return [{ path: formatPath(issue.path), message: oneLine(issue.message, 256) }];
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

/** The error object of anything a handler threw. A bug is handed to the log and shown without its text. */
export function errorObject(error: unknown, onBug: (error: unknown) => void): ErrorObject {
  if (error instanceof ProtocolError) return error.object;
  if (isVirtError(error))
    return { code: error.row.jsonrpc, message: error.message, data: virtErrorData(error) };
  onBug(error);
  return {
    code: reservedCodes.internalError,
    message: 'Internal error',
    data: {
      code: 'internal.error',
      reason: 'a bug in the daemon; its log has the details',
      hint: repairs['internal.error'],
    },
  };
}

function virtErrorData(error: VirtError): ErrorData {
  return {
    code: error.code,
    reason: error.reason,
    hint: error.hint ?? repairs[error.code],
    ...(error.details !== undefined && { details: error.details }),
  };
}

/** A response with a result, without newline. */
export function formatResult(id: RequestId, result: unknown): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${JSON.stringify(result) ?? 'null'}}`;
}

/** A response with an error, without newline. */
export function formatError(id: RequestId, error: ErrorObject): string {
  return JSON.stringify({ jsonrpc: '2.0', id, error });
}
