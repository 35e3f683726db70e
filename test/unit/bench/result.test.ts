import { expect, it } from 'vitest';
import { absolute, compare, formatTable, isMet } from '../../../bench/result.ts';
import { median, quantile } from '../../../bench/statistics.ts';

it('takes the middle of the samples, whatever their order', () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(quantile([0, 10], 0.95)).toBeCloseTo(9.5);
  expect(() => median([])).toThrow('no samples');
});

it('judges by the ratio or by the value, and not at all without a goal', () => {
  const samples = { ours: [26], floor: [20] };
  expect(isMet(compare('start', 'ms', samples, 1.3))).toBe(true);
  expect(isMet(compare('start', 'ms', samples, 1.29))).toBe(false);
  expect(isMet(absolute('RSS', 'MiB', [81], 80))).toBe(false);
  expect(isMet(absolute('RSS', 'MiB', [81]))).toBeUndefined();
});

it('prints a table that says ok, MISS or nothing', () => {
  const rows = [compare('start', 'ms', { ours: [30], floor: [20] }, 1.3), absolute('RSS', 'MiB', [79], 80)];
  const [, , start, rss] = formatTable(rows).split('\n');
  expect(start?.split('|').map((cell) => cell.trim())).toEqual([
    '',
    'start',
    'ms',
    '30',
    '20',
    '1.50',
    '≤ 1.3x',
    'MISS',
    '',
  ]);
  expect(rss).toMatch(/RSS .* 79 .*≤ 80 .*ok/);
});
