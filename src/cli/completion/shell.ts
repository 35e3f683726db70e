/**
 * What the three completion scripts have in common: tables, as shell `case` statements, keyed by where in the command
 * tree the cursor is. bash and zsh share the syntax; fish has its own.
 */
import { allCommands, type CommandNode, pathKey, type ValueKind } from './tree.ts';

/** A text as one shell word. Works for bash and zsh. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A value kind as one word of a table: `domain`, `network`, `file`, `any`, or `words:a b c`. */
export function kindWord(value: ValueKind): string {
  return value.kind === 'words' ? `words:${value.words.join(' ')}` : value.kind;
}

/** Words that lead from a command to a subcommand, as `key word -> key`. */
export function steps(
  root: CommandNode,
): { readonly from: string; readonly word: string; readonly to: string }[] {
  return allCommands(root).flatMap((node) =>
    node.commands.flatMap((child) =>
      child.names.map((word) => ({ from: pathKey(node), word, to: pathKey(child) })),
    ),
  );
}

/** Options that take a value, by command, with every spelling. The top's options hold everywhere. */
export function valueOptions(
  root: CommandNode,
): { readonly at: string; readonly flag: string; readonly kind: string }[] {
  return allCommands(root).flatMap((node) =>
    node.options.flatMap(({ flags, value }) =>
      value === undefined ? [] : flags.map((flag) => ({ at: pathKey(node), flag, kind: kindWord(value) })),
    ),
  );
}
