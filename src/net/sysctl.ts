/**
 * Kernel settings below /proc/sys/net. Read and written synchronously: procfs never waits for a disk, and the files
 * show the network namespace of the very thread that opens them, which a thread pool need not share.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, fileError } from '../base/errors.ts';

const directory = '/proc/sys/net';

/** The value without its line end; undefined where the kernel has no such setting (IPv6 switched off). */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(join(directory, name), 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fileError(error, 'read a kernel setting', join(directory, name));
  }
}

/** Sets a value if it differs; true when it was changed. @throws VirtError file.* */
export function writeSysctl(name: string, value: string): boolean {
  const before = readSysctl(name);
  if (before === undefined || before === value) return false;
  try {
    writeFileSync(join(directory, name), value);
    return true;
  } catch (error) {
    throw fileError(error, 'change a kernel setting', join(directory, name));
  }
}
