/** Strings and counts that no honest definition has; a definition may come from elsewhere than our XML reader. */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';

/** Text for people, where new lines are welcome; metadata is foreign XML that is kept as it is. */
const freeText: ReadonlySet<string> = new Set(['description', 'metadata']);

// C0 and C1 controls, line and paragraph separators: they could split a line or an option further down.
const hostile = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/** More devices than any bus layout takes; a limit on work, not a promise. */
const MAX_DEVICES = 4096;
const MAX_DEPTH = 300;

export function textProblems(definition: DomainDef): Problem[] {
  const problems: Problem[] = [];
  for (const [key, value] of Object.entries(definition))
    if (!freeText.has(key) && hasProblem(value, 0)) walk(value, key, problems, 0);
  return [...problems, ...countProblems(definition)];
}

/** True where `walk` finds a problem. Hardly ever there is one, and paths are most of the work. */
function hasProblem(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return hostile.test(value);
  if (typeof value !== 'object' || value === null) return depth > MAX_DEPTH;
  if (depth > MAX_DEPTH) return true;
  if (Array.isArray(value)) {
    for (const item of value) if (hasProblem(item, depth + 1)) return true;
    return false;
  }
  for (const key in value) if (hasProblem((value as Record<string, unknown>)[key], depth + 1)) return true;
  return false;
}

function walk(value: unknown, path: string, problems: Problem[], depth: number): void {
  if (typeof value === 'string') {
    if (hostile.test(value)) problems.push({ path, message: 'has a control character' });
  } else if (depth > MAX_DEPTH) problems.push({ path, message: `is nested deeper than ${MAX_DEPTH}` });
  else if (Array.isArray(value))
    for (const [index, item] of value.entries()) walk(item, `${path}[${index}]`, problems, depth + 1);
  else if (typeof value === 'object' && value !== null)
    for (const [key, item] of Object.entries(value)) walk(item, `${path}.${key}`, problems, depth + 1);
}

function countProblems({ devices }: DomainDef): Problem[] {
  let count = 0;
  for (const list of Object.values(devices)) if (Array.isArray(list)) count += list.length;
  return count <= MAX_DEVICES
    ? []
    : [{ path: 'devices', message: `has ${count} devices, more than ${MAX_DEVICES}` }];
}
