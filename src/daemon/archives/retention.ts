/** Which backups of a domain are kept: the newest, and the newest of each of the last days, weeks and months. Pure. */
import type { Archive } from './archive.ts';

/** How many are kept of each; what is left out keeps none by itself. With nothing at all, all are kept. */
export interface Retention {
  readonly last?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
}

type Dated = Pick<Archive, 'id' | 'manifest'>;

/** The backups that can go: none that is kept, and none that a kept one lies on. The newest go first: children before parents. */
export function expired<T extends Dated>(archives: readonly T[], keep: Retention): T[] {
  const rules = [
    [keep.last, ({ id }: T) => id],
    [keep.daily, (one: T) => dayOf(one)],
    [keep.weekly, (one: T) => weekOf(one)],
    [keep.monthly, (one: T) => dayOf(one).slice(0, 7)],
  ] as const;
  if (rules.every(([count]) => count === undefined)) return [];
  const newestFirst = archives.toSorted((a, b) => b.manifest.takenAtMs - a.manifest.takenAtMs);
  const kept = new Set<string>(newestFirst.slice(0, 1).map(({ id }) => id));
  for (const [count = 0, period] of rules) {
    const seen = new Set<string>();
    for (const one of newestFirst) {
      if (seen.size >= count && !seen.has(period(one))) break;
      if (seen.has(period(one))) continue;
      seen.add(period(one));
      kept.add(one.id);
    }
  }
  const byId = new Map(archives.map((one) => [one.id, one]));
  for (const id of kept) {
    // A set that grows is walked to its end.
    const parent = byId.get(id)?.manifest.parent;
    if (parent !== undefined) kept.add(parent);
  }
  return newestFirst.filter(({ id }) => !kept.has(id));
}

const dayOf = ({ manifest }: Dated): string => new Date(manifest.takenAtMs).toISOString().slice(0, 10);

/** The Monday of its week. */
function weekOf({ manifest }: Dated): string {
  const date = new Date(manifest.takenAtMs);
  date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  return date.toISOString().slice(0, 10);
}
