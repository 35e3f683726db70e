/** Which filters a filter leads to. */
import type { FilterLookup, NwFilter } from './filter.ts';

/** The names of a filter and of all that it refers to, directly or by way of others; also of those that do not exist. */
export function filtersBehind(name: string, lookup: FilterLookup): ReadonlySet<string> {
  const found = new Set([name]);
  // A set gives what is added while it is walked through.
  for (const one of found) for (const next of referencesOf(lookup(one))) found.add(next);
  return found;
}

/** The way by which a filter leads back to itself, `[a, b, a]`; undefined when it does not. */
export function cycleThrough(name: string, lookup: FilterLookup): readonly string[] | undefined {
  const seen = new Set<string>();
  const search = (path: readonly string[]): readonly string[] | undefined => {
    for (const next of referencesOf(lookup(path.at(-1) ?? name))) {
      if (next === name) return [...path, name];
      if (seen.has(next)) continue;
      seen.add(next);
      const found = search([...path, next]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return search([name]);
}

function referencesOf(filter: NwFilter | undefined): string[] {
  return (filter?.entries ?? []).flatMap((entry) => (entry.kind === 'include' ? [entry.filter] : []));
}
