/** The completion script for fish. */
import { steps, valueOptions } from './shell.ts';
import { allCommands, type CommandNode, type OptionNode, pathKey, type ValueKind } from './tree.ts';

/** A text as one fish word: only backslash and quote are special in single quotes. */
function fishQuote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

/** Where the cursor is, in fish's own words: they depend on no command. */
const placeFunctions = `# Prints the command the cursor is at, then the number of arguments before it, then -c or --root with its value.
function __vireo_place
    set -l at ''
    set -l position 0
    set -l pending ''
    set -l globals
    set -l tokens (commandline -opc)
    for word in $tokens[2..-1]
        if test -n "$pending"
            contains -- $pending -c --connect --root
            and set -a globals $pending $word
            set pending ''
        else if string match -q -- '-*' $word
            if not string match -q -- '*=*' $word; and __vireo_takes_value "$at" $word
                set pending $word
            end
        else if set -l next (__vireo_step "$at" $word)
            set at $next
        else
            set position (math $position + 1)
        end
    end
    printf '%s\\n' "$at" $position $globals
end

# True when the cursor is at the command $argv[1].
function __vireo_at
    set -l place (__vireo_place)
    test "$place[1]" = "$argv[1]"
end

# True at argument number $argv[2] (from 0) of the command $argv[1]; with a third word, at any later one too.
function __vireo_at_argument
    set -l place (__vireo_place)
    test "$place[1]" = "$argv[1]"; or return 1
    test $place[2] -eq $argv[2]; and return 0
    set -q argv[3]; and test $place[2] -gt $argv[2]
end

function __vireo_names
    set -l place (__vireo_place)
    vireo $place[3..-1] __complete $argv[1] 2>/dev/null
end`;

/** Formats the whole script. `vireo completion fish | source` switches it on. */
export function fishCompletion(root: CommandNode): string {
  const walks = steps(root).map(
    ({ from, word, to }) => `        case ${fishQuote(`${from}/${word}`)}\n            echo ${fishQuote(to)}`,
  );
  const values = valueOptions(root).map(({ at, flag }) => fishQuote(`${at}/${flag}`));
  const lines = allCommands(root).flatMap((node) => nodeLines(node));
  return `# Completion of vireo for fish. Made by: vireo completion fish

# Where the word $argv[2] leads from the command $argv[1].
function __vireo_step
    switch "$argv[1]/$argv[2]"
${walks.join('\n')}
        case '*'
            return 1
    end
end

function __vireo_takes_value
    contains -- "$argv[1]/$argv[2]" ${values.join(' ')}
    or contains -- "/$argv[2]" ${values.join(' ')}
end

${placeFunctions}

complete -c vireo -f
${lines.join('\n')}
`;
}

function nodeLines(node: CommandNode): string[] {
  const at = fishQuote(pathKey(node));
  const isTop = node.path.length === 0;
  const condition = isTop ? '' : ` -n "__vireo_at ${at}"`;
  return [
    ...node.commands.map(
      (child) =>
        `complete -c vireo -n "__vireo_at ${at}" -a ${fishQuote(child.names[0] ?? '')} -d ${fishQuote(child.summary)}`,
    ),
    ...node.options
      // Help is offered once, everywhere.
      .filter((option) => isTop || !option.flags.includes('--help'))
      .map(
        (option) =>
          `complete -c vireo${condition}${flagWords(option)}${valueWords(option.value)} -d ${fishQuote(option.description)}`,
      ),
    ...node.args.map((value, index) => {
      const later = node.isRepeating && index === node.args.length - 1 ? ' later' : '';
      return `complete -c vireo -n "__vireo_at_argument ${at} ${index}${later}"${argumentWords(value)}`;
    }),
  ];
}

function flagWords(option: OptionNode): string {
  return option.flags
    .map((flag) => (flag.startsWith('--') ? ` -l ${flag.slice(2)}` : ` -s ${flag.slice(1)}`))
    .join('');
}

/** -x: takes a value, and no file; -r: takes a value. */
function valueWords(value: ValueKind | undefined): string {
  if (value === undefined) return '';
  return value.kind === 'file' ? ' -r -F' : ` -x${argumentWords(value)}`;
}

function argumentWords(value: ValueKind): string {
  switch (value.kind) {
    case 'words':
      return ` -a ${fishQuote(value.words.join(' '))}`;
    case 'domain':
    case 'network':
    case 'pool':
    case 'volume':
    case 'secret':
      return ` -a '(__vireo_names ${value.kind}s)'`;
    case 'file':
      return ' -F';
    case 'any':
      return '';
  }
}
