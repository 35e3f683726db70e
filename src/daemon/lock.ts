/** The lock that lets one daemon alone serve a set of paths; the kernel gives it back when the process ends. */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { fileError, VirtError } from '../base/errors.ts';
import { tryLock } from '../base/ffi.ts';

/** Locks that this process has: the kernel would refuse them to a second descriptor of ours. */
const held = new Set<string>();

/**
 * Takes the lock and writes our pid into the file. A lock that this process has stays as it is.
 * @throws VirtError daemon.running with the holder's pid
 */
export function takeLock(path: string): void {
  if (held.has(path)) return;
  let fd: number;
  try {
    fd = openSync(path, 'a+', 0o600);
  } catch (error) {
    throw fileError(error, 'lock the runtime directory', path);
  }
  if (!tryLock(fd)) {
    const holder = readFileSync(path, 'utf8').trim();
    closeSync(fd);
    throw new VirtError('daemon.running', {
      wanted: 'start the daemon',
      reason: `another daemon serves these paths${/^\d+$/.test(holder) ? `, process ${holder}` : ''}`,
      hint: 'use it, stop it, or choose another --root',
      details: { lock: path, pid: holder },
    });
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  held.add(path);
  // The descriptor stays open for the life of the process: closing it would give the lock back.
}
