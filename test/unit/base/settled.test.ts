import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { allSettledOrThrow } from '../../../src/base/settled.ts';

it('gives all results in order', async () => {
  expect(await allSettledOrThrow([delay(2, 'a'), Promise.resolve('b')])).toEqual(['a', 'b']);
});

it('throws the first error of the list, and only when nothing is under way any more', async () => {
  let isDone = false;
  const slow = delay(5).then(() => {
    isDone = true;
    throw new Error('first');
  });
  await expect(allSettledOrThrow([slow, Promise.reject(new Error('second'))])).rejects.toThrow('first');
  expect(isDone).toBe(true);
});
