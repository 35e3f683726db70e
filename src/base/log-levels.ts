/** What the log can be told to keep; apart from the log, so that a command line is read without loading that. */

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];
