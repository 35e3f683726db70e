/** The floor of everything about guests: the same QEMU with the same arguments and descriptors, without a daemon. */
import { constants } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { close, listenUnix, open, posixSpawnAsync, reapChild, type WaitStatus } from '../src/base/ffi.ts';
import { commandLine } from './processes.ts';

type Descriptor =
  | { readonly kind: 'socket'; readonly isMonitor: boolean }
  | { readonly kind: 'file'; readonly path: string; readonly isWritable: boolean };

/** How a guest was started by the daemon, so that it can be done again without it. */
export interface Recipe {
  readonly argv: readonly string[];
  /** By number, from 3 up. */
  readonly descriptors: readonly Descriptor[];
}

/**
 * Reads the recipe off a guest that the daemon has just started. `files` are its images in the order of its disks: QEMU
 * has closed the descriptors in `-add-fd` by now, and keeps copies under other numbers.
 */
export function recipeOf(pid: number, files: readonly string[]): Recipe {
  const argv = commandLine(pid);
  const descriptors: Descriptor[] = [];
  const seen = new Set<string>();
  for (const word of argv) {
    // `-add-fd fd=5,set=2`, `-chardev socket,id=charmonitor,fd=3`, and the JSON form of the same.
    const fd = /\bfd(?:=|":")(\d+)/.exec(word)?.[1];
    if (fd === undefined) continue;
    const set = /,set=(\d+)$/.exec(word)?.[1];
    descriptors[Number(fd) - 3] =
      set === undefined
        ? { kind: 'socket', isMonitor: word.includes('charmonitor') }
        : { kind: 'file', path: files[Number(set) - 1] ?? '', isWritable: !seen.has(set) };
    if (set !== undefined) seen.add(set);
  }
  return { argv, descriptors };
}

let runs = 0;

/** One bare QEMU. */
export class BareQemu {
  private readonly pid: number;
  private readonly monitor: Monitor;

  private constructor(pid: number, monitor: Monitor) {
    this.pid = pid;
    this.monitor = monitor;
  }

  /** Spawns it and returns when it has answered: `cont` unless `paused`, else the first command. */
  static async start(
    recipe: Recipe,
    directory: string,
    options: { readonly paused: boolean },
  ): Promise<BareQemu> {
    runs += 1;
    const monitorPath = join(directory, `m${runs}`);
    const fds = openAll(recipe, directory, monitorPath);
    let pid: number;
    try {
      pid = await posixSpawnAsync({
        file: recipe.argv[0] ?? '',
        argv: recipe.argv,
        environment: ['PATH=/usr/bin:/bin', 'LC_ALL=C', `VIREO_GUEST=${directory}/bare`],
        directory,
        descriptors: fds,
        newSession: true,
      });
    } finally {
      for (const fd of new Set(fds)) close(fd);
    }
    const monitor = new Monitor(monitorPath);
    await monitor.line();
    await monitor.run('qmp_capabilities');
    if (!options.paused) await monitor.run('cont');
    return new BareQemu(pid, monitor);
  }

  /** SIGKILL, until the process is reaped. */
  async kill(): Promise<void> {
    const ended = childEnd(this.pid);
    process.kill(this.pid, 'SIGKILL');
    await ended;
    this.monitor.close();
  }
}

function openAll(recipe: Recipe, directory: string, monitorPath: string): number[] {
  const log = open(
    join(directory, 'bare.log'),
    constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND,
    0o600,
  );
  const fds = [open('/dev/null', constants.O_RDONLY), log, log];
  recipe.descriptors.forEach((descriptor, index) => {
    if (descriptor.kind === 'file')
      fds.push(open(descriptor.path, descriptor.isWritable ? constants.O_RDWR : constants.O_RDONLY));
    else fds.push(listenUnix(descriptor.isMonitor ? monitorPath : join(directory, `s${runs}.${index}`)));
  });
  return fds;
}

const dying = new Map<number, (status: WaitStatus) => void>();

/** Settles when that child has ended and is reaped. */
function childEnd(pid: number): Promise<WaitStatus> {
  const { promise, resolve } = Promise.withResolvers<WaitStatus>();
  dying.set(pid, resolve);
  if (process.listenerCount('SIGCHLD', reapDying) === 0) process.on('SIGCHLD', reapDying);
  reapDying();
  return promise;
}

/** SIGCHLD signals merge, so each one means: look at all of them. */
function reapDying(): void {
  for (const [pid, settle] of dying) {
    const status = reapChild(pid);
    if (status === undefined) continue;
    dying.delete(pid);
    settle(status);
  }
}

/** The least that speaks QMP: replies in order, events passed over. */
class Monitor {
  private readonly socket: Socket;
  private readonly waiting: ((line: string) => void)[] = [];
  private partial = '';

  constructor(path: string) {
    this.socket = connect({ path });
    this.socket.on('data', (chunk: Buffer) => this.take(chunk.toString()));
    // The end of QEMU, wanted or not, shows at the process.
    this.socket.on('error', () => undefined);
  }

  line(): Promise<string> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
    });
  }

  async run(command: string): Promise<void> {
    const reply = this.line();
    this.socket.write(`{"execute":"${command}"}`);
    const line = await reply;
    if (!line.startsWith('{"return"')) throw new Error(`${command}: ${line}`);
  }

  close(): void {
    this.socket.destroy();
  }

  private take(text: string): void {
    const lines = (this.partial + text).split('\n');
    this.partial = lines.pop() ?? '';
    for (const line of lines) if (!line.includes('"event"')) this.waiting.shift()?.(line);
  }
}
