/** This process's own memory: how much it has, and what it gives back to the kernel while it has nothing to do. */
import { readFileSync, readlinkSync } from 'node:fs';
import { check, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  mallocTrim: lib.func('int malloc_trim(size_t kept)'),
  madvise: lib.func('int madvise(uintptr_t address, size_t length, int advice)'),
}));

/**
 * Gives the kernel back what the C library keeps of freed memory (malloc_trim(3)). On another thread: a millisecond, but 15 and
 * more after a burst, and whoever allocates meanwhile waits for one arena at most.
 */
export function trimFreedMemory(): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  libc().mallocTrim.async(0, (error: unknown) => {
    if (error) reject(new Error('malloc_trim could not be called', { cause: error }));
    else resolve();
  });
  return promise;
}

/** Resident memory of this process in bytes; `own` is what no file backs (proc(5), status). */
export function residentMemory(): { readonly all: number; readonly own: number } {
  const status = readFileSync('/proc/self/status', 'latin1');
  const bytes = (field: string): number =>
    1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  return { all: bytes('VmRSS'), own: bytes('RssAnon') };
}

/** A mapping of this process, in bytes. */
interface Mapping {
  readonly start: number;
  readonly end: number;
}

/** The mappings of program text in a text of the form of /proc/PID/maps (proc(5)): code from files, that nobody writes to. */
export function programTextIn(maps: string): Mapping[] {
  return [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ [1-9]\d* +\//gm)].map(toMapping);
}

/**
 * The mappings of a program's constants in a text of the form of /proc/PID/smaps: read-only, from that file, and without a
 * page that was ever written to, as the linker does with those that hold addresses before it protects them.
 */
export function programConstantsIn(smaps: string, program: string): Mapping[] {
  return smaps
    .split(/^(?=[0-9a-f]+-)/m)
    .map((block) =>
      /^([0-9a-f]+)-([0-9a-f]+) r--p \S+ \S+ [1-9]\d* +(\/.*)\n[^]*^Anonymous: +0 kB$/m.exec(block),
    )
    .filter((match) => match?.[3] === program)
    .map((match) => toMapping(match ?? []));
}

function toMapping([, start = '', end = '']: readonly string[]): Mapping {
  return { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) };
}

/** Those of Node itself: they stay as execve(2) made them. Found once, for smaps takes milliseconds. */
let constants: readonly Mapping[] | undefined;

/**
 * Lets go of the pages of program text and constants that this process has touched: most were for its start only. They stay in
 * the kernel's page cache, to be dropped by it when memory is short, and one that is needed again is mapped again, 16 at a
 * time, without a read. They are never written to, so that nothing can be lost by it (madvise(2), MADV_DONTNEED). A millisecond
 * or two; whoever comes next waits about as long for what it needs of them.
 */
export function releaseProgramPages(): void {
  const MADV_DONTNEED = 4; // asm-generic/mman-common.h
  constants ??= programConstantsIn(
    readFileSync('/proc/self/smaps', 'latin1'),
    readlinkSync('/proc/self/exe'),
  );
  const text = programTextIn(readFileSync('/proc/self/maps', 'latin1'));
  for (const { start, end } of [...text, ...constants])
    check('madvise', libc().madvise(start, end - start, MADV_DONTNEED));
}
