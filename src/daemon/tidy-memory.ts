/** Gives memory back when nobody is served: start-up and bursts leave garbage that V8 alone would keep for long. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { releaseProgramText, trimFreedMemory } from '../base/ffi.ts';

/** So long there must have been no client. */
const QUIET_MS = 1000;

/**
 * Collects all garbage (some 20 ms) and gives the freed memory and unused program text to the kernel, once after the last client has gone, never
 * while one is connected. No timer runs otherwise.
 */
export class MemoryTidier {
  private readonly isBusy: () => boolean;
  private readonly collect: () => void;
  private readonly before: () => Promise<void>;
  private timer: NodeJS.Timeout | undefined;

  /** `before` is other work for a quiet moment, which leaves garbage too; it ends early when a client comes. */
  constructor(
    isBusy: () => boolean,
    before: () => Promise<void> = async () => undefined,
    collect: () => void = garbageCollector(),
  ) {
    this.isBusy = isBusy;
    this.before = before;
    this.collect = collect;
  }

  /** To be called when a client came or went. */
  look(): void {
    clearTimeout(this.timer);
    if (this.isBusy()) return;
    this.timer = setTimeout(() => void this.tidy(), QUIET_MS);
    this.timer.unref();
  }

  private async tidy(): Promise<void> {
    if (!this.isBusy()) await this.before();
    if (!this.isBusy()) this.collect();
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}

/** V8's collector, which Node shows only with a flag at start; the flag can be set for a new context, too. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;
  return () => {
    collect({ type: 'major', flavor: 'last-resort' });
    // glibc keeps it: 10 MiB after a start.
    trimFreedMemory();
    releaseProgramText();
  };
}
