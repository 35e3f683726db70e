import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { resolveTarget } from '../../../src/cli/connection.ts';
import { startSessionDaemon } from '../../../src/cli/session-daemon.ts';
import { runCli } from './run-cli.ts';

const directory = mkdtempSync(join(tmpdir(), 'vireo-connect-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('the default connection', () => {
  const target = (more: Partial<Parameters<typeof resolveTarget>[0]> = {}) =>
    resolveTarget({ env: { XDG_RUNTIME_DIR: '/run/user/1000', HOME: '/home/u' }, uid: 1000, ...more });

  it('is the system daemon for root, and the session daemon for others', () => {
    expect(target({ uid: 0 })).toEqual({ mode: 'system', socketPath: '/run/vireo/vireo.sock' });
    expect(target()).toEqual({ mode: 'session', socketPath: '/run/user/1000/vireo/vireo.sock' });
  });

  it('falls back to the cache directory without a login session', () => {
    expect(target({ env: { HOME: '/home/u' } }).socketPath).toBe('/home/u/.cache/vireo/run/vireo.sock');
    expect(
      target({ env: { HOME: '/home/u', XDG_CACHE_HOME: '/c', XDG_RUNTIME_DIR: 'relative' } }).socketPath,
    ).toBe('/c/vireo/run/vireo.sock');
  });

  it('can be chosen by the environment, by -c, and by --root', () => {
    const env = { VIREO_DEFAULT_URI: 'qemu:///system' };
    expect(target({ env })).toEqual({ mode: 'system', socketPath: '/run/vireo/vireo.sock' });
    expect(target({ env, uri: 'unix:///x/y.sock' })).toEqual({ socketPath: '/x/y.sock' });
    expect(target({ uri: '/x/y.sock' })).toEqual({ socketPath: '/x/y.sock' });
    expect(target({ env, root: '/r' })).toEqual({ root: '/r', socketPath: '/r/run/vireo/vireo.sock' });
    expect(target({ uri: 'qemu:///session', root: '/r' })).toEqual({
      mode: 'session',
      root: '/r',
      socketPath: '/r/run/vireo/vireo.sock',
    });
  });

  it.each(['', 'qemu+ssh://host/system', 'test:///default', 'relative/path', 'unix://relative'])(
    'refuses %j',
    (uri) => {
      if (uri === '') expect(target({ env: { VIREO_DEFAULT_URI: '', HOME: '/h' } }).mode).toBe('session');
      else expect(() => target({ uri })).toThrow('neither a connection name nor the absolute path');
    },
  );

  it('refuses two sockets at once', () => {
    expect(() => target({ uri: '/x.sock', root: '/r' })).toThrow('both name a socket');
  });
});

describe('without a daemon', () => {
  it('the message says how to start one, and the exit code is 4', async () => {
    const run = await runCli(['--root', '/nix/root', 'list']);
    expect(run.code).toBe(4);
    expect(run.stderr).toContain('cannot connect to the daemon below /nix/root: nothing listens on');
    const mode = process.getuid?.() === 0 ? 'system' : 'session';
    expect(run.stderr).toContain(`repair: start it with 'vireod --mode ${mode} --root /nix/root'`);
  });

  it('a socket path too long for the kernel is told as such', async () => {
    const run = await runCli(['-c', `/${'x'.repeat(200)}.sock`, 'list']);
    expect(run.code).toBe(4);
    expect(run.stderr).toContain('longer than the 107 bytes');
  });

  it('completions stay silent and start nothing', async () => {
    const env = { XDG_RUNTIME_DIR: directory, HOME: directory };
    const run = await runCli(['__complete', 'domains'], { env });
    expect(run).toMatchObject({ code: 4, stdout: '' });
  });
});

describe('a session daemon on demand', () => {
  const launcher = (name: string, script: string): string => {
    const path = join(directory, name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const env = { HOME: directory, PATH: '/usr/bin:/bin' };

  it('is waited for until it serves', async () => {
    const socketPath = join(directory, 'served.sock');
    const script = `import { createServer } from 'node:net';
      const server = createServer(() => server.close()).listen(process.argv[2]);`;
    writeFileSync(join(directory, 'serve.mjs'), script);
    const program = launcher(
      'serving',
      `exec '${process.execPath}' '${directory}/serve.mjs' '${socketPath}'`,
    );
    await expect(
      startSessionDaemon({ socketPath, env, program, timeoutMs: 20_000 }),
    ).resolves.toBeUndefined();
  });

  it('that gives way to another is no failure: the other serves in a while', async () => {
    const program = join(directory, 'gives-way');
    writeFileSync(program, '#!/bin/sh\nexit 3\n');
    chmodSync(program, 0o755);
    const socketPath = join(directory, 'winner.sock');
    const env = { XDG_STATE_HOME: directory };
    const winner = createServer();
    const late = setTimeout(() => winner.listen(socketPath), 500);
    await startSessionDaemon({ socketPath, env, program, timeoutMs: 20_000 });
    expect(winner.listening).toBe(true);
    clearTimeout(late);
    await new Promise((resolve) => winner.close(resolve));
    await expect(startSessionDaemon({ socketPath, env, program, timeoutMs: 300 })).rejects.toThrow(
      'it did not serve',
    );
  });

  it('that fails is told with what it said', async () => {
    const program = launcher('failing', 'echo "config.invalid: no such key" >&2; exit 7');
    const started = startSessionDaemon({
      socketPath: join(directory, 'no.sock'),
      env,
      program,
      timeoutMs: 20_000,
    });
    await expect(started).rejects.toMatchObject({
      code: 'daemon.unreachable',
      reason: 'it ended with status 7',
      details: { stderr: 'config.invalid: no such key\n' },
    });
  });

  it('that never serves is given up after the time limit', async () => {
    const program = launcher('hanging', 'exec sleep 2');
    const started = startSessionDaemon({
      socketPath: join(directory, 'no.sock'),
      env,
      program,
      timeoutMs: 200,
    });
    await expect(started).rejects.toMatchObject({
      code: 'daemon.unreachable',
      reason: expect.stringContaining('within 200 ms'),
    });
  });

  it('that is not installed is told as such', async () => {
    const program = join(directory, 'missing');
    const started = startSessionDaemon({
      socketPath: join(directory, 'no.sock'),
      env,
      program,
      timeoutMs: 200,
    });
    await expect(started).rejects.toMatchObject({
      code: 'daemon.unreachable',
      reason: expect.stringContaining('missing'),
    });
  });

  it('writes its output where only the user can read it, not through a link', async () => {
    const log = join(directory, 'linked');
    mkdirSync(join(log, '.local/state/vireo/log'), { recursive: true });
    symlinkSync('/etc/passwd', join(log, '.local/state/vireo/log/vireod-start.log'));
    const program = launcher('any', 'exit 0');
    const started = startSessionDaemon({
      socketPath: '/nix.sock',
      env: { HOME: log },
      program,
      timeoutMs: 200,
    });
    await expect(started).rejects.toMatchObject({ code: 'file.failed' });
  });
});
