/** Work whose answers come late: who waits is told, and what becomes of the work. */
import { describe, expect, it } from 'vitest';
import { currentAsker, inTime, patiently, toTheEnd } from '../../../src/base/late-answers.ts';

const late = new Error('late');

/** Work of three steps, the first of which is answered when that is wanted. */
function threeSteps() {
  const answer = Promise.withResolvers<void>();
  const done: string[] = [];
  const step = (name: string) => {
    const refusal = currentAsker()?.refusal();
    if (refusal !== undefined) throw refusal;
    done.push(name);
  };
  const work = async () => {
    step('one');
    const asker = currentAsker();
    setImmediate(() => asker?.tellLate(late));
    await answer.promise;
    step('two');
    step('three');
    return 'all';
  };
  return { answer, done, step, work };
}

describe('work that an answer comes late to', () => {
  it('is given up in time, and begins nothing more; what takes back is let pass', async () => {
    const { answer, done, step, work } = threeSteps();
    const ends: Promise<unknown>[] = [];
    const withUndo = async () => {
      try {
        return await work();
      } catch (error) {
        step('undo one');
        step('undo more');
        throw error;
      }
    };
    await expect(inTime(withUndo, (end) => void ends.push(end))).rejects.toBe(late);
    expect(ends).toHaveLength(1);
    answer.resolve();
    await expect(ends[0]).rejects.toBe(late);
    expect(done).toEqual(['one', 'undo one', 'undo more']);
  });

  it('is done when that was its last step', async () => {
    const { answer } = threeSteps();
    const ends: Promise<unknown>[] = [];
    const work = async () => {
      currentAsker()?.tellLate(late);
      await answer.promise;
      return 'done';
    };
    await expect(inTime(work, (end) => void ends.push(end))).rejects.toBe(late);
    answer.resolve();
    await expect(ends[0]).resolves.toBe('done');
  });

  it('comes to its end where its steps belong together', async () => {
    const { answer, done, work } = threeSteps();
    const ends: Promise<unknown>[] = [];
    await expect(
      inTime(
        () => toTheEnd(work),
        (end) => void ends.push(end),
      ),
    ).rejects.toBe(late);
    answer.resolve();
    await expect(ends[0]).resolves.toBe('all');
    expect(done).toEqual(['one', 'two', 'three']);
  });
});

describe('work that nothing comes late to', () => {
  it('ends as it ends, and is told of to nobody else', async () => {
    const told: unknown[] = [];
    const tell = (end: unknown) => void told.push(end);
    await expect(inTime(() => Promise.resolve(1), tell)).resolves.toBe(1);
    await expect(inTime(() => Promise.reject(late), tell)).rejects.toBe(late);
    expect(told).toEqual([]);
    expect(currentAsker()).toBeUndefined();
    await expect(toTheEnd(() => Promise.resolve(currentAsker()))).resolves.toBeUndefined();
  });

  it('waits as long as it takes where nobody waits for it', async () => {
    const { answer, done, work } = threeSteps();
    const end = patiently(work);
    await new Promise((soon) => setImmediate(() => setImmediate(soon)));
    answer.resolve();
    await expect(end).resolves.toBe('all');
    expect(done).toEqual(['one', 'two', 'three']);
  });
});
