/** Work that several wait for. */
import { expect, it } from 'vitest';
import { SharedWork } from '../../../src/base/shared-work.ts';

/** Work that ends when told, or when it is called off. */
function slow() {
  const gate = Promise.withResolvers<string>();
  const seen = { calls: 0, aborted: false };
  const work = (signal: AbortSignal) => {
    seen.calls += 1;
    signal.addEventListener('abort', () => {
      seen.aborted = true;
      gate.reject(new Error('called off'));
    });
    return gate.promise;
  };
  return { work, seen, gate };
}

it('is done once for all who want the same', async () => {
  const shared = new SharedWork<string>();
  const { work, seen, gate } = slow();
  const all = [shared.run('a', work, undefined), shared.run('a', work, new AbortController().signal)];
  gate.resolve('done');
  expect(await Promise.all(all)).toEqual(['done', 'done']);
  expect(seen.calls).toBe(1);
});

it('goes on while somebody waits, and is called off when nobody does', async () => {
  const shared = new SharedWork<string>();
  const { work, seen } = slow();
  const [first, second] = [new AbortController(), new AbortController()];
  const one = shared.run('a', work, first.signal).catch((error: unknown) => error);
  const other = shared.run('a', work, second.signal).catch((error: unknown) => error);
  first.abort(new Error('left'));
  expect(await one).toMatchObject({ message: 'left' });
  expect(seen.aborted).toBe(false);
  second.abort(new Error('left too'));
  expect(await other).toMatchObject({ message: 'left too' });
  expect(seen.aborted).toBe(true);
});
