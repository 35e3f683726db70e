/** The data and the holes of an open file, in order: holes are found without being read, where the file system tells. */
import type { FileHandle } from 'node:fs/promises';
import { errnoOf } from './errors.ts';
import { seekData, seekHole } from './ffi/ranges.ts';

/** A part of a file. Positions in bytes. */
export interface Segment {
  readonly kind: 'data' | 'hole';
  readonly start: number;
  readonly end: number;
}

/** Parts from `start` to `end`; all of it counts as data where holes cannot be asked for (devices, some file systems). */
export function* segmentsOf(
  handle: Pick<FileHandle, 'fd'>,
  start: number,
  end: number,
): Generator<Segment, void> {
  for (let at = start; at < end; ) {
    const data = dataAt(handle.fd, at);
    const dataStart = Math.min(data ?? end, end);
    if (dataStart > at) yield { kind: 'hole', start: at, end: dataStart };
    if (dataStart >= end) return;
    const dataEnd = Math.min(holeAt(handle.fd, dataStart) ?? end, end);
    yield { kind: 'data', start: dataStart, end: dataEnd };
    at = dataEnd;
  }
}

/** A device or an old file system knows no holes (lseek(2)). */
const unknown: readonly (string | undefined)[] = ['EINVAL', 'EOPNOTSUPP', 'ESPIPE'];

function dataAt(fd: number, at: number): number | undefined {
  try {
    return seekData(fd, at);
  } catch (error) {
    if (unknown.includes(errnoOf(error))) return at;
    throw error;
  }
}

function holeAt(fd: number, at: number): number | undefined {
  try {
    const found = seekHole(fd, at);
    // A file that others cut meanwhile must not hold us here for ever.
    return found > at ? found : undefined;
  } catch (error) {
    if (unknown.includes(errnoOf(error)) || errnoOf(error) === 'ENXIO') return undefined;
    throw error;
  }
}
