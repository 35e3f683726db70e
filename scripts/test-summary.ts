/** Adds up the reports of vitest: the slowest files, what failed, and as the last line the totals. Status 1 when anything failed. */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** What is used of vitest's JSON report. */
interface Report {
  readonly numPassedTests: number;
  readonly numPendingTests: number;
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
let passed = gate === 'passed' ? 1 : 0;
let skipped = 0;
const failures = gate === 'passed' ? [] : ['npm run check'];
const files: { readonly name: string; readonly seconds: number }[] = [];
for (const path of paths) addReport(path);

files.sort((one, other) => other.seconds - one.seconds);
console.log(`\nThe slowest of ${files.length} test files:`);
for (const { name, seconds } of files.slice(0, SLOWEST))
  console.log(`${seconds.toFixed(1).padStart(8)} s  ${name}`);
if (failures.length > 0) console.log(`\nFailed:\n${failures.map((name) => `  ${name}\n`).join('')}`);
if (skipped > 0) console.log(`\n${skipped} skipped`);
console.log(`\n${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;

function addReport(path: string): void {
  const report = readReport(path);
  if (report === undefined) {
    failures.push(`vitest left no report in ${path}: it ended before its time`);
    return;
  }
  passed += report.numPassedTests;
  skipped += report.numPendingTests;
  for (const file of report.testResults) addFile(file);
}

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return undefined; // absent or cut off, which is told as a failure
  }
}

/** A file that failed without a failed test did so before its tests: an import, a hook. */
function addFile(file: FileResult): void {
  const name = relative(process.cwd(), file.name);
  files.push({ name, seconds: (file.endTime - file.startTime) / 1000 });
  const failed = file.assertionResults.filter(({ status }) => status === 'failed');
  failures.push(...failed.map(({ fullName }) => `${name}: ${fullName}`));
  if (failed.length === 0 && file.status === 'failed') failures.push(`${name}: failed outside its tests`);
}
