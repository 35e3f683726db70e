/** How a failure is told: to people in up to three lines, to programs as one JSON document on stderr. */
import { isVirtError, oneLine, type Problem, reasonOf } from '../../base/errors.ts';
import { exitCodeFor } from '../exit-codes.ts';
import type { Paint } from './colour.ts';

/** `cannot start domain 'web': ...`, one line for each problem found, then `repair: ...`. Ends with a newline. */
export function formatError(error: unknown, paint: Paint): string {
  if (!isVirtError(error)) return `${paint('bad', 'error:')} ${reasonOf(error)}\n`;
  const lines = [`${paint('bad', 'error:')} ${error.message}`];
  const problems = problemsOf(error.details);
  // A single problem is usually the reason itself.
  if (problems.length > 1 || (problems[0] && !error.reason.includes(problems[0].message))) {
    for (const { path, message } of problems) lines.push(`  ${oneLine(path)}: ${oneLine(message)}`);
  }
  const tail = textDetail(error.details, 'stderrTail') ?? textDetail(error.details, 'stderr');
  if (tail !== undefined && !error.reason.includes(tail.trim())) {
    for (const line of tail.trim().split('\n').slice(-10)) lines.push(`  | ${oneLine(line)}`);
  }
  if (error.hint !== undefined) lines.push(`${paint('good', 'repair:')} ${error.hint}`);
  return `${lines.join('\n')}\n`;
}

/** The same as data: `{"error": {code, wanted?, reason, hint?, details?, exitCode}}`. */
export function errorDocument(error: unknown): { readonly error: Readonly<Record<string, unknown>> } {
  const exitCode = exitCodeFor(error);
  if (!isVirtError(error)) return { error: { code: 'internal.error', reason: reasonOf(error), exitCode } };
  const { code, wanted, reason, hint, details } = error;
  return { error: { code, wanted, reason, hint, details, exitCode } };
}

function textDetail(details: Readonly<Record<string, unknown>> | undefined, key: string): string | undefined {
  const value = details?.[key];
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
}

function problemsOf(details: Readonly<Record<string, unknown>> | undefined): Problem[] {
  const list: unknown = details?.['problems'];
  if (!Array.isArray(list)) return [];
  return list.filter(
    (entry: unknown): entry is Problem =>
      typeof entry === 'object' &&
      entry !== null &&
      'path' in entry &&
      typeof entry.path === 'string' &&
      'message' in entry &&
      typeof entry.message === 'string',
  );
}
