/** A daemon that gives QEMU two seconds, and what the tests of work that is cut off share. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '../../../src/base/errors.ts';
import { TestDaemon } from '../../support/daemon.ts';

/** Commands of the monitor time out after 2 s, so that a QEMU that is held is told of soon. */
const configuration =
  '[qemu]\ncommand_timeout_seconds = 2\nstop_grace_seconds = 2\n[network]\ndefine_default = false\n';

export async function startImpatient(): Promise<TestDaemon> {
  const root = mkdtempSync(join(tmpdir(), 'vireo-'));
  mkdirSync(join(root, 'etc/vireo'), { recursive: true, mode: 0o700 });
  writeFileSync(join(root, 'etc/vireo/vireod.toml'), configuration);
  return TestDaemon.start({ root });
}

/** Nothing happens where it has ended by itself. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error; // it has ended by itself
  }
}

/** How a call ends, looked at later. */
export const outcome = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'done',
    (error: unknown) => error,
  );
