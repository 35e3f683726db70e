/** When memory is given back, and how much is done for it. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { MemoryTidier, type TidiedMemory } from '../../../src/daemon/tidy-memory.ts';

const MIB = 1024 * 1024;

/** Memory that notes what is done to it. */
class FakeMemory implements TidiedMemory {
  done: string[] = [];
  own = 40 * MIB;
  files = 30 * MIB;
  share = 0;
  private listener: (() => void) | undefined;

  get isWatched(): boolean {
    return this.listener !== undefined;
  }

  resident() {
    return { all: this.own + this.files, own: this.own };
  }

  collect(): void {
    this.done.push('collect');
    this.own = 20 * MIB;
  }

  async trim(): Promise<void> {
    this.done.push('trim');
  }

  releaseProgram(): void {
    this.done.push('release');
    this.files = 5 * MIB;
  }

  workedShare(): number {
    return this.share;
  }

  onGarbage(then: () => void): () => void {
    this.listener = then;
    return () => {
      this.listener = undefined;
    };
  }

  /** V8 has collected some garbage, as it does after work. */
  makeGarbage(): void {
    const { listener } = this;
    this.listener = undefined;
    listener?.();
  }

  takeDone(): string[] {
    return this.done.splice(0);
  }
}

describe('memory is given back', () => {
  let memory: FakeMemory;
  let clients: number;
  let tidier: MemoryTidier;

  beforeEach(() => {
    vi.useFakeTimers();
    memory = new FakeMemory();
    clients = 0;
    tidier = new MemoryTidier({ hasClients: () => clients > 0, memory, log: silentLogger });
  });
  afterEach(() => {
    tidier.stop();
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  const clientsChange = (count: number): void => {
    clients = count;
    tidier.look();
  };
  const aSecond = () => vi.advanceTimersByTimeAsync(1000);

  it('a second after the last client has gone, with all garbage, and then no timer runs', async () => {
    clientsChange(0);
    await vi.advanceTimersByTimeAsync(900);
    expect(memory.takeDone()).toEqual([]);
    await vi.advanceTimersByTimeAsync(100);
    expect(memory.takeDone()).toEqual(['collect', 'trim', 'release']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('not again when a client came and went and left next to nothing', async () => {
    clientsChange(0);
    await aSecond();
    memory.takeDone();
    clientsChange(1);
    memory.own += MIB;
    memory.files += 2 * MIB;
    clientsChange(0);
    await aSecond();
    expect(memory.takeDone()).toEqual([]);
    memory.files += 10 * MIB;
    clientsChange(0);
    await aSecond();
    expect(memory.takeDone()).toEqual(['release']);
  });

  it('without a collection while a client is there, after a burst of work', async () => {
    clientsChange(0);
    await aSecond();
    memory.takeDone();
    clientsChange(1);
    await aSecond();
    expect(memory.takeDone()).toEqual([]);
    memory.own += 30 * MIB;
    memory.share = 0.8;
    memory.makeGarbage();
    await aSecond();
    expect(memory.takeDone()).toEqual([]);
    memory.share = 0.05;
    await aSecond();
    expect(memory.takeDone()).toEqual(['trim', 'release']);
    expect(vi.getTimerCount()).toBe(0);
    expect(memory.isWatched).toBe(true);
  });

  it('and the garbage of that burst when the client has gone', async () => {
    clientsChange(0);
    await aSecond();
    clientsChange(1);
    memory.own += 30 * MIB;
    await aSecond();
    memory.takeDone();
    clientsChange(0);
    await aSecond();
    expect(memory.takeDone()).toEqual(['collect', 'trim', 'release']);
  });

  it('after other work for a quiet moment, whose failure ends nothing else', async () => {
    tidier.stop();
    const before = vi.fn(() => Promise.reject(new Error('no emulator')));
    tidier = new MemoryTidier({ hasClients: () => clients > 0, before, memory, log: silentLogger });
    tidier.look();
    await aSecond();
    expect(before).toHaveBeenCalledOnce();
    expect(memory.isWatched).toBe(true);
    clientsChange(1);
    await aSecond();
    expect(before).toHaveBeenCalledOnce();
  });

  it('no more once it is stopped, whatever was under way', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    vi.spyOn(memory, 'trim').mockReturnValue(promise);
    clientsChange(0);
    await aSecond();
    tidier.stop();
    resolve();
    await aSecond();
    tidier.look();
    expect(memory.isWatched).toBe(false);
  });
});
