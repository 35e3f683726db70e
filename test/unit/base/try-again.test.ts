/** Attempts at work that fails for a time. */
import { setImmediate as soon } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { tryAgain } from '../../../src/base/try-again.ts';

/** Fails so many times; the pauses that were made, in seconds, and what was told. */
function failing(times: number) {
  const pauses: number[] = [];
  const told: unknown[] = [];
  const attempt = async () => {
    if (told.length < times) throw new Error(`no ${told.length + 1}`);
  };
  const pause = async (ms: number) => {
    pauses.push(ms / 1000);
    await soon();
  };
  return { pauses, told, attempt, pause, onFailure: (error: unknown) => void told.push(String(error)) };
}

it('come with pauses that grow, and end when it is done', async () => {
  const { pauses, told, ...work } = failing(7);
  expect(await tryAgain({ ...work, isWanted: () => true })).toBe('done');
  expect(pauses).toEqual([1, 2, 4, 8, 16, 30, 30, 30]);
  expect(told).toHaveLength(7);
});

it('begin at once where that is wanted, and end when nobody wants it any more', async () => {
  const { pauses, told, ...work } = failing(100);
  const isWanted = () => told.length < 2;
  expect(await tryAgain({ ...work, isWanted, firstPauseMs: 0 })).toBe('unwanted');
  expect(pauses).toEqual([0, 1, 2]);
  expect(told).toEqual(['Error: no 1', 'Error: no 2']);
});

it('are given up when the time is over', async () => {
  const { told, ...work } = failing(Infinity);
  expect(await tryAgain({ ...work, isWanted: () => true, limitMs: 20 })).toBe('given up');
  expect(told.length).toBeGreaterThan(0);
});

it('come with pauses of its own where none are given', async () => {
  const { pauses: _, pause: __, told, ...work } = failing(1);
  expect(await tryAgain({ ...work, isWanted: () => told.length === 0, firstPauseMs: 1 })).toBe('unwanted');
});
