/** How long one request keeps the daemon from answering others: the longest ping of a second client meanwhile (pinger.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { VireoClient } from '../../src/api/client.ts';
import type { BenchDaemon } from '../daemon.ts';
import { minimalXml, twentyDeviceXml } from '../definitions.ts';
import { EchoServer } from '../echo.ts';
import type { Measurement } from '../result.ts';
import type { Bench } from './bench.ts';

interface Longest {
  readonly daemonMs: number;
  readonly echoMs: number;
}

/** The program pinger.ts at work. */
class Pinger {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.child = child;
    this.lines = lines;
  }

  static async start(daemon: BenchDaemon, echoPath: string): Promise<Pinger> {
    const program = join(import.meta.dirname, '../pinger.ts');
    const child = spawn(process.execPath, [program, daemon.socketPath, String(daemon.pid), echoPath], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (child.stdout === null) throw new Error('the pinger has no output');
    const pinger = new Pinger(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    await pinger.lines.next();
    return pinger;
  }

  /** The longest pings since the last call. */
  async take(): Promise<Longest> {
    this.child.stdin?.write('\n');
    return JSON.parse((await this.lines.next()).value as string) as Longest;
  }

  async end(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.stdin?.end();
    await ended;
  }
}

/** `daemon` has a thousand definitions. */
export async function measureLoop(bench: Bench, daemon: BenchDaemon): Promise<readonly Measurement[]> {
  const echo = await EchoServer.start(bench.place.make('loop'));
  const pinger = await Pinger.start(daemon, echo.socketPath);
  await using client = await daemon.connect();
  const rows: Measurement[] = [];
  for (const [name, request] of Object.entries(requests(bench, client)))
    rows.push(await longestDuring(bench, pinger, `others wait at most, during ${name}`, request));
  await client.call('domain.undefine', { domain: 'loop' });
  await client.call('domain.undefine', { domain: 'loop20' });
  await pinger.end();
  echo.end();
  return rows;
}

/** Each is done a few times; the first time, where something is read or compiled once, counts like the others. */
function requests(bench: Bench, client: VireoClient): Record<string, () => Promise<unknown>> {
  return {
    'define of 20 devices': () =>
      client.call('domain.define', { xml: twentyDeviceXml('loop20', bench.images) }),
    'define of a minimal one': () => client.call('domain.define', { xml: minimalXml('loop', 'pc') }),
    'domain.xml': () => client.call('domain.xml', { domain: 'loop20' }),
    'domain.command-line': () => client.call('domain.command-line', { domain: 'loop20' }),
    'list of 1000': () => client.call('domain.list'),
    'host.capabilities': () => client.call('host.capabilities'),
    'host.domain-capabilities': () => client.call('host.domain-capabilities'),
    'host.info': () => client.call('host.info'),
    start: () => client.call('domain.start', { domain: 'loop', paused: true }),
    destroy: () => client.call('domain.destroy', { domain: 'loop' }),
    'rpc.discover': () => client.call('rpc.discover'),
    'host.check': () => client.call('host.check'),
  };
}

async function longestDuring(
  bench: Bench,
  pinger: Pinger,
  name: string,
  request: () => Promise<unknown>,
): Promise<Measurement> {
  const once = /start|destroy/.test(name);
  const rounds = once ? 1 : Math.min(bench.rounds, 5);
  const longest: Longest[] = [];
  await pinger.take();
  for (let round = 0; round < rounds; round += 1) {
    await request();
    longest.push(await pinger.take());
  }
  return {
    name,
    unit: 'ms',
    ours: Math.max(...longest.map(({ daemonMs }) => daemonMs)),
    floor: Math.max(...longest.map(({ echoMs }) => echoMs)),
    goal: { of: 'value', atMost: 20 },
    samples: rounds,
  };
}
