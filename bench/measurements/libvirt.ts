/** libvirt's protocol by a bare client: opening, calls one by one and in a pipeline; beside libvirtd where that is to be had. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LibvirtRound } from '../libvirt-calls.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import type { Bench } from './bench.ts';

const program = join(import.meta.dirname, '../libvirt-calls.ts');
/** Both daemons compile, or fault in, what they run often. */
const WARM_ROUNDS = 2;
/** Goals against libvirtd: a call, an opening, and the inverse of five times its pipelined rate. */
const goals = { open: 0.5, call: 0.4, pipelined: 0.2 } as const;

export async function measureLibvirt(bench: Bench): Promise<readonly Measurement[]> {
  const ours = new Client([], join(bench.daemon.root, 'run/libvirt/libvirt-sock'));
  const peer = bench.peer === undefined ? undefined : new Client(bench.peer.split(' '));
  const samples = { ours: [] as LibvirtRound[], theirs: [] as LibvirtRound[] };
  try {
    for (let count = -WARM_ROUNDS; count < bench.rounds; count += 1) {
      const mine = await ours.round();
      const other = await peer?.round();
      if (count < 0) continue;
      samples.ours.push(mine);
      if (other !== undefined) samples.theirs.push(other);
    }
  } finally {
    await ours.end();
    await peer?.end();
  }
  const row = (name: string, unit: string, value: (round: LibvirtRound) => number, goal: number) => {
    const mine = samples.ours.map(value);
    if (peer === undefined) return absolute(name, unit, mine);
    return compare(`${name} / libvirtd`, unit, { ours: mine, floor: samples.theirs.map(value) }, goal);
  };
  return [
    row('libvirt: connect, open, close', 'µs', ({ openUs }) => openUs, goals.open),
    row('libvirt: call', 'µs', ({ callUs }) => callUs, goals.call),
    row(
      'libvirt: call, 32 under way',
      'µs',
      ({ pipelinedPerSecond }) => 1e6 / pipelinedPerSecond,
      goals.pipelined,
    ),
  ];
}

/** The program beside one daemon: `around` runs it where that daemon's sockets are. */
class Client {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(around: readonly string[], ...args: string[]) {
    const [command = '', ...rest] = [...around, process.execPath, program, ...args];
    this.child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
    if (this.child.stdout === null) throw new Error('no pipe');
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async round(): Promise<LibvirtRound> {
    this.child.stdin?.write('round\n');
    const { value, done } = await this.lines.next();
    if (done === true) throw new Error('the client of libvirt has ended');
    return JSON.parse(value) as LibvirtRound;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.stdin?.end();
    await ended;
  }
}
