/** Options with limits of disks, as `domain disk limit` and `domain throttle-group set` take them. */
import type { Command } from 'commander';
import type { ParamsInput } from '../../api/index.ts';
import { parseSize } from '../../base/units.ts';
import { parseCount } from '../options/fields.ts';

export interface LimitOptions {
  readonly bytes?: string;
  readonly readBytes?: string;
  readonly writeBytes?: string;
  readonly iops?: string;
  readonly readIops?: string;
  readonly writeIops?: string;
}

type Limits = ParamsInput<'domain.throttle-group.set'>['limits'];

/** Adds the options to a verb. */
export function addLimitOptions(verb: Command): Command {
  return verb
    .option('--bytes <size>', 'Bytes a second, like 50MiB.')
    .option('--read-bytes <size>', 'Bytes read a second.')
    .option('--write-bytes <size>', 'Bytes written a second.')
    .option('--iops <number>', 'Operations a second.')
    .option('--read-iops <number>', 'Reads a second.')
    .option('--write-iops <number>', 'Writes a second.');
}

/** The limits that are given. @throws VirtError request.invalid naming the option */
export function readLimits(options: LimitOptions): Limits {
  const size = (text: string | undefined) => (text === undefined ? undefined : parseSize(text));
  const number = (option: string, text: string | undefined) =>
    text === undefined ? undefined : parseCount(option, text, { min: 0, max: Number.MAX_SAFE_INTEGER });
  const all = {
    totalBytesSec: size(options.bytes),
    readBytesSec: size(options.readBytes),
    writeBytesSec: size(options.writeBytes),
    totalIopsSec: number('--iops', options.iops),
    readIopsSec: number('--read-iops', options.readIops),
    writeIopsSec: number('--write-iops', options.writeIops),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** Limits as one line for people. */
export const limitsText = (limits: Readonly<Record<string, unknown>>): string =>
  Object.entries(limits)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(' ') || 'none';
