/**
 * The test files that failed in a report of vitest, one a line, when they are few: then they are worth a second run, since
 * tests with real guests on a shared machine depend on its load. None when the report is missing.
 */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const FEW = 8;

const [path = ''] = process.argv.slice(2);
const failed = failedIn(path);
if (failed.length <= FEW) for (const name of failed) console.log(name);

function failedIn(report: string): readonly string[] {
  let text: string;
  try {
    text = readFileSync(report, 'utf8');
  } catch {
    return []; // test-summary.ts tells of it
  }
  const { testResults } = JSON.parse(text) as {
    readonly testResults: readonly { readonly name: string; readonly status: string }[];
  };
  return testResults
    .filter(({ status }) => status === 'failed')
    .map(({ name }) => relative(process.cwd(), name));
}
