/** The completion script for bash (4.0 or newer). */
import { kindWord, quote, steps, valueOptions } from './shell.ts';
import { allCommands, type CommandNode, pathKey } from './tree.ts';

/** Formats the whole script. `source <(vireo completion bash)` switches it on. */
export function bashCompletion(root: CommandNode): string {
  const topFlags = flagsOf(root);
  const walks = steps(root).map(
    ({ from, word, to }) => `    ${quote(`${from}/${word}`)}) REPLY=${quote(to)} ;;`,
  );
  const values = valueOptions(root).map(
    ({ at, flag, kind }) =>
      `    ${at === '' ? `*${quote(`/${flag}`)}` : quote(`${at}/${flag}`)}) REPLY=${quote(kind)} ;;`,
  );
  const nodes = allCommands(root).map((node) => nodeCase(node, topFlags));
  return `# Completion of vireo for bash. Made by: vireo completion bash

# Where the word $2 leads from the command $1.
_vireo_step() {
  case "$1/$2" in
${walks.join('\n')}
    *) REPLY='' ; return 1 ;;
  esac
}

# What the option $2 of the command $1 takes; fails for a switch.
_vireo_value() {
  case "$1/$2" in
${values.join('\n')}
    *) REPLY='' ; return 1 ;;
  esac
}

# Subcommands, options and arguments of the command $1.
_vireo_command() {
  subcommands='' options='' arguments=() repeats=
  case "$1" in
${nodes.join('\n')}
  esac
}

# Offers the lines of $1 that begin with the current word, quoted where a name needs it.
_vireo_offer() {
  local line
  while IFS= read -r line; do
    if [[ -n $line && $line == "$current"* ]]; then COMPREPLY+=("$(printf '%q' "$line")"); fi
  done <<< "$1"
}

_vireo_complete_kind() {
  case "$1" in
    words:*) local words=\${1#words:}; _vireo_offer "\${words// /$'\\n'}" ;;
    domain | network) _vireo_offer "$("\${COMP_WORDS[0]}" "\${globals[@]}" __complete "$1s" 2>/dev/null)" ;;
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
  esac
}

_vireo() {
  local at='' current=\${COMP_WORDS[COMP_CWORD]} position=0 index word REPLY pending=''
  local subcommands options arguments repeats
  local -a globals=()
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ -n $pending ]]; then
      case $pending in -c | --connect | --root) globals+=("$pending" "$word") ;; esac
      pending=''
    elif [[ $word == -* ]]; then
      if [[ $word != *=* ]] && _vireo_value "$at" "$word"; then pending=$word; fi
    elif _vireo_step "$at" "$word"; then
      at=$REPLY
    else
      position=$((position + 1))
    fi
  done
  if [[ -n $pending ]]; then
    _vireo_value "$at" "$pending"
    _vireo_complete_kind "$REPLY"
    return
  fi
  _vireo_command "$at"
  if [[ $current == -* ]]; then
    _vireo_offer "\${options// /$'\\n'}"
  elif [[ -n $subcommands ]]; then
    _vireo_offer "\${subcommands// /$'\\n'}"
  else
    if ((position >= \${#arguments[@]})) && [[ -n $repeats ]]; then position=$((\${#arguments[@]} - 1)); fi
    _vireo_complete_kind "\${arguments[position]-}"
  fi
}

complete -F _vireo vireo
`;
}

function flagsOf(node: CommandNode): string[] {
  return node.options.flatMap((option) => option.flags.filter((flag) => flag.startsWith('--')));
}

function nodeCase(node: CommandNode, topFlags: readonly string[]): string {
  const subcommands = node.commands.flatMap((child) => child.names.slice(0, 1));
  const options = [...new Set([...flagsOf(node), ...topFlags])];
  const args = node.args.map((value) => quote(kindWord(value)));
  return `    ${quote(pathKey(node))}) subcommands=${quote(subcommands.join(' '))} options=${quote(options.join(' '))} arguments=(${args.join(' ')}) repeats=${node.isRepeating ? '1' : ''} ;;`;
}
