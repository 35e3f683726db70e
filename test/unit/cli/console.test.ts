import type { Socket } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { runCommandLine } from '../../../src/cli/main.ts';
import { FakeDaemon, summary } from './fake-daemon.ts';
import { runCli } from './run-cli.ts';

let daemon: FakeDaemon;
afterEach(() => daemon[Symbol.asyncDispose]());

/** A console on which the test plays the guest. */
async function guest(play: (socket: Socket) => void): Promise<FakeDaemon> {
  daemon = await FakeDaemon.start({
    'domain.console': (_params: never, socket) => ({ console: 'serial0', after: () => play(socket) }),
  });
  return daemon;
}

/** A terminal that remembers its modes. */
class FakeTerminal extends PassThrough {
  readonly isTTY: true = true;
  readonly modes: boolean[] = [];

  setRawMode(isRaw: boolean): this {
    this.modes.push(isRaw);
    return this;
  }
}

async function attach(input: Readable | FakeTerminal, args: readonly string[] = []) {
  const output = new PassThrough();
  const chunks: Buffer[] = [];
  output.on('data', (chunk: Buffer) => chunks.push(chunk));
  Object.assign(output, { isTTY: input instanceof FakeTerminal, columns: 80 });
  const errors = new PassThrough();
  const code = await runCommandLine(['-c', daemon.socketPath, 'console', 'web', ...args], {
    stdin: input,
    stdout: output,
    stderr: errors,
    env: {},
    cwd: '/',
    uid: 0,
  });
  const stderr = errors.read() as Buffer | null;
  return { code, stdout: Buffer.concat(chunks).toString(), stderr: stderr?.toString() ?? '' };
}

describe('console in a terminal', () => {
  it('passes keys and output through raw, leaves with Ctrl-], and gives the terminal back', async () => {
    const seen: Buffer[] = [];
    const terminal = new FakeTerminal();
    await guest((socket) => {
      socket.write('login: ');
      socket.on('data', (chunk: Buffer) => {
        seen.push(chunk);
        socket.write(chunk);
        // Ctrl-C and Ctrl-D go to the guest.
        if (Buffer.concat(seen).includes('\u0004'))
          setTimeout(() => terminal.write('last\u001dnot sent'), 30);
      });
      terminal.write('root\u0003\u0004');
    });
    const { code, stdout, stderr } = await attach(terminal);
    expect(code).toBe(0);
    expect(stdout).toContain('login: root\u0003\u0004');
    expect(stderr).toContain("Connected to the console of 'web' (serial0). Ctrl-] leaves it");
    expect(stderr).toContain('Left the console');
    expect(Buffer.concat(seen).toString()).not.toContain('not sent');
    expect(terminal.modes).toEqual([true, false]);
    // Soft reset, and no jump out of an alternate screen that was never entered.
    expect(stdout).toContain('\u001b[!p');
    expect(stdout).not.toContain('\u001b[?1049l');
  });

  it('leaves the alternate screen that the guest entered', async () => {
    const terminal = new FakeTerminal();
    await guest((socket) => {
      socket.write('\u001b[?10');
      setTimeout(() => socket.write('49hvim'), 10);
      setTimeout(() => terminal.write('\u001d'), 40);
    });
    expect((await attach(terminal)).stdout).toContain('vim\u001b[?1049l\u001b[!p');
  });

  it("ends when the guest's side closes", async () => {
    const terminal = new FakeTerminal();
    await guest((socket) => socket.end('reboot: Power down\n'));
    const { code, stdout, stderr } = await attach(terminal);
    expect(code).toBe(0);
    expect(stdout).toContain('Power down');
    expect(stderr).toContain("The guest's side of the console");
    expect(terminal.modes).toEqual([true, false]);
  });

  it('gives the terminal back when the connection breaks', async () => {
    const terminal = new FakeTerminal();
    await guest((socket) => setTimeout(() => socket.destroy(), 10));
    await attach(terminal);
    expect(terminal.modes).toEqual([true, false]);
    expect(process.listeners('SIGCONT')).toEqual([]);
    expect(process.listeners('SIGTERM')).toEqual([]);
  });
});

describe('console with pipes', () => {
  it('sends the input as it is, escape byte too, and shows output until the guest ends', async () => {
    let got = '';
    await guest((socket) => {
      socket.on('data', (chunk: Buffer) => {
        got += chunk.toString('latin1');
        if (got.endsWith('\u001d')) socket.end('answer');
      });
    });
    const { code, stdout, stderr } = await attach(
      Readable.from([Buffer.from('poweroff\n'), Buffer.from('\u001d')]),
    );
    expect({ code, stdout, stderr, got }).toEqual({
      code: 0,
      stdout: 'answer',
      stderr: '',
      got: 'poweroff\n\u001d',
    });
  });

  it('leaves a while after the end of the input with --linger', async () => {
    await guest((socket) => socket.write('one'));
    const { code, stdout } = await attach(Readable.from([]), ['--linger', '100ms']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'one' });
  });

  it('keeps a slow guest from piling up the input', async () => {
    const size = 8 * 1024 * 1024;
    let got = 0;
    await guest((socket) => {
      socket.pause();
      setTimeout(() => socket.resume(), 50);
      socket.on('data', (chunk: Buffer) => {
        got += chunk.length;
        if (got === size) socket.end();
      });
    });
    const chunks = Array.from({ length: 128 }, () => Buffer.alloc(size / 128, 'x'));
    expect((await attach(Readable.from(chunks))).code).toBe(0);
    expect(got).toBe(size);
  });
});

describe('start --console', () => {
  it('starts with the CPUs stopped, attaches, and then lets go, so that no output is missed', async () => {
    const order: string[] = [];
    daemon = await FakeDaemon.start({
      'domain.start': () => summary('web', { state: 'paused' }),
      'domain.console': (_params: never, socket) => ({
        console: 'serial0',
        after: () => {
          order.push('attached');
          guestSocket = socket;
        },
      }),
      'domain.resume': () => {
        order.push('resumed');
        setTimeout(() => guestSocket?.end('BIOS\n'), 10);
        return summary('web');
      },
    });
    let guestSocket: Socket | undefined;
    const { code, stdout } = await runCli(['start', 'web', '--console'], { socketPath: daemon.socketPath });
    expect({ code, stdout, order }).toEqual({ code: 0, stdout: 'BIOS\n', order: ['attached', 'resumed'] });
    expect(daemon.paramsOf('domain.start')).toMatchObject({ paused: true });
  });
});

describe('run', () => {
  it('boots a throw-away guest that belongs to the connection, and puts everything away', async () => {
    let guestSocket: Socket | undefined;
    daemon = await FakeDaemon.start({
      'domain.create': () => ({
        domain: summary('run-x', { state: 'paused' }),
        warnings: ['no KVM'],
        login: null,
      }),
      'domain.console': (_params: never, socket) => ({
        console: 'serial0',
        after: () => (guestSocket = socket),
      }),
      'domain.resume': () => {
        setTimeout(() => guestSocket?.end('hello\n'), 10);
        return summary('run-x');
      },
      'domain.destroy': () => ({}),
    });
    const run = await runCli(['run', '--kernel', 'k', '--initrd', 'i', '--memory', '64MiB'], {
      socketPath: daemon.socketPath,
    });
    expect(run).toMatchObject({ code: 0, stdout: 'hello\n' });
    expect(run.stderr).toContain('warning: no KVM');
    expect(daemon.asked).toEqual(['domain.create', 'domain.console', 'domain.resume', 'domain.destroy']);
    expect(daemon.paramsOf('domain.create')).toMatchObject({
      kernel: '/home/me/k',
      transient: true,
      paused: true,
      autodestroy: true,
    });
  });

  it('wants something to boot', async () => {
    daemon = await FakeDaemon.start({});
    const run = await runCli(['run'], { socketPath: daemon.socketPath });
    expect(run.code).toBe(2);
    expect(run.stderr).toContain('there is nothing to boot');
    const missing = await runCli(['run', '/nix/image.qcow2'], { socketPath: daemon.socketPath });
    expect(missing.code).toBe(3);
    expect(daemon.calls).toEqual([]);
  });
});
