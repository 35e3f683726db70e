/** How libc is reached: loaded once and late, each failed call an FfiError with its errno. */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import type { LibraryHandle } from 'koffi';

type Koffi = typeof import('koffi');

/** A failed libc call with its errno. `code` is the errno's name (`EACCES`), as in Node's own errors. */
export class FfiError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly call: string;

  constructor(call: string, errno: number) {
    const code = errnoName(errno);
    super(`${call}: ${code}`);
    this.name = 'FfiError';
    this.call = call;
    this.errno = errno;
    this.code = code;
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

let loaded: Koffi | undefined;

/** koffi, read at the first call: it costs about 7 MiB and 20 ms, which a client that needs none of it shouldn't pay. */
export function koffi(): Koffi {
  loaded ??= createRequire(import.meta.url)('koffi') as Koffi;
  return loaded;
}

let library: LibraryHandle | undefined;

/** The functions that a file needs of libc, declared at the first call. */
export function lazyLibrary<T>(declare: (lib: LibraryHandle) => T): () => T {
  let declared: T | undefined;
  return () => {
    library ??= koffi().load('libc.so.6');
    declared ??= declare(library);
    return declared;
  };
}

/** Throws when the call gave -1. */
export function check(call: string, result: number): number {
  if (result === -1) throw lastError(call);
  return result;
}

/** The error of the call that has just failed. */
export function lastError(call: string): FfiError {
  return new FfiError(call, koffi().errno());
}
