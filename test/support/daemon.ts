/** A real daemon below a temporary root, as a process, with a client; everything it leaves is taken away at the end. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connectVireo, type VireoClient } from '../../src/api/client.ts';

export const project = resolve(import.meta.dirname, '../..');

export interface TestDaemonOptions {
  readonly mode?: 'system' | 'session';
  readonly args?: readonly string[];
  /** Below an existing root, as after a crash. */
  readonly root?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** A program, with its arguments, that runs the daemon somewhere else: `['ip', 'netns', 'exec', NAME]`. */
  readonly inside?: readonly string[];
}

/** A daemon of a test must not make the network `default` on this host. A configuration that is there stays. */
export function withoutDefaultNetwork(root: string): void {
  const file = join(root, 'etc/vireo/vireod.toml');
  if (existsSync(file)) return;
  mkdirSync(join(root, 'etc/vireo'), { recursive: true, mode: 0o700 });
  writeFileSync(file, '[network]\ndefine_default = false\n');
}

/** Where daemons' logs are to be kept, for scripts/libvirt-proof.ts. */
const proof = process.env['VIREO_PROOF'];

/** One daemon process. */
export class TestDaemon {
  readonly root: string;
  readonly child: ChildProcess;
  readonly stderr: string[] = [];
  private readonly options: TestDaemonOptions;

  private constructor(root: string, child: ChildProcess, options: TestDaemonOptions) {
    this.root = root;
    this.child = child;
    this.options = options;
    child.stderr?.on('data', (chunk: Buffer) => {
      if (proof !== undefined) appendFileSync(join(proof, `${child.pid}.log`), chunk);
      this.stderr.push(chunk.toString());
      if (this.stderr.length > 1000) this.stderr.shift();
    });
  }

  /** Starts one and waits for its ready line. */
  static async start(options: TestDaemonOptions = {}): Promise<TestDaemon> {
    const root = options.root ?? mkdtempSync(join(tmpdir(), 'vireo-'));
    if (options.inside === undefined) withoutDefaultNetwork(root);
    const args = [
      ...(options.inside ?? []),
      join(project, 'bin/vireod'),
      '--mode',
      options.mode ?? 'system',
      '--root',
      root,
      '--log-format',
      'json',
      '--no-idle-exit',
      ...(proof === undefined ? [] : ['--log-level', 'debug']),
    ];
    const [program = '', ...rest] = args;
    const child = spawn(program, [...rest, ...(options.args ?? [])], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: root, ...options.environment },
    });
    const daemon = new TestDaemon(root, child, options);
    await new Promise<void>((done, fail) => {
      let out = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        out += chunk.toString();
        if (out.includes('vireod ready')) done();
      });
      child.once('exit', (code) => {
        const tell = () => fail(new Error(`vireod ended with ${code}: ${daemon.stderr.join('')}`));
        // Its last words may come behind its end; programs that it started keep the pipe open.
        child.once('close', tell);
        setTimeout(tell, 2000).unref();
      });
    });
    return daemon;
  }

  get socketPath(): string {
    return join(this.root, 'run/vireo/vireo.sock');
  }

  connect(): Promise<VireoClient> {
    return connectVireo({ socketPath: this.socketPath });
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const ended = new Promise<number | null>((done) => this.child.once('exit', done));
    this.child.kill(signal);
    return ended;
  }

  /** Kills it as a power cut of the process would, and starts another on the same state. */
  async crashAndRestart(): Promise<TestDaemon> {
    await this.end('SIGKILL');
    return TestDaemon.start({ ...this.options, root: this.root });
  }

  /** Ends the daemon, its guests and its files. */
  async remove(): Promise<void> {
    await this.end('SIGKILL');
    const pids = qemuProcesses(this.root);
    const groups = pids.flatMap(ownGroups);
    for (const pid of pids) killQuietly(pid);
    await removeGroups(groups);
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Control groups of version 1 that a daemon made for a guest; the one of a living daemon goes with the guest. */
function ownGroups(pid: number): string[] {
  return textOf(`/proc/${pid}/cgroup`)
    .split('\n')
    .map((line) => /^\d+:([a-z_]+):(\/vireo\/[0-9a-f-]{36})/.exec(line))
    .flatMap((found) => (found === null ? [] : [`/sys/fs/cgroup/${found[1]}${found[2]}`]));
}

/** They can go when their processes have: soon after these were killed. */
async function removeGroups(groups: readonly string[]): Promise<void> {
  for (const group of groups.filter((path) => existsSync(path))) {
    const inner = readdirSync(group, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const directory of [...inner.map(({ name }) => join(group, name)), group])
      for (let tries = 0; tries < 50 && existsSync(directory); tries++)
        try {
          rmdirSync(directory);
        } catch {
          await new Promise((done) => setTimeout(done, 20)); // its processes end
        }
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself in the meantime.
  }
}

/** The QEMU processes whose environment names a guest directory below that root; zombies have none. */
export function qemuProcesses(root: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(
      (pid) =>
        commandLine(pid)[0]?.includes('qemu-system') === true && environment(pid).includes(`=${root}/`),
    );
}

const environment = (pid: number) => textOf(`/proc/${pid}/environ`);

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // gone
  }
}

export function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // gone
  }
}

/** Waits until the check holds; throws with `what` after the limit. */
export async function eventually(
  what: string,
  check: () => boolean | Promise<boolean>,
  limitMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}
