/** This process's own memory: what it gives back to the kernel while it has nothing to do. */
import { readFileSync } from 'node:fs';
import { check, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  mallocTrim: lib.func('int malloc_trim(size_t kept)'),
  madvise: lib.func('int madvise(uintptr_t address, size_t length, int advice)'),
}));

/** Gives the kernel back what the C library keeps of freed memory (malloc_trim(3)); some milliseconds. */
export function trimFreedMemory(): void {
  libc().mallocTrim(0);
}

/** A mapping of this process, in bytes. */
interface Mapping {
  readonly start: number;
  readonly end: number;
}

/** The mappings of program text in a text of the form of /proc/PID/maps (proc(5)): code from files, that nobody writes to. */
export function programTextIn(maps: string): Mapping[] {
  return [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ [1-9]\d* +\//gm)].map(([, start, end]) => ({
    start: Number.parseInt(start ?? '', 16),
    end: Number.parseInt(end ?? '', 16),
  }));
}

/**
 * Lets go of the pages of program text that this process has touched: most were for its start only. They stay in the
 * kernel's page cache, to be dropped by it when memory is short, and one that is needed again is mapped again, 16 at a
 * time, without a read. Text is never written to, so that nothing can be lost by it (madvise(2), MADV_DONTNEED).
 */
export function releaseProgramText(): void {
  const MADV_DONTNEED = 4; // asm-generic/mman-common.h
  for (const { start, end } of programTextIn(readFileSync('/proc/self/maps', 'latin1')))
    check('madvise', libc().madvise(start, end - start, MADV_DONTNEED));
}
