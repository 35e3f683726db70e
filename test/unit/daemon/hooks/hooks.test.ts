/** Hook scripts: which are found, which are refused, what they get, and what their exit status means. */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../../src/base/log.ts';
import { HookRunner } from '../../../../src/daemon/hooks/hooks.ts';
import { findHooks } from '../../../../src/daemon/hooks/scripts.ts';
import { describeWith } from '../../../support/needs.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-hooks-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function script(name: string, body: string, mode = 0o755): string {
  const path = join(directory, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, mode);
  return path;
}

function runner(timeoutMs = 5000): { hooks: HookRunner; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({ level: 'debug', stream: { write: (line: string) => void lines.push(line) } });
  return { hooks: new HookRunner({ directory, timeoutMs, log }), lines };
}

const moment = { kind: 'qemu', object: 'web', operation: 'prepare', subOperation: 'begin' } as const;

describe('finding hooks', () => {
  it('takes the script of the kind first, then those of its directory by name', () => {
    const main = script('qemu', 'exit 0');
    const second = script('qemu.d/20-b', 'exit 0');
    const first = script('qemu.d/10-a', 'exit 0');
    script('network', 'exit 0');
    expect(findHooks(directory, 'qemu')).toEqual({ scripts: [main, first, second], refused: [] });
  });

  it('leaves out what is not executable, hidden or a backup in the directory', () => {
    script('qemu.d/README', 'exit 0', 0o644);
    script('qemu.d/.hidden', 'exit 0');
    script('qemu.d/10-a~', 'exit 0');
    script('qemu.d/10-a.dpkg-old', 'exit 0');
    expect(findHooks(directory, 'qemu')).toEqual({ scripts: [], refused: [] });
  });

  it('refuses a script that others may write, and says why', () => {
    const path = script('qemu', 'exit 0', 0o777);
    expect(findHooks(directory, 'qemu')).toEqual({
      scripts: [],
      refused: [{ path, reason: 'it can be written by others' }],
    });
  });

  it('refuses all scripts of a directory that others may write', () => {
    script('qemu', 'exit 0');
    chmodSync(directory, 0o775);
    expect(findHooks(directory, 'qemu').refused[0]?.reason).toContain('can be written by others');
  });

  it('finds nothing where there is no directory', () => {
    expect(findHooks(join(directory, 'none'), 'qemu')).toEqual({ scripts: [], refused: [] });
  });
});

describeWith(['root'], 'finding hooks of others', () => {
  it('refuses a script that belongs to another user', () => {
    chownSync(script('qemu', 'exit 0'), 65_534, 65_534);
    expect(findHooks(directory, 'qemu').refused[0]?.reason).toBe('it belongs to user 65534');
  });
});

describe('running hooks', () => {
  it("gives libvirt's four arguments, the XML on stdin and a closed environment", async () => {
    script('qemu', `{ echo "$@"; cat; echo; env | cut -d= -f1 | sort | tr '\\n' ' '; } > ${directory}/seen`);
    process.env['SECRET_TOKEN'] = 'x';
    try {
      await runner().hooks.ask({ ...moment, input: () => '<domain/>' });
    } finally {
      delete process.env['SECRET_TOKEN'];
    }
    const seen = readFileSync(join(directory, 'seen'), 'utf8');
    expect(seen).toContain('web prepare begin -\n<domain/>\n');
    expect(seen).toContain('LC_ALL');
    expect(seen).not.toContain('SECRET_TOKEN');
  });

  it('takes a status other than 0 as a refusal, with what the script said, and runs no further script', async () => {
    script('qemu', 'echo the licence server is away >&2; exit 3');
    script('qemu.d/10-next', `touch ${directory}/ran`);
    await expect(runner().hooks.ask(moment)).rejects.toMatchObject({
      code: 'hook.refused',
      reason: expect.stringMatching(/hooks-.*\/qemu: it ended with status 3: the licence server is away/),
    });
    expect(() => readFileSync(join(directory, 'ran'))).toThrow();
  });

  it('ends a script that takes too long, and refuses', async () => {
    script('qemu', 'exec sleep 60');
    await expect(runner(200).hooks.ask(moment)).rejects.toMatchObject({
      code: 'hook.refused',
      reason: expect.stringContaining('did not end within 200 ms'),
    });
  });

  it('calls a script off', async () => {
    script('qemu', 'exec sleep 60');
    await expect(runner().hooks.ask({ ...moment, signal: AbortSignal.timeout(200) })).rejects.toMatchObject({
      code: 'operation.aborted',
    });
  });

  it('only logs the failure of a script that is merely told, and goes on with the next', async () => {
    script('qemu', 'exit 1');
    script('qemu.d/10-next', `echo "$2" > ${directory}/ran`);
    const { hooks, lines } = runner();
    await hooks.tell({ ...moment, operation: 'stopped', subOperation: 'end' });
    expect(readFileSync(join(directory, 'ran'), 'utf8')).toBe('stopped\n');
    expect(lines.join('')).toContain('a hook failed');
  });

  it('runs no refused script, and warns once', async () => {
    script('qemu', 'exit 1', 0o757);
    const { hooks, lines } = runner();
    await hooks.ask(moment);
    await hooks.ask(moment);
    expect(lines.filter((line) => line.includes('a hook is not run'))).toHaveLength(1);
  });
});

describe('scripts that filter', () => {
  it('get each what the one before has written, and change nothing by writing nothing', async () => {
    script('qemu', 'sed s/old/new/');
    script('qemu.d/10-quiet', 'cat >/dev/null');
    script('qemu.d/20-more', 'sed s/new/newest/');
    const { hooks } = runner();
    expect(await hooks.filter({ ...moment, operation: 'restore', input: () => '<old/>' })).toBe('<newest/>');
  });

  it('leave the document as it is when none has written any', async () => {
    script('qemu', 'cat >/dev/null; echo');
    expect(await runner().hooks.filter({ ...moment, input: () => '<old/>' })).toBeUndefined();
  });

  it('refuse by their status', async () => {
    script('qemu', 'cat >/dev/null; echo "<new/>"; exit 3');
    await expect(runner().hooks.filter({ ...moment, input: () => '<old/>' })).rejects.toMatchObject({
      code: 'hook.refused',
    });
  });
});
