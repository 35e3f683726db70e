/**
 * Remembers what autostart has done in this life of the host, one object at a time: a daemon that dies in the middle of
 * it leaves the rest to the next one, and what was started once and then stopped is not started again. A file on RUN,
 * which a reboot clears; lines of uuids, and `done` at the end. Nobody waits for its fsync: a crash of the host clears
 * it anyway.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { errnoOf } from '../../base/errors.ts';

const FIRST_LINE = 'vireo autostart 1';
const DONE = 'done';

export class AutostartMarker {
  private readonly path: string;
  private readonly seen: ReadonlySet<string>;
  /** Nothing is left to be started. */
  readonly isDone: boolean;

  /** Reads the marker. @throws Error of the file system when it is there and cannot be read */
  constructor(path: string) {
    this.path = path;
    const lines = readLines(path);
    this.seen = new Set(lines?.slice(1));
    // An older daemon wrote an empty file, before it began.
    this.isDone = lines !== undefined && (lines[0] !== FIRST_LINE || this.seen.has(DONE));
    if (lines === undefined) writeFileSync(path, `${FIRST_LINE}\n`, { mode: 0o600 });
  }

  /** It was tried before, by this daemon or one before it. */
  has(uuid: string): boolean {
    return this.seen.has(uuid);
  }

  /** It has been tried, with whatever result. */
  note(uuid: string): void {
    appendFileSync(this.path, `${uuid}\n`);
  }

  /** All have been tried. */
  finish(): void {
    this.note(DONE);
  }
}

/** Undefined when there is none. */
function readLines(path: string): string[] | undefined {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
