/**
 * A small world of network namespaces: a host with the network code in it, clients to plug into its bridges, and a
 * server beyond its uplink. Everything is named after this process and gone after `remove()`.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { NetworkPlan } from '../../../src/net/plan.ts';
import { removeNamespace } from '../namespaces.ts';
import type { AgentOptions } from './agent.ts';

const runFile = promisify(execFile);

/** A NAT network as `default` is, on a subnet of the tests. */
export const natPlan: NetworkPlan = {
  uuid: '3b0c3a5e-0b1f-4d53-9f1c-6c9e3f0a1b2c',
  name: 'default',
  bridge: {
    name: 'virbr0',
    mac: '52:54:00:aa:bb:01',
    isStp: false,
    delaySeconds: 0,
    macTable: 'kernel',
  },
  forward: { mode: 'nat', devices: [], isNatIpv6: false },
  subnets: [
    {
      family: 4,
      address: '192.168.150.1',
      prefix: 24,
      isLocalPtr: false,
      dhcp: {
        ranges: [{ start: '192.168.150.100', end: '192.168.150.199' }],
        hosts: [{ mac: '52:54:00:00:00:11', name: 'reserved', address: '192.168.150.11' }],
      },
    },
  ],
  routes: [],
  domain: { name: 'lab.test', isLocalOnly: true, isRegistered: false },
  dns: {
    isEnabled: true,
    isPlainNamesForwarded: true,
    forwarders: [],
    txt: [],
    srv: [],
    hosts: [{ address: '192.168.150.1', names: ['gateway'] }],
    guestNames: [],
  },
  // A new lease else takes three seconds: dnsmasq first asks by ping whether anybody has the address.
  dnsmasqOptions: ['no-ping'],
  portForwards: [],
  guests: [],
};

let count = 0;

export class NetLab {
  readonly directory: string;
  private readonly id: string;
  private readonly namespaces: string[] = [];
  private readonly children: ChildProcess[] = [];

  constructor() {
    this.id = `vt${process.pid}-${++count}`;
    this.directory = mkdtempSync(join(tmpdir(), 'vireo-net-'));
    // dnsmasq's user must be able to enter.
    chmodSync(this.directory, 0o755);
    writeFileSync(join(this.directory, 'udhcpc.sh'), udhcpcScript, { mode: 0o755 });
    for (const name of ['host', 'world']) this.addNamespace(name);
    this.ip('host', `link add up0 type veth peer name eth0 netns ${this.ns('world')}`);
    this.ip('host', 'addr add 10.77.0.1/24 dev up0');
    this.ip('host', 'link set up0 up');
    this.ip('world', 'addr add 10.77.0.2/24 dev eth0');
    this.ip('world', 'link set eth0 up');
  }

  ns(name: string): string {
    return `${this.id}-${name}`;
  }

  private addNamespace(name: string): void {
    execFileSync('ip', ['netns', 'add', this.ns(name)]);
    this.namespaces.push(name);
    this.ip(name, 'link set lo up');
  }

  ip(name: string, words: string): void {
    execFileSync('ip', ['-n', this.ns(name), ...words.split(' ')], { stdio: 'pipe' });
  }

  /** Runs a program in a namespace; its output. Throws when it fails. */
  async run(name: string, ...argv: string[]): Promise<string> {
    const { stdout } = await runFile('ip', ['netns', 'exec', this.ns(name), ...argv], {
      timeout: 60_000,
      env: { PATH: process.env['PATH'], directory: this.directory },
    });
    return stdout;
  }

  async succeeds(name: string, ...argv: string[]): Promise<boolean> {
    return this.run(name, ...argv).then(
      () => true,
      () => false,
    );
  }

  /** Starts a program that goes on. */
  spawn(name: string, ...argv: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.ns(name), ...argv], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.children.push(child);
    return child;
  }

  /** A namespace with its eth0 plugged into a bridge of the host. */
  addClient(name: string, mac: string, bridge = 'virbr0'): void {
    this.addNamespace(name);
    this.ip('host', `link add v-${name} type veth peer name eth0 netns ${this.ns(name)}`);
    this.ip(name, `link set eth0 address ${mac}`);
    this.ip('host', `link set v-${name} master ${bridge}`);
    this.ip('host', `link set v-${name} up`);
    this.ip(name, 'link set eth0 up');
  }

  /** Asks for a lease as a guest does; its address. */
  async lease(name: string, hostName: string): Promise<string> {
    await this.run(
      name,
      ...['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', '10', '-T', '1'],
      ...['-s', join(this.directory, 'udhcpc.sh'), '-x', `hostname:${hostName}`],
    );
    return readFileSync(join(this.directory, 'lease-eth0'), 'utf8').trim();
  }

  /** Everything of the host namespace that a network could leave behind; the clients' cables are left out. */
  async snapshot(): Promise<string> {
    const [links, routes, nft, four, six, forwarding] = await Promise.all([
      this.run('host', 'ip', '-br', 'link'),
      this.run('host', 'ip', 'route'),
      this.run('host', 'nft', 'list', 'tables'),
      this.run('host', 'iptables-save'),
      this.run('host', 'ip6tables-save'),
      this.run('host', 'cat', '/proc/sys/net/ipv4/ip_forward'),
    ]);
    const keep = (text: string, line: RegExp) => text.split('\n').filter((one) => line.test(one));
    return [
      ...keep(links, /^(?!v-)./),
      ...keep(routes, /./),
      // iptables makes its own tables at the first look, and leaves them.
      ...keep(nft, /^table \S+ (?!(filter|nat|mangle|raw)$)/),
      ...keep(`${four}${six}`, /^(-A|:\S+ - )/),
      forwarding,
    ].join('\n');
  }

  /**
   * @param around a command that runs the agent: `ip netns exec` gives each program mounts of its own, which it may change
   */
  async agent(options: Partial<AgentOptions> = {}, around: readonly string[] = []): Promise<NetAgent> {
    const script = resolve(import.meta.dirname, 'agent.ts');
    const all = { root: this.directory, firewall: 'nftables', checkEveryMs: 200, ...options };
    return new NetAgent(this.spawn('host', ...around, process.execPath, script, JSON.stringify(all)));
  }

  /** A UDP server that answers each datagram with its own name. */
  async serveUdp(name: string, port: number, family: 4 | 6 = 4): Promise<void> {
    const script = `const s = require('dgram').createSocket('udp${family}'); s.on('message', (m, r) => s.send('${name} sees ' + r.address, r.port, r.address)); s.bind(${port}, () => console.log('ready'))`;
    const child = this.spawn(name, process.execPath, '-e', script);
    await new Promise((done) => child.stdout?.once('data', done));
  }

  /** What a UDP server answers, '' when nothing comes within a second. */
  async ask(name: string, address: string, port: number): Promise<string> {
    const family = address.includes(':') ? 6 : 4;
    const script = `const s = require('dgram').createSocket('udp${family}'); s.on('message', (m) => { console.log(String(m)); process.exit() }); s.send('?', ${port}, '${address}'); setTimeout(() => process.exit(), 1000)`;
    return (await this.run(name, process.execPath, '-e', script)).trim();
  }

  /** A TCP server that tells each caller who it is, by its own name and the address it sees. */
  async serve(name: string, port: number): Promise<void> {
    const script = `require('net').createServer((s) => s.on('error', () => {}).end('${name} sees ' + s.remoteAddress.replace('::ffff:', '') + '\\n')).listen(${port}, '::', () => console.log('ready'))`;
    const child = this.spawn(name, process.execPath, '-e', script);
    await new Promise((done) => child.stdout?.once('data', done));
  }

  /** What the server answers, '' when it can't be reached within two seconds. */
  async call(name: string, address: string, port: number): Promise<string> {
    const answer = await this.run(
      name,
      ...['busybox', 'timeout', '2', 'busybox', 'nc', address, String(port)],
    ).catch(() => '');
    return answer.trim();
  }

  /** The pids of dnsmasq processes that run on files of this lab. */
  async dnsmasqPids(): Promise<number[]> {
    const { stdout } = await runFile('ip', ['netns', 'pids', this.ns('host')]);
    return stdout
      .split('\n')
      .filter((pid) => pid !== '')
      .map(Number)
      .filter((pid) => commandOf(pid).startsWith('/usr/sbin/dnsmasq'));
  }

  remove(): void {
    for (const child of this.children) child.kill('SIGKILL');
    for (const name of this.namespaces) {
      removeNamespace(this.ns(name));
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // gone
  }
}

/** What udhcpc calls: takes the address and the route, and leaves the address where the test finds it. */
const udhcpcScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/$mask" dev "$interface"
[ -n "$router" ] && ip route add default via "$router"
echo "$ip" > "$directory/lease-$interface"
`;

/** The network host in a process of its own, inside the host's namespace. */
export class NetAgent {
  readonly child: ChildProcess;
  private next = 0;
  private readonly waiting = new Map<number, (reply: Reply) => void>();

  constructor(child: ChildProcess) {
    this.child = child;
    if (child.stdout === null) throw new Error('the agent has no stdout');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const reply = JSON.parse(line) as Reply;
      this.waiting.get(reply.id)?.(reply);
      this.waiting.delete(reply.id);
    });
    child.on('exit', () => {
      for (const settle of this.waiting.values()) settle({ id: -1, error: { message: 'the agent ended' } });
    });
  }

  async ask<Result = unknown>(method: string, argument?: unknown): Promise<Result> {
    const id = ++this.next;
    const reply = await new Promise<Reply>((settle) => {
      this.waiting.set(id, settle);
      this.child.stdin?.write(`${JSON.stringify({ id, method, argument })}\n`);
    });
    if (reply.error) throw Object.assign(new Error(reply.error.message), { code: reply.error.code });
    return reply.result as Result;
  }

  /** As a power cut of the daemon: nothing is put in order. */
  async crash(): Promise<void> {
    const ended = new Promise((done) => this.child.once('exit', done));
    this.child.kill('SIGKILL');
    await ended;
  }
}

interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly code?: string; readonly message: string };
}
