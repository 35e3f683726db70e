/** The rings of a guest's history: steps, means, gaps, wrapping, and records that are torn. */
import { describe, expect, it } from 'vitest';
import {
  addPoints,
  emptyRing,
  metrics,
  type Point,
  pointsOf,
  ringBytes,
  ringProblem,
} from '../../../src/daemon/history/ring.ts';

const start = 1_800_000_000; // at the start of an hour
const point = (at: number, cpu: number, rest = 0): Point => ({
  at,
  values: metrics.map((_, index) => (index === 0 ? cpu : rest)),
});
const cpuOf = ({ values }: Point) => values[0];

describe('the rings', () => {
  it('have one size, whatever is in them', () => {
    const bytes = emptyRing();
    expect(bytes.length).toBe(ringBytes);
    expect(ringBytes).toBeLessThan(56 * 1024);
    for (let at = start; at < start + 90_000; at += 10) addPoints(bytes, [point(at, 1)]);
    expect(bytes.length).toBe(ringBytes);
    expect(ringProblem(bytes)).toBeUndefined();
  });

  it('give an hour in ten seconds, a day in five minutes, a month in hours', () => {
    const bytes = emptyRing();
    const points = Array.from({ length: 720 }, (_, index) =>
      point(start + index * 10, index < 360 ? 10 : 30),
    );
    addPoints(bytes, points);
    const now = start + 7199;
    const hour = pointsOf(bytes, 'hour', now);
    expect(hour).toHaveLength(360);
    expect(hour[0]?.at).toBe(start + 3600);
    const day = pointsOf(bytes, 'day', now);
    expect(day.map(cpuOf)).toEqual([...Array(12).fill(10), ...Array(12).fill(30)]);
    expect(pointsOf(bytes, 'month', now).map(cpuOf)).toEqual([10, 30]);
  });

  it('make means of what was told, and leave gaps where nothing was', () => {
    const bytes = emptyRing();
    addPoints(bytes, [point(start, 10, Number.NaN), point(start + 20, 20, 4)]);
    addPoints(bytes, [point(start + 40, 60, Number.NaN)]);
    expect(pointsOf(bytes, 'hour', start + 50).map(({ at }) => at - start)).toEqual([0, 20, 40]);
    const [mean] = pointsOf(bytes, 'day', start + 50);
    expect(mean?.values.slice(0, 2)).toEqual([30, 4]);
  });

  it('do not show what is older than their span', () => {
    const bytes = emptyRing();
    addPoints(bytes, [point(start, 50)]);
    expect(pointsOf(bytes, 'hour', start + 3589)).toHaveLength(1);
    expect(pointsOf(bytes, 'hour', start + 3600)).toEqual([]);
    expect(pointsOf(bytes, 'month', start + 40 * 86_400)).toEqual([]);
  });

  it('lose of a torn write the records that it hit, and no others', () => {
    const bytes = emptyRing();
    addPoints(
      bytes,
      Array.from({ length: 30 }, (_, index) => point(start + index * 10, index)),
    );
    const torn = Buffer.from(bytes);
    const place = bytes.indexOf(Buffer.from(new Uint32Array([start + 50]).buffer));
    torn.fill(0xff, place + 6, place + 50);
    const left = pointsOf(torn, 'hour', start + 299).map(({ at }) => (at - start) / 10);
    expect(left).toEqual(Array.from({ length: 30 }, (_, index) => index).filter((n) => n !== 5 && n !== 6));
  });

  it('know what is none of theirs', () => {
    expect(ringProblem(Buffer.alloc(100))).toContain('100 bytes');
    expect(ringProblem(Buffer.alloc(ringBytes))).toContain('header');
  });
});
