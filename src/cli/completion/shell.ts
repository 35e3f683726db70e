/**
 * What the three completion scripts have in common: tables, as shell `case` statements, keyed by where in the command
 * tree the cursor is. bash and zsh share the syntax; fish has its own.
 */
import { allCommands, type CommandNode, pathKey, type ValueKind } from './tree.ts';

/** A text as one shell word. Works for bash and zsh. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A value kind as one word of a table: `domain`, `volume`, `file`, `any`, or `words:a b c`. */
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

/** Names of shell variables that answers go to: where a word leads, and what an option takes. */
interface Answers {
  readonly at: string;
  readonly kind: string;
}

/** The two functions that bash and zsh look things up with; in both they are `case` statements over `COMMAND/WORD`. */
export function lookupFunctions(root: CommandNode, answers: Answers): string {
  const walks = steps(root).map(
    ({ from, word, to }) => `    ${quote(`${from}/${word}`)}) ${answers.at}=${quote(to)} ;;`,
  );
  const values = valueOptions(root).map(
    ({ at, flag, kind }) =>
      `    ${at === '' ? `*${quote(`/${flag}`)}` : quote(`${at}/${flag}`)}) ${answers.kind}=${quote(kind)} ;;`,
  );
  return `# Where the word $2 leads from the command $1.
_vireo_step() {
  case "$1/$2" in
${walks.join('\n')}
    *) ${answers.at}='' ; return 1 ;;
  esac
}

# What the option $2 of the command $1 takes; fails for a switch.
_vireo_value() {
  case "$1/$2" in
${values.join('\n')}
    *) ${answers.kind}='' ; return 1 ;;
  esac
}`;
}

/**
 * The walk over the words before the current one, which ends with `at` (the command), `position` (how many arguments it
 * has had), `globals` (options that choose the daemon), and `pending`, an option whose value is the current word.
 */
export function walkOverWords(
  answers: Answers,
  loop: { readonly from: number; readonly to: string; readonly word: string },
): string {
  return `  for ((index = ${loop.from}; index < ${loop.to}; index++)); do
    word=${loop.word}
    if [[ -n $pending ]]; then
      case $pending in -c | --connect | --root) globals+=("$pending" "$word") ;; esac
      pending=''
    elif [[ $word == -* ]]; then
      if [[ $word != *=* ]] && _vireo_value "$at" "$word"; then pending=$word; fi
    elif _vireo_step "$at" "$word"; then
      at=$${answers.at}
    else
      position=$((position + 1))
    fi
  done
  if [[ -n $pending ]]; then
    _vireo_value "$at" "$pending"
    _vireo_complete_kind "$${answers.kind}"
    return
  fi
  _vireo_command "$at"`;
}
