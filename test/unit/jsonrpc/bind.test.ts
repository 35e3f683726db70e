/** Methods bound to the real domain service over a fake hypervisor; the client checks every result by its schema. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { startDaemon, xml } from './service-rig.ts';
import { until } from './support.ts';

describe('the methods', () => {
  it('list the jobs in work, and call one off', async () => {
    const daemon = await startDaemon();
    const client = await daemon.connect();
    await client.call('domain.define', { xml: xml('a') });
    const stream = await client.subscribe({ events: ['job.*'], domains: ['a'] });
    const gate = Promise.withResolvers<void>();
    daemon.driver.startGate = gate.promise;
    const start = client.call('domain.start', { domain: 'a' }).catch((error: unknown) => error);
    const watcher = await daemon.connect();
    const listed = () => watcher.call('job.list', { type: 'domain', name: 'a' });
    await until(async () => (await listed()).jobs[0]?.step === 'starting the fake');
    const [job] = (await listed()).jobs;
    expect(job).toMatchObject({ job: 'start', object: { type: 'domain', name: 'a' }, cancellable: true });
    expect((await watcher.call('job.list', { type: 'network' })).jobs).toEqual([]);
    expect(await watcher.call('job.cancel', { id: job?.id ?? '' })).toMatchObject({ cancelling: true });
    expect(await start).toMatchObject({ code: 'operation.aborted' });
    expect(await listed()).toEqual({ jobs: [] });
    expect((await client.call('domain.get', { domain: 'a' })).state).toBe('shutoff');
    const seen = [];
    for await (const event of stream) if (seen.push(event) === 3) break;
    expect(seen.map(({ event }) => event)).toEqual(['job.started', 'job.progress', 'job.ended']);
    expect(seen[2]).toMatchObject({ job: 'start', error: { code: 'operation.aborted' } });
    await expect(watcher.call('job.cancel', { id: job?.id ?? '' })).rejects.toMatchObject({
      code: 'job.not-found',
    });
  });

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
    // Lenient or not, a document without uuid means the domain of its name.
    const { uuid } = await client.call('domain.get', { domain: 'a' });
    const again = await client.call('domain.define', { xml: odd, strict: false });
    expect(again.domain.uuid).toBe(uuid);
    expect((await client.call('domain.plan', { xml: odd, strict: false })).dropped).toEqual(dropped);
  });

  it('store nothing that the emulator refuses, and keep what was stored before', async () => {
    const { connect, driver, directory } = await startDaemon();
    const client = await connect();
    const { domain } = await client.call('domain.define', { xml: xml('a') });
    const before = readFileSync(join(directory, 'd', `${domain.uuid}.xml`), 'utf8');
    driver.check = () =>
      Promise.reject(new VirtError('qemu.lacks', { wanted: 'define', reason: 'no such device' }));
    await expect(client.call('domain.define', { xml: xml('b') })).rejects.toMatchObject({
      code: 'qemu.lacks',
    });
    await expect(
      client.call('domain.define', { xml: xml('a', "<sound model='ich6'/>") }),
    ).rejects.toMatchObject({ code: 'qemu.lacks' });
    expect(readdirSync(join(directory, 'd'))).toEqual([`${domain.uuid}.xml`]);
    expect(readFileSync(join(directory, 'd', `${domain.uuid}.xml`), 'utf8')).toBe(before);
    expect((await client.call('domain.list', {})).domains.map(({ name }) => name)).toEqual(['a']);
    expect((await client.call('domain.xml', { domain: 'a' })).xml).not.toContain('ich6');
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
    await client.call('domain.send-key', { domain: 'a', keys: ['KEY_SYSRQ', 'b'], holdMs: 7 });
    await client.call('domain.inject-nmi', { domain: 'a' });
    await client.call('domain.reset', { domain: 'a' });
    expect(guest.done).toEqual([
      'suspend',
      'resume',
      'keys ctrl+alt+delete 100',
      'keys ctrl+1 5',
      'keys sysrq+b 7',
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

  it('tell of a guest on a network where its ports are forwarded', async () => {
    const client = await (await startDaemon()).connect();
    const networks = [{ type: 'network', source: 'lab' } as const];
    await client.call('domain.create', { name: 'web', memoryBytes: 128 * 2 ** 20, networks });
    await expect(
      client.call('domain.port-forward.add', { domain: 'web', hostPort: 8080, guestPort: 80 }),
    ).rejects.toMatchObject({
      code: 'domain.no-device',
      hint: expect.stringContaining("'vireo network forward add lab web ") as unknown,
    });
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
    expect(await client.call('host.sev')).toEqual({ platform: null, reason: 'no AMD', hint: 'buy one' });
    expect((await client.call('host.check')).checks).toMatchObject([{ id: 'kvm', repair: 'load' }]);
    expect((await client.call('host.devices', { type: 'pci' })).devices).toMatchObject([
      { type: 'pci', class: '020000', iommuGroup: 3, numaNode: null, usedBy: { name: 'web' }, product: null },
    ]);
    expect((await client.call('host.devices', { type: 'usb' })).devices).toMatchObject([
      { type: 'usb', bus: 1, device: 7, hub: false, serial: null, product: 'Webcam' },
    ]);
    expect((await client.call('host.capabilities')).xml).toBe('<capabilities/>');
    expect((await client.call('host.domain-capabilities', { arch: 'x86_64' })).xml).toContain(
      '"arch":"x86_64"',
    );
    const document = await client.call('rpc.discover');
    expect(document).toMatchObject({ openrpc: '1.3.2', info: { version: '9.9.9' } });
  });
});

describe('a guest with encrypted memory', () => {
  const sealed = xml('sealed')
    .replace("type='qemu'", "type='kvm'")
    .replace('</domain>', "<launchSecurity type='sev'><policy>0x0005</policy></launchSecurity></domain>");

  it('is measured, and takes a secret before it runs', async () => {
    const { connect, driver } = await startDaemon();
    const client = await connect();
    await client.call('domain.define', { xml: xml('open') });
    expect(await client.call('domain.launch-security', { domain: 'open' })).toMatchObject({ kind: null });
    const secret = { header: 'aGVhZA==', secret: 'c2VjcmV0' };
    await expect(
      client.call('domain.set-launch-secret', { domain: 'open', ...secret }),
    ).rejects.toMatchObject({
      code: 'request.unsupported',
    });
    await client.call('domain.define', { xml: sealed });
    await expect(client.call('domain.launch-security', { domain: 'sealed' })).rejects.toMatchObject({
      code: 'domain.inactive',
    });
    await client.call('domain.start', { domain: 'sealed', paused: true });
    expect(await client.call('domain.launch-security', { domain: 'sealed' })).toEqual({
      kind: 'sev-es',
      state: 'launch-secret',
      policy: 1,
      apiMajor: 1,
      apiMinor: 55,
      buildId: 21,
      measurement: 'bWVhc3VyZWQ=',
    });
    await client.call('domain.set-launch-secret', { domain: 'sealed', ...secret });
    expect(driver.lastGuest.done).toContain('secret aGVhZA== c2VjcmV0 anywhere');
    driver.lastGuest.state = { state: 'running', reason: 'booted' };
    await expect(
      client.call('domain.set-launch-secret', { domain: 'sealed', ...secret }),
    ).rejects.toMatchObject({ code: 'domain.state' });
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
