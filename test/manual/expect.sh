# Sourced by walks: `expect` says whether what was seen fits, and goes on; `tell_end` says how many did not, and fails then.
failures=0
fail() {
  echo "FAILED  $1"
  failures=$((failures + 1))
}
expect() { # what, pattern, text
  if grep -Eq "$2" <<<"$3"; then echo "ok      $1"; else fail "$1: $3"; fi
}
tell_end() {
  echo "$failures failed"
  [ "$failures" = 0 ]
}
