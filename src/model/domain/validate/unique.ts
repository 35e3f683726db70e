/** Finds what is given twice. */
import type { Problem } from '../../../base/errors.ts';

export interface Claim {
  readonly path: string;
  /** What must be there once; undefined claims nothing. */
  readonly key: string | undefined;
}

/** A problem for each claim of a key that an earlier one has: `say` makes the sentence from the key and the first path. */
export function repeated(
  claims: readonly Claim[],
  say: (key: string, firstPath: string) => string,
): Problem[] {
  const first = new Map<string, string>();
  const problems: Problem[] = [];
  for (const { key, path } of claims) {
    if (key === undefined) continue;
    const earlier = first.get(key);
    if (earlier === undefined) first.set(key, path);
    else problems.push({ path, message: say(key, earlier) });
  }
  return problems;
}
