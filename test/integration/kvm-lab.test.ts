/** The daemon on a true /dev/kvm, inside an emulated machine whose processor has AMD-V (test/support/kvm-lab). */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { type LabResult, runInKvmGuestTwice } from '../support/kvm-lab/lab.ts';
import { describeWith } from '../support/needs.ts';

const repository = join(import.meta.dirname, '../..');
/** For each of two runs; a quiet machine needs some 40 s, a busy one many times that. */
const LIMIT_MS = 900_000;

const run = (script: string): Promise<LabResult> =>
  runInKvmGuestTwice({
    command: [process.execPath, join(repository, script)],
    directory: repository,
    cpus: 1,
    timeoutMs: LIMIT_MS,
  });

/** The last line is the answer; a failed run is told with all that came out of it. */
function answerOf(result: LabResult): unknown {
  if (result.status !== 0) {
    throw new Error(`status ${result.status}\n${result.stdout}\n${result.stderr}\n${result.console}`);
  }
  return JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as unknown;
}

const seenSchema = z.object({
  check: z.object({
    checks: z.array(z.object({ id: z.string(), status: z.string(), detail: z.string() })),
  }),
  queryKvm: z.unknown(),
  serial: z.string(),
});

describeWith(
  ['root', 'qemu-system-x86_64', '/bin/busybox', 'setpriv', 'dpkg-deb', 'xz'],
  'on a true /dev/kvm',
  () => {
    it('the probe finds KVM usable by its ioctls', { timeout: 2 * LIMIT_MS }, async () => {
      const report = answerOf(await run('test/support/kvm-lab/print-report.ts'));
      expect(report).toMatchObject({
        usable: true,
        apiVersion: 12,
        vcpus: { recommended: 1 },
        cpu: { vendor: 'AuthenticAMD', flag: 'svm' },
        module: { name: 'kvm_amd', loaded: true, nested: true },
      });
    });

    it('the daemon checks KVM and boots a guest with it', { timeout: 2 * LIMIT_MS }, async () => {
      const { check, queryKvm, serial } = seenSchema.parse(
        answerOf(await run('test/support/kvm-lab/in-guest.ts')),
      );
      expect(check.checks.find(({ id }) => id === 'kvm')).toMatchObject({
        status: 'ok',
        detail: expect.stringContaining('/dev/kvm works: module kvm_amd, interface 12') as string,
      });
      expect(queryKvm).toMatchObject({ enabled: true, present: true });
      expect(serial).toBe('TINY-GUEST alive\r\n');
    });
  },
);
