/** How commands are declared: one function makes a command, and it can be put in more than one place. */
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

/** Adds one command, with its options, arguments and action, below `parent`. */
export type AddCommand = (parent: Command, cli: Cli) => void;

/** Collects an option that may be given several times. */
export function collect(value: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), value];
}
