/** The last line of npm test: totals of all reports, a status that agrees, and nothing lost that failed outside a test. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

const script = join(import.meta.dirname, '../../../scripts/test-summary.ts');
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-summary-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Writes a report of one file with these tests; returns its path. */
function report(name: string, fileStatus: string, statuses: readonly string[]): string {
  const count = (status: string) => statuses.filter((one) => one === status).length;
  const path = join(directory, `${name}.json`);
  const file = {
    name: `/p/${name}.test.ts`,
    status: fileStatus,
    startTime: 1000,
    endTime: 3500,
    assertionResults: statuses.map((status, index) => ({ status, fullName: `test ${index}` })),
  };
  const totals = { numPassedTests: count('passed'), numPendingTests: count('skipped') };
  writeFileSync(path, JSON.stringify({ ...totals, testResults: [file] }));
  return path;
}

function summary(gate: string, ...paths: readonly string[]) {
  const { stdout, status } = spawnSync(process.execPath, [script, gate, ...paths], { encoding: 'utf8' });
  return { status, stdout, lastLine: stdout.trimEnd().split('\n').at(-1) };
}

it('adds up what passed, the gate too', () => {
  const paths = [report('a', 'passed', ['passed', 'passed']), report('b', 'passed', ['passed', 'skipped'])];
  const { status, stdout, lastLine } = summary('passed', ...paths);
  expect(lastLine).toBe('4 passed, 0 failed');
  expect(stdout).toContain('1 skipped');
  expect(stdout).toContain('2.5 s');
  expect(status).toBe(0);
});

it('names each failure', () => {
  const { status, stdout, lastLine } = summary('failed', report('a', 'failed', ['passed', 'failed']));
  expect(lastLine).toBe('1 passed, 2 failed');
  expect(stdout).toContain('npm run check');
  expect(stdout).toContain('a.test.ts: test 1');
  expect(status).toBe(1);
});

it('counts a file that failed before its tests, and a run without a report', () => {
  const { status, lastLine } = summary('passed', report('a', 'failed', []), join(directory, 'none.json'));
  expect(lastLine).toBe('1 passed, 2 failed');
  expect(status).toBe(1);
});
