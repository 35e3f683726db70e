/** The daemon under measurement: a private copy of dist/, as a process of its own below a temporary root. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectVireo, type VireoClient } from '../src/api/client.ts';
import { processesBelow } from './processes.ts';

export const project = resolve(import.meta.dirname, '..');

/**
 * Where a run keeps everything: a copy of the program, so that a build going on beside it changes nothing. What lies on
 * /run in an installed system lies in memory here too (`run/`), for the floors as for the daemon.
 */
export class Workplace {
  readonly directory: string;
  private readonly memory: string | undefined;

  /** `dist` is the build that is measured. */
  constructor(parent: string, dist: string) {
    this.directory = mkdtempSync(join(parent, 'vireo-bench-'));
    const program = join(this.directory, 'program');
    cpSync(dist, join(program, 'dist'), { recursive: true });
    cpSync(join(project, 'package.json'), join(program, 'package.json'));
    symlinkSync(join(project, 'node_modules'), join(program, 'node_modules'));
    this.memory = isInMemory('/dev/shm') ? mkdtempSync('/dev/shm/vireo-bench-') : undefined;
    if (this.memory !== undefined) symlinkSync(this.memory, join(this.directory, 'run'));
  }

  entry(program: 'daemon' | 'cli'): string {
    return join(this.directory, 'program/dist', program, 'main.js');
  }

  /** A fresh directory below this one. */
  make(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  /** The same for what lives no longer than the host is up. */
  makeRuntime(name: string): string {
    return this.make(join('run', name));
  }

  /** Ends every guest that is left and removes the files. */
  remove(): void {
    for (const pid of processesBelow(this.directory)) process.kill(pid, 'SIGKILL');
    for (const directory of [this.directory, this.memory])
      if (directory !== undefined) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

function isInMemory(directory: string): boolean {
  const TMPFS_MAGIC = 0x01021994; // linux/magic.h
  return (
    statSync(directory, { throwIfNoEntry: false }) !== undefined && statfsSync(directory).type === TMPFS_MAGIC
  );
}

export interface DaemonOptions {
  /** A command that runs the daemon, as `ip netns exec NAME` does. */
  readonly around?: readonly string[];
  /** Lines for section [network] of its configuration. */
  readonly settings?: string;
}

/** One daemon process. */
export class BenchDaemon {
  readonly root: string;
  readonly child: ChildProcess;

  private constructor(root: string, child: ChildProcess) {
    this.root = root;
    this.child = child;
  }

  /** Starts one and returns when it answers `domain.list`, with the milliseconds that took. */
  static async start(
    place: Workplace,
    name: string,
    options: DaemonOptions = {},
  ): Promise<{ daemon: BenchDaemon; firstAnswerMs: number }> {
    const { around = [], settings = '' } = options;
    const root = place.make(name);
    const runtime = place.makeRuntime(name);
    if (!existsSync(join(root, 'run'))) symlinkSync(runtime, join(root, 'run'));
    // A measurement must not make the network `default` on this host.
    place.make(`${name}/etc/vireo`);
    writeFileSync(join(root, 'etc/vireo/vireod.toml'), `[network]\ndefine_default = false\n${settings}`);
    const mode = process.getuid?.() === 0 ? 'system' : 'session';
    const startedAt = performance.now();
    const [program, ...before] = [...around, process.execPath];
    const child = spawn(
      program ?? process.execPath,
      [
        ...before,
        ...launcherFlags(),
        place.entry('daemon'),
        '--mode',
        mode,
        '--root',
        root,
        '--no-idle-exit',
        '--log-level',
        'warn',
      ],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
        env: { PATH: process.env['PATH'], HOME: root, MALLOC_ARENA_MAX: '2' },
      },
    );
    const daemon = new BenchDaemon(root, child);
    const socket = await daemon.untilListening();
    await askForList(socket);
    const firstAnswerMs = performance.now() - startedAt;
    socket.destroy();
    return { daemon, firstAnswerMs };
  }

  get socketPath(): string {
    return join(this.root, 'run/vireo/vireo.sock');
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  connect(): Promise<VireoClient> {
    return connectVireo({ socketPath: this.socketPath });
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((done) => {
      this.child.once('exit', done);
    });
    this.child.kill(signal);
    await ended;
  }

  private async untilListening(): Promise<Socket> {
    for (let tries = 0; tries < 30_000; tries += 1) {
      if (this.child.exitCode !== null) throw new Error(`the daemon ended with ${this.child.exitCode}`);
      const socket = await tryConnect(this.socketPath);
      if (socket !== undefined) return socket;
      await delay(1);
    }
    throw new Error('the daemon did not listen');
  }
}

/** What the launcher gives Node; MALLOC_ARENA_MAX is its, too. */
function launcherFlags(): string[] {
  const launcher = readFileSync(join(project, 'bin/vireod'), 'utf8');
  const flags = /^exec "\$node" (.*) "\$main" "\$@"$/m.exec(launcher)?.[1];
  if (flags === undefined) throw new Error('bin/vireod does not end with the call of Node');
  return flags.split(' ');
}

function tryConnect(path: string): Promise<Socket | undefined> {
  const { promise, resolve: settle } = Promise.withResolvers<Socket | undefined>();
  const socket = connect({ path });
  socket.once('connect', () => settle(socket));
  // ENOENT, ECONNREFUSED: not yet.
  socket.once('error', () => settle(undefined));
  return promise;
}

function askForList(socket: Socket): Promise<void> {
  const { promise, resolve: settle, reject } = Promise.withResolvers<void>();
  socket.on('error', reject);
  socket.on('data', (chunk: Buffer) => chunk.includes(0x0a) && settle());
  socket.write('{"jsonrpc":"2.0","id":1,"method":"domain.list","params":{}}\n');
  return promise;
}
