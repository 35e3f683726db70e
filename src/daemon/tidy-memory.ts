/** Gives memory back when there is nothing to do: start-up and bursts leave garbage that V8 and glibc alone would keep for long. */
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { reasonOf } from '../base/errors.ts';
import { releaseProgramPages, residentMemory, trimFreedMemory } from '../base/ffi.ts';
import type { Logger } from '../base/log.ts';

/** So long there must have been next to nothing to do. */
const QUIET_MS = 1000;
/** Of that time the main thread may have worked so much: a client that asks for a little now and then is no burst. */
const QUIET_SHARE = 0.1;
const MIB = 1024 * 1024;
/** By so much the memory must have grown since it was tidied last: each time costs processor time. */
const WORTHWHILE = { own: 4 * MIB, all: 8 * MIB } as const;

/** What a tidier does and sees; tests have their own. */
export interface TidiedMemory {
  /** Bytes; `own` is what no file backs. */
  resident(): { readonly all: number; readonly own: number };
  /** Collects all garbage, some 20 to 50 ms during which nobody is served. */
  collect(): void;
  /** Gives freed memory to the kernel. */
  trim(): Promise<void>;
  /** Lets go of pages of the program's own file. */
  releaseProgram(): void;
  /** The share of the time since it was last called in which the main thread worked. */
  workedShare(): number;
  /** Calls once, after the next collection of garbage, however small: a sign of work. What it returns calls that off. */
  onGarbage(then: () => void): () => void;
}

export interface TidierOptions {
  readonly hasClients: () => boolean;
  /** Other work for a moment without clients, which leaves garbage too; it ends early when one comes. */
  readonly before?: () => Promise<void>;
  readonly memory?: TidiedMemory;
  readonly log: Logger;
}

/**
 * A second after the last client has gone, collects all garbage and gives the freed memory and unused program pages to the
 * kernel. While clients are there, it only gives back what is free already, after each burst, when there is a quiet moment:
 * nobody waits more than a millisecond or two. No timer runs while nothing happens.
 */
export class MemoryTidier {
  private readonly options: TidierOptions;
  private readonly memory: TidiedMemory;
  private timer: NodeJS.Timeout | undefined;
  private stopWatching: (() => void) | undefined;
  /** As it was after it was tidied last, and `own` after all garbage was collected last. */
  private tidied = { all: 0, own: 0 };
  private collectedOwn = 0;
  private isStopped = false;

  constructor(options: TidierOptions) {
    this.options = options;
    this.memory = options.memory ?? processMemory();
  }

  /** To be called when a client came or went. */
  look(): void {
    if (this.isStopped) return;
    this.stopWatching?.();
    this.stopWatching = undefined;
    clearTimeout(this.timer);
    this.memory.workedShare();
    this.timer = setTimeout(() => void this.onTime(), QUIET_MS);
    this.timer.unref();
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
    this.stopWatching?.();
  }

  private async onTime(): Promise<void> {
    const { hasClients, before, log } = this.options;
    const isFree = !hasClients();
    if (!isFree && this.memory.workedShare() > QUIET_SHARE) return this.look();
    const { timer } = this;
    try {
      if (isFree) await before?.();
      await this.tidy();
    } catch (error) {
      log.warn({ reason: reasonOf(error) }, 'memory could not be given back');
    }
    // A client that came or went meanwhile has begun the next turn.
    if (this.timer === timer && !this.isStopped) this.stopWatching = this.memory.onGarbage(() => this.look());
  }

  private async tidy(): Promise<void> {
    const { memory, tidied, collectedOwn } = this;
    const now = memory.resident();
    const mayCollect = !this.options.hasClients() && now.own - collectedOwn >= WORTHWHILE.own;
    const isGrown = mayCollect || now.own - tidied.own >= WORTHWHILE.own;
    if (!isGrown && now.all - tidied.all < WORTHWHILE.all) return;
    if (mayCollect) memory.collect();
    if (isGrown) await memory.trim();
    memory.releaseProgram();
    this.tidied = memory.resident();
    if (mayCollect) this.collectedOwn = this.tidied.own;
  }
}

/** That of this process. */
function processMemory(): TidiedMemory {
  // V8's collector, which Node shows only with a flag at start; the flag can be set for a new context, too.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;
  let utilization = performance.eventLoopUtilization();
  return {
    resident: residentMemory,
    collect: () => collect({ type: 'major', flavor: 'last-resort' }),
    trim: trimFreedMemory,
    releaseProgram: releaseProgramPages,
    workedShare() {
      const before = utilization;
      utilization = performance.eventLoopUtilization();
      return performance.eventLoopUtilization(utilization, before).utilization;
    },
    onGarbage,
  };
}

function onGarbage(then: () => void): () => void {
  const observer = new PerformanceObserver(() => {
    observer.disconnect();
    then();
  });
  observer.observe({ type: 'gc' });
  return () => observer.disconnect();
}
