/** The line of jobs of one object, seen from beside it. */
import { expect, it } from 'vitest';
import { JobQueue } from '../../../src/base/jobs.ts';

it('is idle at once without a job', async () => {
  await new JobQueue('network n').idle(60_000);
});

it('is idle when the last job in line has ended, however it did', async () => {
  const queue = new JobQueue('network n');
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  const runs = Promise.allSettled(
    [first, second].map(({ promise }, index) => queue.run(`job ${index}`, () => promise, { waitMs: 60_000 })),
  );
  const seen: string[] = [];
  const idle = queue.idle(60_000).then(() => seen.push('idle'));
  first.resolve();
  await new Promise((done) => setTimeout(done, 5));
  expect(queue.current?.name).toBe('job 1');
  expect(seen).toEqual([]);
  second.reject(new Error('broken'));
  await idle;
  expect(queue.current).toBeUndefined();
  expect((await runs).map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
});

it('is waited for no longer than the limit', async () => {
  const queue = new JobQueue('network n');
  const gate = Promise.withResolvers<void>();
  const run = queue.run('start', () => gate.promise, { waitMs: 1000 });
  await queue.idle(5);
  expect(queue.current?.name).toBe('start');
  gate.resolve();
  await run;
});
