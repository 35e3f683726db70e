import { expect, it } from 'vitest';
import { ownTurn, Turns } from '../../../src/base/turns.ts';

function spin(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

it('lets others in between pieces of long work, and not between short ones', async () => {
  let served = 0;
  setImmediate(() => {
    served += 1;
  });
  const turns = new Turns();
  await turns.share();
  expect(served).toBe(0);
  spin(6);
  await turns.share();
  expect(served).toBe(1);
});

it('gives each caller a turn of its own, in order', async () => {
  const seen: string[] = [];
  const callers = ['a', 'b'].map(async (name) => {
    await ownTurn();
    seen.push(name);
    setImmediate(() => seen.push(`after ${name}`));
  });
  await Promise.all(callers);
  expect(seen.slice(0, 2)).not.toEqual(['b', 'a']);
  expect(seen.indexOf('b')).toBeGreaterThan(seen.indexOf('a'));
});
