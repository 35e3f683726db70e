/**
 * Vitest: unit and golden tests run in parallel; integration and e2e one file at a time, since they own the host; tests of
 * networks in namespaces of their own (`NetLab`) two files at a time, since they mostly wait for timeouts. Unit files share
 * processes: they mock no module, and reading all of src/ anew for each of them took half of their time.
 */
import { defineConfig } from 'vitest/config';

/** They own nothing of the host: all they make is in namespaces and directories named after their process. */
const labs = ['dnsmasq', 'filter', 'firewalls', 'forwards', 'host', 'resolved', 'test'].map(
  (topic) => `test/integration/net-${topic}.test.ts`,
);

const onHost = { testTimeout: 120_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/golden/**/*.test.ts'],
          isolate: false,
        },
      },
      {
        test: {
          name: 'host',
          include: ['test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts'],
          exclude: labs,
          fileParallelism: false,
          ...onHost,
        },
      },
      { test: { name: 'lab', include: labs, maxWorkers: 2, ...onHost } },
    ],
  },
});
