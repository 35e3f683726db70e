/** Starts programs without privileges by way of one thread, so that no program in between has to drop them. */
import { Worker } from 'node:worker_threads';
import { canSwitchThread, rebuildError, type ThreadIdentity } from './ffi/credentials.ts';
import type { SpawnRequest } from './ffi/spawn.ts';
import type { WantedLimit } from './limit-child.ts';
import type { ThreadAnswer, ThreadRequest } from './spawn-thread.ts';

type Waiting = PromiseWithResolvers<number>;

/** Beside this file in the sources and among the modules of dist/; the bundles lie in neighbouring directories. */
const threadFile = new URL(
  `../base/spawn-thread${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`,
  import.meta.url,
);

/** The thread, from when it is first wanted; a Node thread is there after some 40 ms. */
class Spawner {
  private worker: Worker | undefined;
  private isReady = false;
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;

  /**
   * True when `spawn` can be called and is not busy: it sleeps until its child has executed, so many starts at once are
   * better spread over the threads of the pool. False until the thread is there, and where it cannot be.
   */
  get isAvailable(): boolean {
    if (this.worker === undefined && canSwitchThread) this.start();
    return this.isReady && this.waiting.size === 0;
  }

  /**
   * Starts a program that can gain no privileges, and limits it; as root with the identity's ids and no capability.
   * @throws FfiError
   */
  spawn(
    request: SpawnRequest,
    identity: ThreadIdentity | undefined,
    limits: readonly WantedLimit[],
  ): Promise<number> {
    this.lastId += 1;
    const waiting = Promise.withResolvers<number>();
    this.waiting.set(this.lastId, waiting);
    this.worker?.postMessage({ id: this.lastId, request, identity, limits } satisfies ThreadRequest);
    return waiting.promise;
  }

  private start(): void {
    const worker = new Worker(threadFile, {
      env: {},
      // It runs a hundred lines: small heaps keep it at some megabytes.
      resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 },
    });
    this.worker = worker;
    worker.unref();
    worker.on('message', (answer: ThreadAnswer) => this.take(answer));
    worker.on('error', (error) => this.fail(error));
    worker.on('exit', () => this.fail(new Error('the thread that starts programs has ended')));
  }

  private take(answer: ThreadAnswer): void {
    if (answer === 'ready') {
      this.isReady = true;
      return;
    }
    const waiting = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ('pid' in answer) waiting?.resolve(answer.pid);
    else waiting?.reject(rebuildError(answer));
  }

  /** Whoever waits is told; there is no second thread after one that failed: setpriv serves. */
  private fail(error: unknown): void {
    this.isReady = false;
    for (const waiting of this.waiting.values()) waiting.reject(error);
    this.waiting.clear();
  }
}

/** One for the process. */
export const spawner = new Spawner();
