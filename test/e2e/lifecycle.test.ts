/** A user's way through a daemon: define, start, console, port forward, crash of the daemon, and everything found again. */
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { freePort } from '../support/free-port.ts';
import { littleLinux, writeTinyGuest } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** A machine without anything to boot: SeaBIOS waits for ever. */
const idleXml = (name: string, extra = '') => `<domain type='qemu'>
  <name>${name}</name><memory unit='MiB'>32</memory><os><type machine='pc'>hvm</type></os>${extra}
  <devices><serial type='pty'/></devices>
</domain>`;

/** Reads a stream until the text appears. */
async function readUntil(stream: Duplex, text: string, limitMs = 60_000): Promise<string> {
  let seen = '';
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no '${text}' within ${limitMs} ms in: ${seen}`)), limitMs);
    stream.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      if (!seen.includes(text)) return;
      clearTimeout(timer);
      done(seen);
    });
    stream.on('error', fail);
  });
}

function fetchText(port: number): Promise<string> {
  return new Promise((done, fail) => {
    get({ host: '127.0.0.1', port, path: '/', timeout: 5000, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      response.on('end', () => done(body));
    }).on('error', fail);
  });
}

describeWith(['root', 'qemu-system-x86_64'], 'a system daemon', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
  });
  afterAll(() => daemon.remove());
  afterEach(async () => {
    for (const domain of (await client.call('domain.list')).domains) {
      if (domain.active) await client.call('domain.destroy', { domain: domain.uuid });
      if (domain.persistent) await client.call('domain.undefine', { domain: domain.uuid });
    }
  });

  async function crash(): Promise<void> {
    await client[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
  }

  it('boots a guest whose console speaks, and sees it power off by itself', async () => {
    const image = join(daemon.root, 'tiny.img');
    writeTinyGuest(image);
    const disk = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/><target dev='hda' bus='ide'/></disk>`;
    const xml = idleXml('tiny', '<features><acpi/></features>').replace('<devices>', `<devices>${disk}`);
    const defined = await client.call('domain.define', { xml });
    expect(defined.domain).toMatchObject({
      name: 'tiny',
      state: 'shutoff',
      persistent: true,
      active: false,
      id: null,
    });
    await client.call('domain.start', { domain: 'tiny', paused: true });
    const { stream } = await client.upgrade('domain.console', { domain: 'tiny' });
    const spoken = readUntil(stream, 'TINY-GUEST alive');
    await client.call('domain.resume', { domain: 'tiny' });
    await spoken;
    const off = await client.call('domain.wait', { domain: 'tiny', until: 'shutoff', timeoutMs: 30_000 });
    expect(off).toMatchObject({ state: 'shutoff', reason: 'shutdown', active: false });
    expect(qemuProcesses(daemon.root)).toEqual([]);
  });

  it('tells every step as an event, after it is visible', async () => {
    const events = await client.subscribe({ events: ['domain.*'] });
    const seen: string[] = [];
    const reading = (async () => {
      for await (const event of events) {
        seen.push(event.event);
        if (event.event === 'domain.undefined') break;
      }
    })();
    await client.call('domain.define', { xml: idleXml('evt') });
    await client.call('domain.start', { domain: 'evt' });
    await client.call('domain.suspend', { domain: 'evt' });
    expect((await client.call('domain.get', { domain: 'evt' })).state).toBe('paused');
    await client.call('domain.resume', { domain: 'evt' });
    await client.call('domain.destroy', { domain: 'evt' });
    await client.call('domain.undefine', { domain: 'evt' });
    await reading;
    expect(seen).toEqual([
      'domain.defined',
      'domain.started',
      'domain.suspended',
      'domain.resumed',
      'domain.stopped',
      'domain.undefined',
    ]);
  });

  it('is killed and finds its guests again: running, paused, transient; and marks the one that died', async () => {
    for (const name of ['runs', 'paused', 'dies']) await client.call('domain.define', { xml: idleXml(name) });
    await client.call('domain.start', { domain: 'runs' });
    await client.call('domain.start', { domain: 'dies' });
    await client.call('domain.start', { domain: 'paused' });
    await client.call('domain.suspend', { domain: 'paused' });
    await client.call('domain.create-xml', { xml: idleXml('passing') });
    const before = await client.call('domain.list', {});
    const pids = qemuProcesses(daemon.root);
    expect(pids).toHaveLength(4);
    await client[Symbol.asyncDispose]();
    await daemon.end('SIGKILL');
    const doomed = pids.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('guest=dies'));
    process.kill(doomed ?? 0, 'SIGKILL');
    await eventually('the guest is gone', () => qemuProcesses(daemon.root).length === 3);
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    const after = await client.call('domain.list', {});
    const brief = (list: typeof before) =>
      Object.fromEntries(list.domains.map((d) => [d.name, [d.id, d.state, d.reason]]));
    expect(brief(after)).toEqual({
      ...brief(before),
      dies: [null, 'shutoff', 'crashed'],
    });
    expect(brief(after)['paused']?.slice(1)).toEqual(['paused', 'user']);
    await client.call('domain.resume', { domain: 'paused' });
    await client.call('domain.destroy', { domain: 'passing' });
    await expect(client.call('domain.get', { domain: 'passing' })).rejects.toMatchObject({
      code: 'domain.not-found',
    });
    await client.call('domain.start', { domain: 'dies' });
  });

  it('runs QEMU without privileges, with a uid of its own, and with no descriptor or variable that is not its own', async () => {
    await client.call('domain.define', { xml: idleXml('a') });
    await client.call('domain.define', { xml: idleXml('b') });
    await client.call('domain.start', { domain: 'a' });
    await client.call('domain.start', { domain: 'b' });
    const uids = new Set<string>();
    for (const pid of qemuProcesses(daemon.root)) {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const field = (name: string) =>
        new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '?';
      const uid = field('Uid').split(/\s+/);
      expect(new Set(uid).size).toBe(1);
      expect(Number(uid[0])).toBeGreaterThan(1000);
      uids.add(uid[0] ?? '');
      expect(field('Groups')).toBe('');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        expect(field(set)).toBe('0000000000000000');
      expect(field('NoNewPrivs')).toBe('1');
      expect(field('Seccomp')).toBe('2');
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      expect(environment).not.toContain('NODE');
      expect(environment).not.toContain('HOME=/root');
    }
    expect(uids.size).toBe(2);
  });

  it('stops on SIGTERM within 5 s and leaves guests alone; SIGHUP and SIGUSR1 do it no harm', async () => {
    await client.call('domain.define', { xml: idleXml('stays') });
    await client.call('domain.start', { domain: 'stays' });
    daemon.child.kill('SIGUSR1');
    daemon.child.kill('SIGHUP');
    await client.call('daemon.ping');
    await expect(
      new Promise((_, fail) => connect(9229, '127.0.0.1').on('error', fail)),
    ).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const startedAt = performance.now();
    await client[Symbol.asyncDispose]();
    expect(await daemon.end('SIGTERM')).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5000);
    expect(qemuProcesses(daemon.root)).toHaveLength(1);
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    expect((await client.call('domain.get', { domain: 'stays' })).state).toBe('running');
  });

  it('refuses a second daemon on the same paths and names the first', async () => {
    await expect(TestDaemon.start({ root: daemon.root })).rejects.toThrow(`process ${daemon.child.pid}`);
  });

  it('takes a guest with the connection that asked for it', async () => {
    const other = await daemon.connect();
    await other.call('domain.create-xml', { xml: idleXml('mine'), autodestroy: true });
    expect(qemuProcesses(daemon.root)).toHaveLength(1);
    await other[Symbol.asyncDispose]();
    await eventually('the guest is gone', () => qemuProcesses(daemon.root).length === 0);
    await eventually('its domain is gone', async () => {
      const { domains } = await client.call('domain.list', {});
      return domains.every(({ name }) => name !== 'mine');
    });
  });

  it('starts the marked guests once in the life of the host, not at each restart', async () => {
    await client.call('domain.define', { xml: idleXml('auto') });
    await client.call('domain.set-autostart', { domain: 'auto', autostart: true });
    await crash();
    expect((await client.call('domain.get', { domain: 'auto' })).active).toBe(false);
  });

  it('gives a Linux guest its address, and a port of the host into it while it runs', async () => {
    const files = await littleLinux(join(daemon.root, 'linux'));
    const created = await client.call('domain.create', {
      name: 'linux',
      memoryBytes: 256 * 1024 * 1024,
      ...files,
      cmdline: 'console=ttyS0 quiet no_timer_check',
      networks: [{ type: 'user' }],
    });
    // KVM where guests can use it; else emulation, and that is said.
    const { virtType } = created.domain;
    expect(created.warnings.length).toBe(virtType === 'kvm' ? 0 : 1);
    await client.call('domain.start', { domain: 'linux', paused: true });
    const { stream } = await client.upgrade('domain.console', { domain: 'linux' });
    const booted = readUntil(stream, 'vireo guest: ready', 120_000);
    await client.call('domain.resume', { domain: 'linux' });
    expect(await booted).toContain('address 10.0.2.15 gateway 10.0.2.2 dns 10.0.2.3');
    const hostPort = await freePort();
    await client.call('domain.port-forward.add', { domain: 'linux', hostPort, guestPort: 80 });
    expect(await fetchText(hostPort)).toContain('Hello from');
    stream.destroy();
    await crash();
    expect(await fetchText(hostPort)).toContain('Hello from');
    await client.call('domain.port-forward.remove', {
      domain: 'linux',
      protocol: 'tcp',
      hostAddress: '127.0.0.1',
      hostPort,
    });
    await expect(fetchText(hostPort)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.call('domain.shutdown', { domain: 'linux', mode: 'acpi', timeoutMs: 60_000 });
    expect((await client.call('domain.get', { domain: 'linux' })).reason).toBe('shutdown');
  });
});
