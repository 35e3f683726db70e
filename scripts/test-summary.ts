/**
 * Adds up the reports of vitest: the slowest files, what failed, and as the last line the totals. Status 1 when anything
 * failed. A file in two reports counts as the later one tells; one that failed before is named as unsteady.
 */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** What is used of vitest's JSON report. */
interface Report {
  readonly testResults: readonly FileResult[];
}

interface FileResult {
  readonly name: string;
  readonly status: 'passed' | 'failed';
  /** Milliseconds since the epoch. */
  readonly startTime: number;
  readonly endTime: number;
  readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
}

const SLOWEST = 10;
const [gate, ...paths] = process.argv.slice(2);
const failures = gate === 'passed' ? [] : ['npm run check'];
const files = new Map<string, FileResult>();
const unsteady: string[] = [];
for (const path of paths) addReport(path);

const count = (wanted: string): number =>
  [...files.values()]
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === wanted).length;
for (const [name, file] of files) failures.push(...failuresOf(name, file));
const seconds = ({ startTime, endTime }: FileResult): number => (endTime - startTime) / 1000;
const slowest = [...files].sort(([, one], [, other]) => seconds(other) - seconds(one)).slice(0, SLOWEST);
const skipped = count('pending') + count('skipped') + count('todo');

console.log(`\nThe slowest of ${files.size} test files:`);
for (const [name, file] of slowest) console.log(`${seconds(file).toFixed(1).padStart(8)} s  ${name}`);
tell('Unsteady, failed first and passed when run once more', unsteady);
tell('Failed', failures);
if (skipped > 0) console.log(`\n${skipped} skipped`);
console.log(`\n${count('passed') + (gate === 'passed' ? 1 : 0)} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;

function tell(title: string, names: readonly string[]): void {
  if (names.length > 0) console.log(`\n${title}:\n${names.map((name) => `  ${name}\n`).join('')}`);
}

function addReport(path: string): void {
  const report = readReport(path);
  if (report === undefined) {
    failures.push(`vitest left no report in ${path}: it ended before its time`);
    return;
  }
  for (const file of report.testResults) addFile(relative(process.cwd(), file.name), file);
}

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return undefined; // absent or cut off, which is told as a failure
  }
}

function addFile(name: string, file: FileResult): void {
  const before = files.get(name);
  if (before?.status === 'failed' && file.status === 'passed') unsteady.push(...failuresOf(name, before));
  files.set(name, file);
}

/** A file that failed without a failed test did so before its tests: an import, a hook. */
function failuresOf(name: string, file: FileResult): readonly string[] {
  const failed = file.assertionResults.filter(({ status }) => status === 'failed');
  if (failed.length === 0 && file.status === 'failed') return [`${name}: failed outside its tests`];
  return failed.map(({ fullName }) => `${name}: ${fullName}`);
}
