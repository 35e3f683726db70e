/** Writing to /sys and /proc, the other side of `HostFiles`. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileError } from '../base/errors.ts';

/** Writes a text to a file that is there; none is ever made. @throws VirtError file.* */
export type HostWriter = (path: string, text: string) => void;

/** For files below `root`. One write takes the whole text, as sysfs wants it. */
export function hostWriter(root = '/'): HostWriter {
  return (path, text) => {
    const at = join(root, path);
    let fd: number | undefined;
    try {
      fd = openSync(at, constants.O_WRONLY);
      writeSync(fd, text);
    } catch (error) {
      throw fileError(error, `set it to ${text.trim()}`, at);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  };
}
