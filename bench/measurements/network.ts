/** Networks: start and stop against the floor and against libvirtd, and a daemon's start with many of them. */
import { readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BenchDaemon } from '../daemon.ts';
import type { NetworkRecipe } from '../network-floor.ts';
import { NetworkLab, networkXml } from '../network-lab.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import { Teller, virshTime } from '../teller.ts';
import type { Bench } from './bench.ts';

export async function measureNetwork(bench: Bench): Promise<readonly Measurement[]> {
  if (process.getuid?.() !== 0) {
    process.stderr.write('networks are not measured: that needs root\n');
    return [];
  }
  const lab = new NetworkLab();
  try {
    return [
      ...(await measureStartAndStop(bench, lab)),
      ...(await measureIptables(bench, lab)),
      ...(await measureMany(bench, lab)),
    ];
  } finally {
    lab.remove();
  }
}

interface Sides {
  readonly start: number[];
  readonly stop: number[];
}

const sides = (): Sides => ({ start: [], stop: [] });

async function measureStartAndStop(bench: Bench, lab: NetworkLab): Promise<Measurement[]> {
  const { daemon } = await BenchDaemon.start(bench.place, 'network', { around: lab.around });
  const floor = await Floor.start(bench, lab, daemon);
  const peer = bench.peer === undefined ? undefined : await Peer.start(bench, bench.peer);
  const [ours, least, theirs] = [sides(), sides(), sides()];
  try {
    for (let round = 0; round < bench.rounds; round += 1) {
      await sampleOurs(daemon, ours);
      least.start.push(await floor.tell('start'));
      least.stop.push(await floor.tell('stop'));
      if (peer === undefined) continue;
      theirs.start.push(await peer.tell('net-start bench0'));
      theirs.stop.push(await peer.tell('net-destroy bench0'));
    }
  } finally {
    await peer?.end();
    await floor.end();
    await daemon.end();
  }
  return [
    compare('network start / ip + nft + dnsmasq', 'ms', { ours: ours.start, floor: least.start }, 1.5),
    compare('network stop / kill + nft + ip', 'ms', { ours: ours.stop, floor: least.stop }),
    ...(peer === undefined
      ? []
      : [
          compare('network start / libvirtd', 'ms', { ours: ours.start, floor: theirs.start }, 1),
          compare('network stop / libvirtd', 'ms', { ours: ours.stop, floor: theirs.stop }, 0.15),
        ]),
  ];
}

async function sampleOurs(daemon: BenchDaemon, into: Sides): Promise<void> {
  await using client = await daemon.connect();
  into.start.push(await timeMs(() => client.call('network.start', { network: 'bench0' })));
  into.stop.push(await timeMs(() => client.call('network.stop', { network: 'bench0' })));
}

async function measureIptables(bench: Bench, lab: NetworkLab): Promise<Measurement[]> {
  const settings = "firewall_backend = 'iptables'\n";
  const { daemon } = await BenchDaemon.start(bench.place, 'network-iptables', {
    around: lab.around,
    settings,
  });
  const ours = sides();
  try {
    await using client = await daemon.connect();
    await client.call('network.define', { xml: networkXml(0) });
    for (let round = 0; round < bench.rounds; round += 1) await sampleOurs(daemon, ours);
  } finally {
    await daemon.end();
  }
  return [
    absolute('network start by iptables', 'ms', ours.start),
    absolute('network stop by iptables', 'ms', ours.stop),
  ];
}

/** A daemon's start on a host that has just booted: 100 networks are defined, and 20 of them are to start. */
async function measureMany(bench: Bench, lab: NetworkLab): Promise<Measurement[]> {
  const samples: number[] = [];
  for (let round = 0; round < (bench.isQuick ? 1 : 3); round += 1) {
    const name = `many${round}`;
    const first = (await BenchDaemon.start(bench.place, name, { around: lab.around })).daemon;
    await define(first, 100, 20);
    await first.end();
    reboot(first);
    const begun = performance.now();
    const second = (await BenchDaemon.start(bench.place, name, { around: lab.around })).daemon;
    await untilActive(second, 20);
    samples.push(performance.now() - begun);
    await stopAll(second);
    await second.end();
  }
  return [absolute('100 networks, 20 active after a daemon start', 'ms', samples, 3000)];
}

/** Clears what a reboot of the host clears. `run` may be a link into memory: what it leads to goes, the link stays. */
function reboot(daemon: BenchDaemon): void {
  const run = realpathSync(join(daemon.root, 'run'));
  for (const entry of readdirSync(run)) rmSync(join(run, entry), { recursive: true, force: true });
}

async function define(daemon: BenchDaemon, count: number, autostarted: number): Promise<void> {
  await using client = await daemon.connect();
  for (let number = 0; number < count; number += 1) {
    await client.call('network.define', { xml: networkXml(number) });
    if (number < autostarted)
      await client.call('network.set-autostart', { network: `bench${number}`, autostart: true });
  }
}

async function untilActive(daemon: BenchDaemon, count: number): Promise<void> {
  await using client = await daemon.connect();
  const deadline = performance.now() + 60_000;
  while (performance.now() < deadline) {
    const { networks } = await client.call('network.list', { active: true });
    if (networks.length >= count) return;
    await delay(5);
  }
  throw new Error(`${count} networks are not active within a minute`);
}

async function stopAll(daemon: BenchDaemon): Promise<void> {
  await using client = await daemon.connect();
  const { networks } = await client.call('network.list', { active: true });
  for (const { name } of networks) await client.call('network.stop', { network: name });
}

class Floor {
  private readonly teller: Teller;

  private constructor(teller: Teller) {
    this.teller = teller;
  }

  /** Takes its recipe from a network that the daemon has started. */
  static async start(bench: Bench, lab: NetworkLab, daemon: BenchDaemon): Promise<Floor> {
    await using client = await daemon.connect();
    await client.call('network.define', { xml: networkXml(0) });
    await client.call('network.start', { network: 'bench0' });
    const directory = bench.place.make('network-floor');
    const pidFile = join(directory, 'pid');
    const used = readFileSync(join(daemon.root, 'var/lib/libvirt/dnsmasq/bench0.conf'), 'utf8');
    const configuration = join(directory, 'conf');
    writeFileSync(
      configuration,
      used
        .replace(/^pid-file=.*$/m, `pid-file=${pidFile}`)
        .replace(/^dhcp-leasefile=.*$/m, `dhcp-leasefile=${join(directory, 'leases')}`),
    );
    const rules = lab.run(['nft', 'list', 'ruleset']);
    const recipe: NetworkRecipe = {
      bridge: 'vbench0',
      address: '10.77.0.1/24',
      rules,
      tables: [...rules.matchAll(/^table (\S+ \S+)/gm)].map(([, table = '']) => table),
      configuration,
      pidFile,
    };
    await client.call('network.stop', { network: 'bench0' });
    const script = resolve(import.meta.dirname, '../network-floor.ts');
    return new Floor(
      new Teller([...lab.around, process.execPath, script, JSON.stringify(recipe)], /^([\d.]+)$/),
    );
  }

  tell(verb: 'start' | 'stop'): Promise<number> {
    return this.teller.tell(verb);
  }

  end(): Promise<void> {
    return this.teller.end();
  }
}

/** libvirtd, asked by one virsh that lives through the measurement and times each command itself. */
class Peer {
  private readonly teller: Teller;

  private constructor(teller: Teller) {
    this.teller = teller;
  }

  static async start(bench: Bench, command: string): Promise<Peer> {
    const file = join(bench.place.make('peer'), 'network.xml');
    writeFileSync(file, networkXml(0));
    const words = command.split(/\s+/).filter((word) => word !== '');
    const peer = new Peer(new Teller([...words, 'virsh', '--timing'], virshTime));
    await peer.tell(`net-define ${file}`);
    // The first start loads what later ones have.
    await peer.tell('net-start bench0');
    await peer.tell('net-destroy bench0');
    return peer;
  }

  tell(command: string): Promise<number> {
    return this.teller.tell(command);
  }

  end(): Promise<void> {
    return this.teller.end();
  }
}
