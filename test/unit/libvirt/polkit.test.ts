/** pkcheck's answers as clients are told them, and what a client may do before it has shown who it is. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findCall } from '../../../src/daemon/frontends/libvirt/dispatch.ts';
import { buildHandlerTable } from '../../../src/daemon/frontends/libvirt/handlers/table.ts';
import { pkcheck, polkitActions } from '../../../src/daemon/frontends/libvirt/polkit.ts';
import type { LibvirtError } from '../../../src/libvirt/errors.ts';
import type { Call } from '../../../src/libvirt/protocol/procedure.ts';
import { remoteProcedures, remoteProgram } from '../../../src/libvirt/protocol/programs.ts';
import { fakeEngine } from './rig.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-polkit-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** A pkcheck that notes its arguments and ends so. */
function fakePkcheck(end: string): string {
  const path = join(directory, 'pkcheck');
  writeFileSync(path, `#!/bin/sh\necho "$@" > ${directory}/args\n${end}\n`);
  chmodSync(path, 0o755);
  return path;
}

const subject = { pid: 77, startTimeTicks: '4711', uid: 1000 };
const ask = (end: string) => pkcheck(fakePkcheck(end), 2000).check(subject, polkitActions.manage);

describe('pkcheck', () => {
  it('is told pid, start time and uid, so that nobody else can be meant', async () => {
    await ask('exit 0');
    expect(readFileSync(join(directory, 'args'), 'utf8')).toBe(
      '--action-id org.libvirt.unix.manage --process 77,4711,1000 --allow-user-interaction\n',
    );
  });

  it.each([
    ['exit 1', 45, 'access denied by policy'],
    ['exit 2', 94, "no polkit agent available to authenticate action 'org.libvirt.unix.manage'"],
    ['exit 3', 79, 'user cancelled authentication process'],
    ['echo broken >&2; exit 127', 45, 'polkit could not be asked: it ended with status 127: broken'],
    ['exec sleep 30', 45, 'polkit could not be asked: it did not end within 2000 ms'],
  ])('that ends with `%s` is number %i', async (end, number, detail) => {
    await expect(ask(end)).rejects.toMatchObject({ number, detail });
  });
});

describe('a client that has to authenticate', () => {
  const stranger = { isOpen: false, isReadOnly: false, mustAuthenticate: true };
  const attempt = (number: number, open: boolean) =>
    findCall(
      buildHandlerTable(fakeEngine(directory).engine),
      { ...stranger, isOpen: open },
      { program: remoteProgram.number, version: 1, procedure: number, type: 0, serial: 1, status: 0 },
      { frame: Buffer.alloc(0), start: 0, end: 0 },
    );

  it('may call nothing but authentication, whatever it pretends to have opened', () => {
    const calls = Object.entries(remoteProcedures as unknown as Record<string, Call>).filter(
      ([name, { kind }]) => kind === 'call' && !name.startsWith('auth'),
    );
    expect(calls.length).toBeGreaterThan(390);
    for (const [, { number }] of calls)
      for (const open of [false, true])
        expect(() => attempt(number, open)).toThrow(
          expect.objectContaining({ number: 45, detail: 'authentication required' }) as LibvirtError,
        );
  });

  it('may ask how', () => {
    expect(attempt(remoteProcedures.authList.number, false).name).toBe('authList');
  });
});
