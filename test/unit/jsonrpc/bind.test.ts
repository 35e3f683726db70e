/** Methods bound to the real domain service over a fake hypervisor; the client checks every result by its schema. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { buildHandlers } from '../../../src/daemon/frontends/jsonrpc/bind.ts';
import type { DaemonSource } from '../../../src/daemon/frontends/jsonrpc/bind-daemon.ts';
import type { HostSource } from '../../../src/daemon/frontends/jsonrpc/bind-host.ts';
import { DomainService } from '../../../src/daemon/services/domain-service.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import { DefinitionStore } from '../../../src/daemon/state/definitions.ts';
import { RuntimeStore } from '../../../src/daemon/state/runtime.ts';
import { readHostFacts, readHostMemory } from '../../../src/kvm/host-facts.ts';
import { FakeDriver } from './fake-driver.ts';
import { startServer, until } from './support.ts';

const daemonSource: DaemonSource = {
  version: '9.9.9',
  mode: 'session',
  startedAtMs: Date.now() - 1000,
  hostName: 'here',
  paths: { runtime: '/run/x' },
  sockets: () => [{ frontend: 'jsonrpc', path: '/run/x/s' }],
  clients: () => ({ clients: 1, subscriptions: 0 }),
  logLevel: () => 'info',
  setLogLevel: () => {},
};

const hostSource: HostSource = {
  facts: () => readHostFacts(),
  memory: () => readHostMemory(),
  kvm: () =>
    Promise.resolve({
      usable: false,
      device: '/dev/kvm',
      arch: 'x86_64',
      extensions: {},
      vcpus: { recommended: 0, max: 0 },
      vcpuMmapBytes: 0,
      cpu: { vendor: undefined, flag: undefined, underHypervisor: true },
      module: { name: 'kvm', loaded: false, nested: undefined },
      problem: { code: 'no-node', reason: 'no node', repair: 'load kvm' },
    } as unknown as Awaited<ReturnType<HostSource['kvm']>>),
  check: () =>
    Promise.resolve([{ id: 'kvm', title: 'KVM', status: 'problem', detail: 'no node', repair: 'load' }]),
};

async function startDaemon() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-bind-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const driver = new FakeDriver();
  const log = silentLogger;
  const events = new EventBus(log);
  const domains = new DomainService({
    mode: 'system',
    driver,
    definitions: new DefinitionStore({
      directory: join(directory, 'd'),
      quarantine: join(directory, 'q'),
      log,
    }),
    runtime: new RuntimeStore({ directory: join(directory, 'r'), log }),
    events,
    log,
    jobWaitMs: 1000,
    stopGraceMs: 1000,
    host: {
      logDirectory: '/var/log/vireo/qemu',
      arch: 'x86_64',
      kvmProblem: () => Promise.resolve({ reason: 'no node', hint: 'load kvm' }),
    },
  });
  await domains.open();
  const handlers = buildHandlers({ domains, driver, log, host: hostSource, daemon: daemonSource });
  const rig = await startServer({ handlers, events: (listener) => events.subscribe(listener) });
  return { ...rig, driver, directory, connect: () => connected(rig) };
}

async function connected(rig: { client(): Promise<VireoClient> }): Promise<VireoClient> {
  const client = await rig.client();
  onTestFinished(() => client.close());
  return client;
}

const xml = (name: string, rest = '', os = '') =>
  `<domain type='qemu'><name>${name}</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type>${os}</os><devices><interface type='user'/><serial type='pty'/>${rest}</devices></domain>`;

describe('the methods', () => {
  it('define, show, list, rename and undefine a domain', async () => {
    const client = await (await startDaemon()).connect();
    const { domain } = await client.call('domain.define', { xml: xml('a') });
    expect(domain).toMatchObject({
      name: 'a',
      state: 'shutoff',
      active: false,
      persistent: true,
      memoryBytes: 64 * 2 ** 20,
    });
    await client.call('domain.define', { xml: xml('b') });
    const { domains } = await client.call('domain.list', {});
    expect(domains.map(({ name }) => name)).toEqual(['a', 'b']);
    expect((await client.call('domain.list', { active: true })).domains).toEqual([]);
    const details = await client.call('domain.get', { domain: domain.uuid.toUpperCase() });
    expect(details).toMatchObject({ name: 'a', arch: 'x86_64', machine: 'pc', pid: null, startedAt: null });
    expect(details.interfaces).toMatchObject([{ type: 'user', address: '10.0.2.15' }]);
    expect(details.consoles).toMatchObject([{ kind: 'serial', backend: 'pty' }]);
    expect((await client.call('domain.xml', { domain: 'a' })).xml).toContain('<name>a</name>');
    expect((await client.call('domain.command-line', { domain: 'a' })).argv).toEqual(['qemu', '-name', 'a']);
    expect(await client.call('domain.log', { domain: 'a', maxBytes: 7 })).toEqual({ text: 'a 7' });
    expect(await client.call('domain.rename', { domain: 'a', name: 'c' })).toMatchObject({
      name: 'c',
      uuid: domain.uuid,
    });
    await client.call('domain.undefine', { domain: 'c' });
    await expect(client.call('domain.get', { domain: 'c' })).rejects.toMatchObject({
      code: 'domain.not-found',
    });
  });

  it('names what a lenient definition lost, and refuses it when strict', async () => {
    const client = await (await startDaemon()).connect();
    const odd = xml('a', '<teleporter/>');
    await expect(client.call('domain.define', { xml: odd })).rejects.toMatchObject({ code: 'xml.invalid' });
    const { dropped } = await client.call('domain.define', { xml: odd, strict: false });
    expect(dropped.join()).toContain('teleporter');
  });

  it('run a guest from start to destroy', async () => {
    const { connect, driver } = await startDaemon();
    const client = await connect();
    await client.call('domain.define', { xml: xml('a'), startAfter: true });
    const guest = driver.lastGuest;
    const details = await client.call('domain.get', { domain: 'a' });
    expect(details).toMatchObject({ id: 1, state: 'running', pid: guest.record.pid, active: true });
    expect(await client.call('domain.suspend', { domain: { id: 1 } })).toMatchObject({
      state: 'paused',
      reason: 'user',
    });
    expect(await client.call('domain.resume', { domain: 'a' })).toMatchObject({ state: 'running' });
    await client.call('domain.send-key', {
      domain: 'a',
      keys: ['KEY_LEFTCTRL', 56, '111'],
      codeset: 'linux',
    });
    await client.call('domain.send-key', { domain: 'a', keys: ['ctrl', 1], holdMs: 5 });
    await client.call('domain.inject-nmi', { domain: 'a' });
    await client.call('domain.reset', { domain: 'a' });
    expect(guest.done).toEqual([
      'suspend',
      'resume',
      'keys ctrl+alt+delete 100',
      'keys ctrl+1 5',
      'nmi',
      'reset',
    ]);
    const { base64 } = await client.call('domain.screenshot', { domain: 'a' });
    expect(Buffer.from(base64, 'base64').toString()).toBe('picture');
    const query = { domain: 'a', command: 'x', arguments: { y: [1] } };
    expect(await client.call('domain.monitor-command', query)).toEqual({
      return: { command: 'x', args: { y: [1] } },
    });
    expect(await client.call('domain.job', { domain: 'a' })).toEqual({ job: null });
    await client.call('domain.destroy', { domain: 'a' });
    expect(await client.call('domain.wait', { domain: 'a', until: 'shutoff' })).toMatchObject({
      reason: 'destroyed',
    });
    await expect(client.call('domain.destroy', { domain: 'a' })).rejects.toMatchObject({
      code: 'domain.inactive',
    });
  });

  it('refuse keys that nobody knows, by their place', async () => {
    const { connect } = await startDaemon();
    const client = await connect();
    await client.call('domain.define', { xml: xml('a'), startAfter: true });
    const call = client.call('domain.send-key', {
      domain: 'a',
      keys: ['KEY_A', 'KEY_NOSUCH'],
      codeset: 'linux',
    });
    await expect(call).rejects.toMatchObject({
      code: 'request.invalid',
      details: { problems: [{ path: 'keys[1]' }] },
    });
    const hostile = client.call('domain.send-key', { domain: 'a', keys: ['a"}'] });
    await expect(hostile).rejects.toMatchObject({ code: 'request.invalid' });
  });

  it('shut down by the power button and wait for the end, also of a transient domain', async () => {
    const { connect } = await startDaemon();
    const client = await connect();
    await client.call('domain.create-xml', { xml: xml('passing') });
    const ended = await client.call('domain.shutdown', { domain: 'passing', mode: 'acpi', timeoutMs: 5000 });
    expect(ended).toMatchObject({ state: 'shutoff', reason: 'shutdown', persistent: false });
    expect((await client.call('domain.list', {})).domains).toEqual([]);
  });

  it('create from a description, with a warning about emulation', async () => {
    const { connect, driver } = await startDaemon();
    const client = await connect();
    const created = await client.call('domain.create', {
      name: 'web',
      memoryBytes: 128 * 2 ** 20,
      vcpus: 2,
      networks: [{ type: 'user', portForwards: [{ hostPort: 2222, guestPort: 22 }] }],
      start: true,
    });
    expect(created.domain).toMatchObject({ name: 'web', virtType: 'qemu', vcpus: 2, active: true });
    expect(created.warnings.join()).toMatch(/without KVM.*load kvm/);
    const { portForwards } = await client.call('domain.port-forward.list', { domain: 'web' });
    expect(portForwards).toMatchObject([
      { interface: 'net0', protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 },
    ]);
    await client.call('domain.port-forward.add', { domain: 'web', hostPort: 8080, guestPort: 80 });
    await client.call('domain.port-forward.remove', { domain: 'web', hostPort: 2222 });
    expect(driver.lastGuest.done).toEqual(['forward net0', 'unforward net0']);
    const again = client.call('domain.create', { name: 'web', memoryBytes: 2 ** 30 });
    await expect(again).rejects.toMatchObject({ code: 'domain.exists' });
    const nonsense = client.call('domain.create', {
      name: 'x',
      memoryBytes: 2 ** 30,
      transient: true,
      autostart: true,
    });
    await expect(nonsense).rejects.toMatchObject({ code: 'request.invalid' });
  });

  it('change title, description, metadata and autostart', async () => {
    const client = await (await startDaemon()).connect();
    await client.call('domain.define', { xml: xml('a') });
    await client.call('domain.set-title', { domain: 'a', title: 'A <b>' });
    await client.call('domain.set-description', { domain: 'a', description: 'two\nlines' });
    await client.call('domain.set-autostart', { domain: 'a', autostart: true });
    await client.call('domain.set-metadata', { domain: 'a', uri: 'urn:x', key: 'x', xml: '<m n="1"/>' });
    expect((await client.call('domain.get-metadata', { domain: 'a', uri: 'urn:x' })).xml).toContain("n='1'");
    expect(await client.call('domain.get', { domain: 'a' })).toMatchObject({
      title: 'A <b>',
      description: 'two\nlines',
      autostart: true,
    });
    await client.call('domain.set-metadata', { domain: 'a', uri: 'urn:x', xml: null });
    const gone = client.call('domain.get-metadata', { domain: 'a', uri: 'urn:x' });
    await expect(gone).rejects.toMatchObject({ code: 'domain.no-metadata' });
  });

  it('open a console as a byte stream', async () => {
    const { connect, driver } = await startDaemon();
    const client = await connect();
    await client.call('domain.define', { xml: xml('a'), startAfter: true });
    const { result, stream } = await client.upgrade('domain.console', { domain: 'a' });
    expect(result).toEqual({ console: 'serial0' });
    driver.lastGuest.console.write('login: ');
    const [chunk] = await new Promise<Buffer[]>((resolve) => {
      stream.once('data', (data: Buffer) => resolve([data]));
    });
    expect(chunk?.toString()).toBe('login: ');
    stream.destroy();
  });

  it('tell of the daemon, the host and themselves', async () => {
    const client = await (await startDaemon()).connect();
    expect(await client.call('daemon.info')).toMatchObject({
      version: '9.9.9',
      pid: process.pid,
      counts: { domains: 0 },
    });
    expect(await client.call('daemon.set-log-level', { level: 'debug' })).toEqual({ previous: 'info' });
    expect((await client.call('host.info')).kvm).toEqual({
      usable: false,
      reason: 'no node',
      hint: 'load kvm',
    });
    expect((await client.call('host.check')).checks).toMatchObject([{ id: 'kvm', repair: 'load' }]);
    expect((await client.call('host.capabilities')).xml).toBe('<capabilities/>');
    expect((await client.call('host.domain-capabilities', { arch: 'x86_64' })).xml).toContain(
      '"arch":"x86_64"',
    );
    const document = await client.call('rpc.discover');
    expect(document).toMatchObject({ openrpc: '1.3.2', info: { version: '9.9.9' } });
  });
});

describe('autodestroy', () => {
  it('takes the guest away when the connection closes, and no other', async () => {
    const { connect, driver, client } = await startDaemon();
    const watcher = await connect();
    await watcher.call('domain.define', { xml: xml('stays'), startAfter: true });
    const owner = await client();
    await owner.call('domain.create-xml', { xml: xml('goes'), autodestroy: true });
    await owner.close();
    await until(() => driver.lastGuest.done.includes('kill'));
    const { domains } = await watcher.call('domain.list', {});
    expect(domains.map(({ name }) => name)).toContain('stays');
    expect(driver.guests[0]?.done).toEqual([]);
  });

  it('holds when the connection closes while the guest is being started', async () => {
    const { driver, client } = await startDaemon();
    let open: () => void = () => {};
    driver.startGate = new Promise((resolve) => {
      open = resolve;
    });
    const owner = await client();
    const failed = expect(
      owner.call('domain.create-xml', { xml: xml('goes'), autodestroy: true }),
    ).rejects.toMatchObject({
      code: 'daemon.unreachable',
    });
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    await owner.close();
    await failed;
    open();
    await until(() => driver.guests.length === 1 && driver.lastGuest.done.includes('kill'));
  });
});

describe('undefine of a domain with firmware variables', () => {
  async function withVariables() {
    const daemon = await startDaemon();
    const client = await daemon.connect();
    const path = join(daemon.directory, 'a_VARS.fd');
    writeFileSync(path, 'keys');
    const os = `<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>${path}</nvram>`;
    await client.call('domain.define', { xml: xml('a', '', os) });
    return { client, path };
  }

  it('wants to be told what becomes of them', async () => {
    const { client, path } = await withVariables();
    await expect(client.call('domain.undefine', { domain: 'a' })).rejects.toMatchObject({
      code: 'operation.failed',
    });
    expect(await client.call('domain.get', { domain: 'a' })).toMatchObject({ name: 'a' });
    expect(existsSync(path)).toBe(true);
  });

  it.each([
    ['keep' as const, true],
    ['remove' as const, false],
  ])('does what it is told: %s', async (nvram, stays) => {
    const { client, path } = await withVariables();
    await client.call('domain.undefine', { domain: 'a', nvram });
    expect(existsSync(path)).toBe(stays);
    expect((await client.call('domain.list', {})).domains).toEqual([]);
  });
});
