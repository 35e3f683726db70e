#!/bin/bash
# Gives every command of a list to one daemon and writes down what came of it:
#   ask-virsh.sh URI COMMANDS OUT
# The answer to line N of COMMANDS is OUT/N: the exit status in its first line, then what was printed.
set -u
export VIRSH="virsh -c $1" LC_ALL=C
commands=$2
cd "$3" || exit 1
number=0
while IFS= read -r line <&3; do
  number=$((number + 1))
  case $line in
    '#'* | '') continue ;;
    '! '*) command=${line#'! '} ;;
    *) command="timeout 30 $VIRSH $line" ;;
  esac
  eval "$command" >"$number.said" 2>&1 </dev/null
  { echo $?; cat "$number.said"; } >"$number"
  rm "$number.said"
done 3<"$commands"
