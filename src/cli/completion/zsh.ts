/** The completion script for zsh, with descriptions. */
import { kindWord, lookupFunctions, quote, walkOverWords } from './shell.ts';
import { allCommands, type CommandNode, namedKinds, type OptionNode, pathKey } from './tree.ts';

const answers = { at: 'reply_at', kind: 'reply_kind' };

/** Formats the whole script. It works sourced, and as a file `_vireo` in a directory of $fpath. */
export function zshCompletion(root: CommandNode): string {
  const nodes = allCommands(root).map((node) => nodeCase(node, root.options));
  return `#compdef vireo
# Completion of vireo for zsh. Made by: vireo completion zsh

${lookupFunctions(root, answers)}

# Subcommands, options and arguments of the command $1, described as NAME:TEXT.
_vireo_command() {
  subcommands=() options=() arguments=() repeats=
  case "$1" in
${nodes.join('\n')}
  esac
}

_vireo_complete_kind() {
  local -a found
  case "$1" in
    words:*) found=(\${=1#words:}); compadd -a found ;;
    ${namedKinds.join(' | ')}) found=(\${(f)"$(\${words[1]} $globals __complete "\${1}s" 2>/dev/null)"}); compadd -a found ;;
    file) _files ;;
  esac
}

_vireo() {
  local at='' word pending='' reply_at reply_kind repeats
  local -i position=0 index
  local -a subcommands options arguments globals
${walkOverWords(answers, { from: 2, to: 'CURRENT', word: '${(Q)words[index]}' })}
  if [[ \${words[CURRENT]} == -* ]]; then
    _describe option options
  elif (( \${#subcommands} )); then
    _describe command subcommands
  else
    if (( position >= \${#arguments} )) && [[ -n $repeats ]]; then position=$((\${#arguments} - 1)); fi
    _vireo_complete_kind "\${arguments[position + 1]-}"
  fi
}

if [[ \${funcstack[1]} == _vireo ]]; then
  _vireo "$@"
else
  compdef _vireo vireo
fi
`;
}

/** `name:text` for _describe, which takes a colon as the divider. */
function described(name: string, text: string): string {
  return quote(`${name.replaceAll(':', '\\:')}:${text}`);
}

function nodeCase(node: CommandNode, topOptions: readonly OptionNode[]): string {
  const subcommands = node.commands.map((child) => described(child.names[0] ?? '', child.summary));
  const seen = new Set<string>();
  const options = [...node.options, ...topOptions].flatMap((option) =>
    option.flags.flatMap((flag) => {
      if (seen.has(flag)) return [];
      seen.add(flag);
      return described(flag, option.description);
    }),
  );
  const args = node.args.map((value) => quote(kindWord(value)));
  return `    ${quote(pathKey(node))}) subcommands=(${subcommands.join(' ')}) options=(${options.join(' ')}) arguments=(${args.join(' ')}) repeats=${node.isRepeating ? '1' : ''} ;;`;
}
