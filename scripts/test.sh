#!/bin/sh
# npm test: the same set-up as npm start, then every check and every test; the last line tells how many passed and
# failed. Arguments go to vitest instead: npm test -- test/e2e/lifecycle.test.ts
# REQUIRE_ALL=1 turns skipped tests into failures.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh --tests
PATH="$PWD/node_modules/.bin:$PWD/node_modules/node/bin:$PATH"
export PATH
if [ $# -gt 0 ]; then exec vitest run "$@"; fi

reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
trap 'exit 130' INT TERM

run() { # report, vitest's arguments
  report=$1
  shift
  vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" || true
}

# A failure does not keep the rest from running: one call tells everything.
gate=passed
sh scripts/check.sh || gate=failed
run "$reports/unit.json" --project unit
set -- "$reports/unit.json"
# Files with real guests that failed run once more, whole and one by one; the summary names what only passed then.
for project in host alone; do
  run "$reports/$project.json" --project "$project"
  set -- "$@" "$reports/$project.json"
  failed=$(node scripts/failed-files.ts "$reports/$project.json")
  [ -n "$failed" ] || continue
  # shellcheck disable=SC2086 # one word a file
  run "$reports/$project-again.json" --project "$project" --no-file-parallelism $failed
  set -- "$@" "$reports/$project-again.json"
done
node scripts/test-summary.ts "$gate" "$@"
