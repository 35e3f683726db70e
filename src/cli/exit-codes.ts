/** What the command's exit status means; documented in `vireo --help`. */
import { type ErrorCode, errorTable, VirtError } from '../base/errors.ts';

/** The exit codes. 130 is the shell's own convention for a program ended by Ctrl-C (128 + SIGINT). */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  noConnection: 4,
  denied: 5,
  busy: 6,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** One line each, for the help text. */
export const exitCodeMeanings: readonly (readonly [ExitCode, string])[] = [
  [exitCodes.ok, 'done'],
  [exitCodes.failed, 'the operation failed'],
  [exitCodes.usage, 'the command line is wrong'],
  [exitCodes.notFound, 'no such domain, device, file, ...'],
  [exitCodes.noConnection, 'no daemon answers'],
  [exitCodes.denied, 'permission denied'],
  [exitCodes.busy, 'busy, or not done in time'],
  [exitCodes.interrupted, 'interrupted by Ctrl-C'],
];

/** Codes whose exit status their HTTP status does not tell. */
const special: Readonly<Partial<Record<ErrorCode, ExitCode>>> = {
  'request.invalid': exitCodes.usage,
  'request.flags': exitCodes.usage,
  'request.busy': exitCodes.busy,
  'domain.busy': exitCodes.busy,
  'network.busy': exitCodes.busy,
  'daemon.unreachable': exitCodes.noConnection,
  'daemon.stopping': exitCodes.noConnection,
  'operation.aborted': exitCodes.interrupted,
};

const byHttpStatus: Readonly<Record<number, ExitCode>> = {
  403: exitCodes.denied,
  404: exitCodes.notFound,
  504: exitCodes.busy,
};

/** The exit code for a code of the error table. */
export function exitCodeOf(code: ErrorCode): ExitCode {
  return special[code] ?? byHttpStatus[errorTable[code].http] ?? exitCodes.failed;
}

/** The exit code for anything thrown. */
export function exitCodeFor(error: unknown): ExitCode {
  return error instanceof VirtError ? exitCodeOf(error.code) : exitCodes.failed;
}
