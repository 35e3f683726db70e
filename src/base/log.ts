/** The daemon's log: pino on stderr, as JSON for machines or pretty for a terminal. */
import { type DestinationStream, destination, type Logger as PinoLogger, pino } from 'pino';
import { oneLine, VirtError } from './errors.ts';
import type { LogLevel } from './log-levels.ts';

export type Logger = PinoLogger;

export interface LogOptions {
  readonly level: LogLevel;
  /** JSON is what this writes; a stream may make something else of it. */
  readonly format?: 'json';
  /** Where to write (`prettyStream` for people); stderr when left out. */
  readonly stream?: DestinationStream;
}

/** An error as the log keeps it: the code and facts of ours, the stack of a bug. */
function errorFacts(error: Error): object {
  if (error instanceof VirtError)
    return { code: error.code, message: error.message, hint: error.hint, details: error.details };
  return { type: error.name, message: oneLine(error.message), stack: error.stack };
}

export function createLogger(options: LogOptions): Logger {
  // Synchronous: what was logged before a crash is on disk, and the volume is small.
  const stream = options.stream ?? destination({ dest: 2, sync: true });
  return pino(
    { level: options.level, base: null, serializers: { err: errorFacts, error: errorFacts } },
    stream,
  );
}

/** Stderr, in lines and colours for a person at a terminal; loaded only for one. */
export async function prettyStream(): Promise<DestinationStream> {
  const { default: pretty } = await import('pino-pretty');
  return pretty({ destination: 2, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' });
}

/** A logger that writes nothing, for tests. */
export const silentLogger: Logger = pino({ level: 'silent' });
