/** Bytes handed to a program as a file in memory: without a name, and final for whoever opens it. */
import { writeSync } from 'node:fs';
import { close, memfdCreate, sealMemfd } from './ffi/files.ts';

/**
 * A descriptor of sealed memory with these bytes; whoever asked closes it. `name` shows in /proc only.
 * @throws VirtError system.call
 */
export function sealedMemory(name: string, bytes: Uint8Array): number {
  const fd = memfdCreate(name);
  try {
    for (let written = 0; written < bytes.length; )
      written += writeSync(fd, bytes, written, bytes.length - written);
    sealMemfd(fd);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}
