#!/bin/sh
# npm run check: formatting, types, lint, dead code, generated pages. A few seconds; touches nothing. Every check runs,
# so that one call tells everything there is to mend.
set -u
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/node_modules/.bin:$PWD/node_modules/node/bin:$PATH"
export PATH

failed=
check() {
  what=$1
  shift
  "$@" || failed="$failed, $what"
}

check formatting biome check --reporter=summary
check types tsc -p .
check lint oxlint --type-aware --quiet
check 'dead code' knip
check 'generated pages (npm run docs)' node scripts/generate-docs.ts --check

if [ -n "$failed" ]; then
  echo "check: failed: ${failed#, }" >&2
  exit 1
fi
