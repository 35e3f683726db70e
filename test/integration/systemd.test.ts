/** Our units, sd_notify and socket activation, against systemd's own tools. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const repository = join(import.meta.dirname, '../..');
const vireod = join(repository, 'bin/vireod');

let directory: string;
let children: ChildProcess[];

beforeEach(() => {
  // Short, for the 108 bytes of a socket's path.
  directory = mkdtempSync(join(tmpdir(), 'vs-'));
  children = [];
});

afterEach(async () => {
  for (const child of children) await stop(child, 'SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

function start(program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...environment },
  });
  children.push(child);
  return child;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }
  return child.exitCode;
}

async function until(what: string, holds: () => boolean, limitMs = 30_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(20);
  }
}

/** All that a child writes to stdout and stderr, as it grows. */
function outputOf(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (data: Buffer) => (text += data.toString()));
  return () => text;
}

/**
 * A service manager's end of $NOTIFY_SOCKET: systemd-socket-activate binds a datagram socket and starts cat on it
 * (descriptor 3), with the first message still in it. One read of cat is one message.
 */
async function startManager(address: string): Promise<() => string> {
  const args = ['--datagram', `--listen=${address}`, '/bin/sh', '-c', 'exec cat <&3'];
  const output = outputOf(start('systemd-socket-activate', args));
  await until('the notify socket', () => output().includes('Listening on'));
  return output;
}

/** Copies units with the program where it is now: `systemd-analyze verify` looks whether it can be run. */
function copyUnits(scope: 'system' | 'user'): string[] {
  const source = join(repository, 'systemd', scope);
  return readdirSync(source).map((name) => {
    const text = readFileSync(join(source, name), 'utf8');
    const path = join(directory, name);
    writeFileSync(path, text.replaceAll('/usr/local/lib/vireo/', `${repository}/`));
    return path;
  });
}

describeWith(['systemd-analyze'], 'systemd units', () => {
  it.each(['system', 'user'] as const)('for the %s manager are right to the last word', async (scope) => {
    const { exitCode, all } = await execa('systemd-analyze', ['verify', `--${scope}`, ...copyUnits(scope)], {
      all: true,
      reject: false,
      env: { XDG_RUNTIME_DIR: directory },
    });
    expect(all).toBe('');
    expect(exitCode).toBe(0);
  });

  it("may stand in libvirtd's place", async () => {
    const units = copyUnits('system');
    cpSync(join(repository, 'systemd/drop-in'), directory, { recursive: true });
    const { exitCode, all } = await execa('systemd-analyze', ['verify', '--system', ...units], {
      all: true,
      reject: false,
      env: { XDG_RUNTIME_DIR: directory },
    });
    expect(all).toBe('');
    expect(exitCode).toBe(0);
  });

  it('keep the system daemon at an exposure of at most 6.5', async () => {
    const unit = copyUnits('system').find((path) => path.endsWith('/vireod.service')) ?? '';
    const { stdout } = await execa('systemd-analyze', ['security', '--offline=yes', '--no-pager', unit]);
    const exposure = /Overall exposure level for vireod\.service: (\d+\.\d)/.exec(stdout)?.[1];
    expect(Number(exposure)).toBeLessThanOrEqual(6.5);
  });

  it('leave guests alone when the daemon stops, and nothing set that kills V8 or TCG', () => {
    for (const scope of ['system', 'user']) {
      const text = readFileSync(join(repository, 'systemd', scope, 'vireod.service'), 'utf8');
      expect(text).toMatch(/^KillMode=process$/m);
      expect(text).toMatch(/^OOMPolicy=continue$/m);
      expect(text).toMatch(/^Delegate=yes$/m);
      expect(text).not.toMatch(/^(?:MemoryDenyWriteExecute|PrivateDevices|PrivateNetwork|ProtectHome)=/m);
    }
  });
});

describeWith(['systemd-socket-activate'], 'sd_notify', () => {
  const notifier = (environment: NodeJS.ProcessEnv): ChildProcess => {
    const module = join(repository, 'src/base/sd-notify.ts');
    const script = `import { notify } from '${module}'; notify({ READY: 1, STATUS: 'two\\nlines' });`;
    return start(process.execPath, ['--input-type=module', '-e', script], environment);
  };

  it.each([
    ['a path', () => join(directory, 'notify')],
    ['an abstract address', () => `@vireo-test-${process.pid}`],
  ])('sends its message to %s', async (_kind, address) => {
    const received = await startManager(address());
    const [code] = (await once(notifier({ NOTIFY_SOCKET: address() }), 'exit')) as [number];
    expect(code).toBe(0);
    await until('the message', () => received().includes('READY=1'));
    expect(received()).toContain('READY=1\nSTATUS=two lines\n');
  });

  it('tells of readiness, of life and of the end of the daemon', async () => {
    const address = join(directory, 'notify');
    withoutDefaultNetwork(join(directory, 'r'));
    const received = await startManager(address);
    const daemon = start(vireod, ['--mode', 'system', '--root', join(directory, 'r'), '--no-idle-exit'], {
      NOTIFY_SOCKET: address,
      WATCHDOG_USEC: '400000',
    });
    await until('READY=1', () => received().includes('READY=1\n'));
    expect(existsSync(join(directory, 'r/run/vireo/vireo.sock'))).toBe(true);
    await until('WATCHDOG=1', () => received().includes('WATCHDOG=1\n'));
    expect(await stop(daemon, 'SIGTERM')).toBe(0);
    await until('STOPPING=1', () => received().includes('STOPPING=1\n'));
  });
});

describeWith(['systemd-socket-activate'], 'socket activation', () => {
  /** Sends one request and gives back the answer's line. */
  async function call(path: string, method: string): Promise<unknown> {
    const socket = connect(path);
    socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: {} })}\n`);
    for await (const line of createInterface({ input: socket })) {
      socket.destroy();
      return JSON.parse(line) as unknown;
    }
    throw new Error('the daemon closed the connection');
  }

  it('starts the daemon by the first connection, which is then served', async () => {
    const socket = join(directory, 'r/run/vireo/vireo.sock');
    mkdirSync(join(directory, 'r/run/vireo'), { recursive: true });
    withoutDefaultNetwork(join(directory, 'r'));
    const daemon = [vireod, '--mode', 'system', '--root', join(directory, 'r'), '--no-idle-exit'];
    const args = [`--listen=${socket}`, '--fdname=jsonrpc', ...daemon];
    const activated = start('systemd-socket-activate', args);
    const output = outputOf(activated);
    await until('the socket', () => output().includes('Listening on'));
    expect(await call(socket, 'daemon.ping')).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
    // systemd-socket-activate became the daemon: the same process.
    expect(await call(socket, 'daemon.info')).toMatchObject({
      result: {
        pid: activated.pid,
        sockets: expect.arrayContaining([{ frontend: 'jsonrpc', path: socket }]),
      },
    });
    // The socket belongs to the manager: it stays for the next start.
    expect(await stop(activated, 'SIGTERM')).toBe(0);
    expect(existsSync(socket)).toBe(true);
  });
});
