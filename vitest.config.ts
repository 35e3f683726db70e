/**
 * Vitest: unit and golden tests run in parallel and share processes: they mock no module, and reading all of src/ anew for
 * each of them took half of their time. Tests with guests and networks mostly wait; they run two files at a time, each with
 * its daemons, guests, namespaces and directories named after its process, so that they never meet. The few that measure
 * times, rates or losses run alone.
 */
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What they measure would tell of the other file's load. */
const measuring = [
  'test/e2e/bad-days/hostile-names.test.ts',
  'test/e2e/bad-days/logs-and-secrets.test.ts',
  'test/e2e/bad-days/qemu-fails.test.ts',
  'test/integration/guest-links.test.ts',
  'test/integration/net-steady.test.ts',
  'test/integration/storage.test.ts',
];

/** Whoever begins with these does not wait for one of them at the end. */
const longest = /\/(kvm-lab|net-test|virsh-parity|net-host|net-firewalls)\.test\.ts$/;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => longest.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/** Vitest's own limits are one second and five: too short for a test that waits, on a busy machine. */
const patient = { testTimeout: 30_000, expect: { poll: { timeout: 20_000 } } };
const onHost = { ...patient, testTimeout: 120_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/golden/**/*.test.ts'],
          isolate: false,
          ...patient,
        },
      },
      {
        test: {
          name: 'host',
          include: ['test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts'],
          exclude: measuring,
          maxWorkers: Math.min(2, availableParallelism()),
          ...onHost,
        },
      },
      { test: { name: 'alone', include: measuring, fileParallelism: false, ...onHost } },
    ],
  },
});
