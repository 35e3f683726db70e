/**
 * A change of a running guest that QEMU is in the middle of when it is held: an error in time, and when it goes on the running
 * definition says what it has. A disk's server that does not answer has QEMU wait in the middle, however fast it is.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, type TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

/** The first bytes of an NBD client's request to read (NBD protocol, transmission phase). */
const READ = Buffer.from([0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0]);

/** Between QEMU and an NBD server: says nothing more from a moment on, until it is let go on. */
class Gate {
  readonly server: Server;
  /** What the next client waits for: the server's first word, or what it reads; nothing by itself. */
  shut: 'greeting' | 'read' | undefined;
  isWaiting = false;
  private readonly sockets = new Set<Socket>();
  private release = Promise.withResolvers<void>();

  constructor(path: string) {
    this.server = createServer((client) => this.serve(client, connect(path)));
    this.server.listen(0, '127.0.0.1');
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  private serve(client: Socket, server: Socket): void {
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    if (this.shut !== 'greeting') server.pipe(client);
    else void this.wait().then(() => server.pipe(client));
    client.on('data', (chunk) => {
      if (this.shut !== 'read' || !chunk.includes(READ)) return void server.write(chunk);
      return void this.wait().then(() => server.write(chunk));
    });
  }

  private wait(): Promise<void> {
    this.isWaiting = true;
    return this.release.promise;
  }

  open(): void {
    this.shut = undefined;
    this.isWaiting = false;
    this.release.resolve();
    this.release = Promise.withResolvers();
  }

  close(): void {
    this.open();
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'qemu-nbd'], 'a change that QEMU is held in', () => {
  const guests = ['middle', 'end', 'medium', 'small'] as const;
  type Guest = (typeof guests)[number];
  const gates = new Map<Guest, Gate>();
  const servers: ChildProcess[] = [];
  let daemon: TestDaemon;
  let client: VireoClient;
  const path = (name: string) => join(daemon.root, name);

  beforeAll(async () => {
    daemon = await startImpatient();
    client = await daemon.connect();
    for (const guest of ['middle', 'end', 'medium'] as const) {
      writeFileSync(path(`${guest}.raw`), Buffer.alloc(1 << 20));
      const socket = path(`${guest}.nbd`);
      servers.push(spawn('qemu-nbd', ['-f', 'raw', '-t', '-e', '4', '-k', socket, path(`${guest}.raw`)]));
      await eventually('a server', () => existsSync(socket));
      gates.set(guest, new Gate(socket));
    }
    const start = async (name: Guest) => {
      const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <features><acpi/></features><devices><disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>
        <interface type='user'><mac address='52:54:00:11:22:33'/></interface></devices></domain>`;
      await client.call('domain.define', { xml });
      await client.call('domain.start', { domain: name });
    };
    await Promise.all(guests.map(start));
  });
  afterAll(async () => {
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGCONT');
    for (const gate of gates.values()) gate.close();
    await client?.close();
    await daemon?.remove();
    for (const server of servers) server.kill('SIGKILL');
  });

  const gateOf = (guest: Guest) => gates.get(guest) as Gate;
  const served = (guest: Guest, device: string, target: string) =>
    `<disk type='network' device='${device}'><driver name='qemu' type='raw'/><source protocol='nbd'>
     <host name='127.0.0.1' port='${gateOf(guest).port}'/></source>${target}</disk>`;
  const attach = (guest: Guest) =>
    client.call('domain.attach-device', {
      domain: guest,
      xml: served(guest, 'disk', "<target dev='vdb' bus='virtio'/>"),
    });
  const insert = (guest: Guest) =>
    client.call('domain.update-device', {
      domain: guest,
      xml: served(guest, 'cdrom', "<target dev='hdc' bus='ide'/><readonly/>"),
    });
  const said = async (domain: Guest, inactive = false) =>
    (await client.call('domain.xml', { domain, inactive })).xml;
  const qmp = async (domain: Guest, command: string, args: Record<string, unknown> = {}) =>
    (await client.call('domain.monitor-command', { domain, command, arguments: args })).return;
  const inQemu = async (domain: Guest) => {
    const devices = (await qmp(domain, 'qom-list', { path: '/machine/peripheral' })) as { name: string }[];
    const nodes = (await qmp(domain, 'query-named-block-nodes', { flat: true })) as unknown[];
    return {
      disks: devices.filter(({ name }) => name.startsWith('virtio-disk')).length,
      nodes: nodes.length,
    };
  };
  const pidOf = (domain: Guest) => {
    const cmdline = (pid: number) => execFileSync('cat', [`/proc/${pid}/cmdline`], { encoding: 'latin1' });
    const pid = qemuProcesses(daemon.root).find((one) => cmdline(one).includes(`guest=${domain},`));
    expect(pid).toBeDefined();
    return pid ?? 0;
  };

  /** Begins that, holds QEMU where its server has it wait, and has it go on when the caller has been told. */
  async function heldAt(guest: Guest, moment: 'greeting' | 'read', work: (guest: Guest) => Promise<unknown>) {
    const gate = gateOf(guest);
    gate.shut = moment;
    const call = outcome(work(guest));
    await eventually('QEMU in the middle', () => gate.isWaiting);
    const pid = pidOf(guest);
    signal(pid, 'SIGSTOP');
    gate.open();
    expect(await call).toMatchObject({
      code: 'qmp.timeout',
      hint: expect.stringContaining('the change is made or taken back') as string,
    });
    expect(await client.call('domain.get', { domain: guest })).toMatchObject({ state: 'running', job: null });
    signal(pid, 'SIGCONT');
  }
  /** What is asked for next begins when that is settled. */
  const settled = (guest: Guest) =>
    client.call('domain.set-link', {
      domain: guest,
      interface: '52:54:00:11:22:33',
      state: 'up',
      live: true,
    });

  it('is taken back as far as it came; the same can be done again', async () => {
    await heldAt('middle', 'greeting', attach);
    await settled('middle');
    expect(await inQemu('middle')).toEqual({ disks: 0, nodes: 0 });
    expect([await said('middle'), await said('middle', true)].join('')).not.toContain('vdb');
    await attach('middle');
    expect(await inQemu('middle')).toMatchObject({ disks: 1 });
    expect(await said('middle')).toContain('vdb');
  });

  it('is in the running definition when it was whole; and in what the next daemon reads', async () => {
    await heldAt('end', 'read', attach);
    await settled('end');
    expect(await inQemu('end')).toMatchObject({ disks: 1 });
    expect(await said('end')).toContain('vdb');
    expect(await said('end', true)).not.toContain('vdb');
    const { uuid } = await client.call('domain.get', { domain: 'end' });
    expect(readFileSync(path(`run/vireo/status/${uuid}.json`), 'utf8')).toContain('vdb');
  });

  it('of a medium leaves the drive with one of the two', async () => {
    await heldAt('medium', 'greeting', insert);
    await settled('medium');
    expect(await inQemu('medium')).toEqual({ disks: 0, nodes: 0 });
    expect(await said('medium')).not.toContain('nbd');
    await insert('medium');
    expect(await said('medium')).toContain("protocol='nbd'");
  });

  it('of one command is made when QEMU goes on, and said then', async () => {
    const pid = pidOf('small');
    signal(pid, 'SIGSTOP');
    const setLink = (state: 'up' | 'down') =>
      client.call('domain.set-link', { domain: 'small', interface: '52:54:00:11:22:33', state });
    expect(await outcome(setLink('down'))).toMatchObject({ code: 'qmp.timeout' });
    expect(await said('small')).not.toContain("<link state='down'/>");
    // What comes behind it is told in time, too.
    expect(await outcome(setLink('up'))).toMatchObject({ code: 'qmp.timeout' });
    signal(pid, 'SIGCONT');
    await eventually('the truth', async () => (await said('small')).includes("<link state='down'/>"));
    expect(await said('small', true)).not.toContain("<link state='down'/>");
    await setLink('up');
    expect(await said('small')).not.toContain("<link state='down'/>");
  });
});
