/** Jobs in work: how they are told, measured and called off. */
import { describe, expect, it, vi } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { type JobChange, JobRegistry } from '../../../src/base/job-registry.ts';

interface Thing {
  readonly name: string;
}

function makeRegistry() {
  const registry = new JobRegistry<Thing>();
  const changes: JobChange<Thing>[] = [];
  registry.subscribe((change) => changes.push(change));
  return { registry, changes, told: () => changes.map(({ what }) => what) };
}

describe('a job', () => {
  it('is listed while it runs, with how far it is, and told from begin to end', async () => {
    const { registry, changes, told } = makeRegistry();
    const spec = { kind: 'copy', object: { name: 'a' }, total: 100, unit: 'bytes' as const };
    await registry.run(spec, async (job) => {
      job.progress({ done: 10, step: 'copying' });
      expect(registry.list()).toMatchObject([
        { id: job.id, kind: 'copy', object: { name: 'a' }, done: 10, total: 100, unit: 'bytes' },
      ]);
    });
    expect(registry.list()).toEqual([]);
    expect(told()).toEqual(['started', 'progress', 'ended']);
    expect(changes.at(-1)).toMatchObject({ error: undefined, job: { done: 10, step: 'copying' } });
  });

  it('tells every step but not every number', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const { registry, told } = makeRegistry();
      const job = registry.begin({ kind: 'copy', object: { name: 'a' }, unit: 'bytes' });
      for (let done = 0; done < 1000; done++) job.progress({ done });
      expect(told()).toEqual(['started', 'progress']);
      job.progress({ step: 'syncing' });
      expect(told()).toEqual(['started', 'progress', 'progress']);
      vi.advanceTimersByTime(250);
      job.progress({ done: 1000 });
      expect(told()).toHaveLength(4);
      job.end();
    } finally {
      vi.useRealTimers();
    }
  });

  it('ends once, and nothing is heard of it after', () => {
    const { registry, told } = makeRegistry();
    const job = registry.begin({ kind: 'copy', object: { name: 'a' } });
    job.end(new Error('no'));
    job.end();
    job.progress({ step: 'late' });
    expect(told()).toEqual(['started', 'ended']);
  });

  it('names the object as it is then', () => {
    let name = 'a';
    const { registry, changes } = makeRegistry();
    const job = registry.begin({ kind: 'rename', object: () => ({ name }) });
    name = 'b';
    job.end();
    expect(changes.map((change) => change.job.object.name)).toEqual(['a', 'b']);
  });

  it('hands on the error of its work, and tells it', async () => {
    const { registry, changes } = makeRegistry();
    const failure = new VirtError('file.no-space', { reason: 'full' });
    const run = registry.run({ kind: 'copy', object: { name: 'a' } }, () => Promise.reject(failure));
    await expect(run).rejects.toBe(failure);
    expect(changes.at(-1)).toMatchObject({ what: 'ended', error: failure });
  });
});

describe('calling a job off', () => {
  const untilAborted = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));

  it('aborts its work, which is told as such', async () => {
    const { registry, changes } = makeRegistry();
    const spec = { kind: 'copy', object: { name: 'a' }, isCancellable: true };
    const run = registry.run(spec, (job) => untilAborted(job.signal));
    const [job] = registry.list();
    expect(registry.cancel(job?.id ?? '')).toMatchObject({ isCancelling: true });
    await expect(run).rejects.toMatchObject({ code: 'operation.aborted' });
    expect(changes.at(-1)).toMatchObject({ what: 'ended', error: { code: 'operation.aborted' } });
  });

  it('keeps another failure that happens meanwhile', async () => {
    const { registry } = makeRegistry();
    const spec = { kind: 'copy', object: { name: 'a' }, isCancellable: true };
    const run = registry.run(spec, async (job) => {
      registry.cancel(job.id);
      await Promise.resolve();
      throw new VirtError('file.no-space', { reason: 'full' });
    });
    await expect(run).rejects.toMatchObject({ code: 'file.no-space' });
  });

  it('is refused for a job that cannot stop half-way, and for one that is not', () => {
    const { registry } = makeRegistry();
    const job = registry.begin({ kind: 'destroy', object: { name: 'a' } });
    expect(() => registry.cancel(job.id)).toThrow(expect.objectContaining({ code: 'job.not-cancellable' }));
    job.end();
    expect(() => registry.cancel(job.id)).toThrow(expect.objectContaining({ code: 'job.not-found' }));
  });

  it('never meets a job of another daemon by its number', () => {
    const begin = () => new JobRegistry<Thing>().begin({ kind: 'copy', object: { name: 'a' } }).id;
    expect(begin()).not.toBe(begin());
  });
});
