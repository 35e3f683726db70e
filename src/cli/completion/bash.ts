/** The completion script for bash (4.0 or newer). */
import { kindWord, lookupFunctions, quote, walkOverWords } from './shell.ts';
import { allCommands, type CommandNode, namedKinds, pathKey } from './tree.ts';

const answers = { at: 'REPLY', kind: 'REPLY' };

/** Formats the whole script. `source <(vireo completion bash)` switches it on. */
export function bashCompletion(root: CommandNode): string {
  const topFlags = flagsOf(root);
  const nodes = allCommands(root).map((node) => nodeCase(node, topFlags));
  return `# Completion of vireo for bash. Made by: vireo completion bash

${lookupFunctions(root, answers)}

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
    ${namedKinds.join(' | ')}) _vireo_offer "$("\${COMP_WORDS[0]}" "\${globals[@]}" __complete "$1s" 2>/dev/null)" ;;
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
  esac
}

_vireo() {
  local at='' current=\${COMP_WORDS[COMP_CWORD]} position=0 index word REPLY pending=''
  local subcommands options arguments repeats
  local -a globals=()
  COMPREPLY=()
${walkOverWords(answers, { from: 1, to: 'COMP_CWORD', word: '${COMP_WORDS[index]}' })}
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
