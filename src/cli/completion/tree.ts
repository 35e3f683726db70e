/** The command tree as completions need it: data, read from the commander tree. */
import type { Command, Option } from 'commander';

/** Objects whose names the daemon is asked for, as arguments call them. */
export const namedKinds = ['domain', 'network', 'pool', 'volume', 'secret'] as const;
export type NamedKind = (typeof namedKinds)[number];

/** What a value can be: one of some words, the name of an object, a file, or anything. */
export type ValueKind =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: NamedKind | 'file' | 'any' };

export interface OptionNode {
  /** All spellings: `-c`, `--connect`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** Undefined for a switch. */
  readonly value?: ValueKind;
}

export interface CommandNode {
  /** From the top: `[]`, `['domain']`, `['domain', 'start']`; always the first name, never an alias. */
  readonly path: readonly string[];
  readonly names: readonly string[];
  readonly summary: string;
  readonly options: readonly OptionNode[];
  readonly commands: readonly CommandNode[];
  /** Its arguments in order; the last one may repeat. */
  readonly args: readonly ValueKind[];
  readonly isRepeating: boolean;
}

const FILE_NAMES = /^(file|dir|path|image)$/;

function kindOf(name: string, choices: readonly string[] | undefined): ValueKind {
  if (choices !== undefined) return { kind: 'words', words: choices };
  const kind = namedKinds.find((one) => one === name.replace(/\.\.\.$/, ''));
  if (kind !== undefined) return { kind };
  return { kind: FILE_NAMES.test(name) ? 'file' : 'any' };
}

function optionNode(option: Option): OptionNode {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined && flag !== null);
  const { description } = option;
  if (!option.required && !option.optional) return { flags, description };
  const name = /[<[]([^>\]]*)/.exec(option.flags)?.[1] ?? '';
  return { flags, description, value: kindOf(name, option.argChoices) };
}

const helpOption: OptionNode = { flags: ['-h', '--help'], description: 'Show help.' };

/** Reads the tree below a command; hidden commands are left out. */
export function commandTree(command: Command, path: readonly string[] = []): CommandNode {
  const visible = command.createHelp().visibleCommands(command);
  const commands = visible
    .filter((child) => child.name() !== 'help')
    .map((child) => commandTree(child, [...path, child.name()]));
  const args = command.registeredArguments;
  return {
    path,
    names: [command.name(), ...command.aliases()],
    summary: command.summary() || command.description(),
    options: [...command.options.filter((option) => !option.hidden).map(optionNode), helpOption],
    commands,
    args: args.map((argument) => kindOf(argument.name(), argument.argChoices)),
    isRepeating: args.at(-1)?.variadic ?? false,
  };
}

/** The tree as a list, parents first. */
export function allCommands(root: CommandNode): CommandNode[] {
  return [root, ...root.commands.flatMap(allCommands)];
}

/** The key of a command in the scripts' tables: its path, joined by blanks. */
export function pathKey(node: CommandNode): string {
  return node.path.join(' ');
}
