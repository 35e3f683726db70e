/** Which backups go: never one that is kept, nor one that a kept one lies on. */
import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../../src/daemon/archives/archive.ts';
import { expired } from '../../../src/daemon/archives/retention.ts';

const day = 24 * 3600 * 1000;
const start = Date.UTC(2026, 0, 5, 2, 30); // a Monday

/** One a day; each full one has so many incremental ones on it. */
function daily(count: number, perChain: number) {
  const ids = Array.from({ length: count }, (_, at) => `d${String(at).padStart(2, '0')}`);
  return ids.map((id, at) => ({
    id,
    manifest: {
      takenAtMs: start + at * day,
      ...(at % perChain !== 0 && { parent: ids[at - 1] }),
    } as Manifest,
  }));
}
const gone = (...args: Parameters<typeof expired>) =>
  expired(...args)
    .map(({ id }) => id)
    .sort();

describe('what goes', () => {
  it('is nothing without a rule', () => {
    expect(gone(daily(9, 1), {})).toEqual([]);
  });

  it('is what no rule keeps: the newest, and the newest of days, weeks and months', () => {
    expect(gone(daily(6, 1), { last: 2 })).toEqual(['d00', 'd01', 'd02', 'd03']);
    // Weeks begin on Mondays: d06 and d13 are Sundays.
    expect(gone(daily(16, 1), { last: 1, weekly: 2 })).toEqual(
      daily(16, 1)
        .map(({ id }) => id)
        .filter((id) => !['d15', 'd13'].includes(id)),
    );
    const kept = daily(60, 1).length - gone(daily(60, 1), { monthly: 3 }).length;
    expect(kept).toBe(3);
  });

  it('is none that a kept one lies on, and children go before their parents', () => {
    expect(gone(daily(8, 4), { last: 1 })).toEqual(['d00', 'd01', 'd02', 'd03']);
    expect(gone(daily(6, 4), { last: 3 })).toEqual([]);
    expect(expired(daily(8, 4), { last: 1 }).map(({ id }) => id)).toEqual(['d03', 'd02', 'd01', 'd00']);
  });

  it('is never the newest, whatever the rules', () => {
    expect(gone(daily(3, 1), { monthly: 1 })).toEqual(['d00', 'd01']);
  });
});
