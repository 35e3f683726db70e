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

# A failure does not keep the rest from running: one call tells everything.
gate=passed
sh scripts/check.sh || gate=failed
for project in unit lab host; do
  vitest run --project "$project" --reporter=default --reporter=json --outputFile.json="$reports/$project.json" || true
done
node scripts/test-summary.ts "$gate" "$reports/unit.json" "$reports/lab.json" "$reports/host.json"
