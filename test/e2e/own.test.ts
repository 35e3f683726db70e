/** What Vireo has that no other manager has: records that explain a crash, bug reports without secrets, undo of deletions. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { writeTinyGuest } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';
import { diskXml, idleXml } from './bad-days/domains.ts';

describeWith(['root', '/usr/bin/qemu-system-x86_64', 'tar', 'virsh'], 'our own', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  const directory = mkdtempSync(join(tmpdir(), 'vireo-own-'));

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  const cli = (...args: string[]) => {
    const done = spawnSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], {
      encoding: 'utf8',
    });
    return { status: done.status, stdout: done.stdout, stderr: done.stderr };
  };
  const texts = async () =>
    (await client.call('domain.record', { domain: 'crashed' })).entries.map(({ text }) => text);

  it('a crash is explained by a daemon that did not see it, in a bundle without passwords', async () => {
    const password = 'hunter22';
    const xml = idleXml('crashed', {
      devices: `<graphics type='vnc' passwd='${password}'/><interface type='user'/>`,
    });
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: 'crashed' });
    await client.call('domain.suspend', { domain: 'crashed' });
    // What happened is on disk a second later, whatever becomes of the daemon.
    await eventually('the record is written', () => {
      const { stdout } = spawnSync(
        'grep',
        ['-rl', 'domain.suspended', join(daemon.root, 'var/log/vireo/flight')],
        {
          encoding: 'utf8',
        },
      );
      return stdout !== '';
    });
    await daemon.end('SIGKILL');
    for (const pid of qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    await eventually('the end is known', async () => (await texts()).includes('domain.crashed'));
    const found = await texts();
    const expected = ['domain.defined', 'domain.start', 'set_password', 'domain.started', 'domain.suspended'];
    for (const text of expected) expect(found).toContain(text);

    const file = join(directory, 'report.tar.gz');
    expect(cli('domain', 'bug-report', 'crashed', '-o', file)).toMatchObject({ status: 0 });
    const names = spawnSync('tar', ['-tzf', file], { encoding: 'utf8' }).stdout;
    for (const name of [
      'README.txt',
      'report.json',
      'record.txt',
      'stored.xml',
      'host-check.txt',
      'qemu.log',
    ])
      expect(names).toContain(`/${name}\n`);
    const all = spawnSync('tar', ['-xOzf', file], { encoding: 'utf8', maxBuffer: 1 << 24 }).stdout;
    expect(all).toContain('set_password');
    expect(all).toContain('starting: /usr/bin/qemu-system-x86_64');
    expect(all).not.toContain(password);
    expect(readFileSync(file).length).toBeLessThan(200_000);
  });

  it('deletions are undone, the last first, also by the next daemon; a client of libvirt deletes for good', async () => {
    const { uuid } = (await client.call('domain.define', { xml: idleXml('gone') })).domain;
    await client.call('domain.set-autostart', { domain: 'gone', autostart: true });
    const network = "<network><name>lab</name><bridge name='virbr-own'/></network>";
    await client.call('network.define', { xml: network });
    expect(cli('delete', '-y', 'gone').stdout).toMatch(
      /Domain 'gone' is deleted. 'vireo undo \S+' brings it back/,
    );
    expect(cli('network', 'undefine', 'lab')).toMatchObject({ status: 0 });
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(cli('undo', 'list').stdout).toMatch(/network +lab .*\n.*domain +gone /);
    expect(cli('undo').stdout).toContain("Network 'lab' is back");
    expect(cli('undo', 'gone').stdout).toContain("Domain 'gone' is back");
    expect(await client.call('domain.get', { domain: 'gone' })).toMatchObject({ uuid, autostart: true });
    expect((await client.call('network.list', {})).networks).toMatchObject([{ name: 'lab' }]);
    const socket = join(daemon.root, 'run/libvirt/libvirt-sock');
    const uri = `qemu:///system?socket=${socket}`;
    expect(spawnSync('virsh', ['-c', uri, 'undefine', 'gone']).status).toBe(0);
    expect((await client.call('undo.list', { type: 'domain' })).deletions).toEqual([]);
    await client.call('network.undefine', { network: 'lab' });
  });

  it('a template has linked clones that run side by side, and full ones that need it no more', async () => {
    const place = join(directory, 'pool');
    mkdirSync(place);
    writeTinyGuest(join(place, 'tpl.img'));
    await client.call('pool.create', { name: 'p', path: place, autostart: false });
    await client.call('pool.start', { pool: 'p' });
    const source = join(place, 'tpl.img');
    const serial = `<serial type='pty'><log file='${directory}/tpl-serial.log'/></serial>`;
    const devices = `${diskXml(source)}${serial}<interface type='user'/>`;
    await client.call('domain.define', { xml: idleXml('tpl', { devices }) });
    expect(cli('template', 'create', 'tpl')).toMatchObject({ status: 0 });
    expect(cli('start', 'tpl').stderr).toContain('vireo template instance tpl');
    const before = readFileSync(source);
    expect(cli('template', 'instance', 'tpl', 'one', 'two', '--start')).toMatchObject({
      status: 0,
      stderr: '',
    });
    // Each boots from the template's disk below its own, and says so in a log of its own.
    for (const name of ['one', 'two'])
      await eventually(`${name} boots`, () => {
        const file = join(directory, `${name}-serial.log`);
        return existsSync(file) && readFileSync(file, 'utf8').includes('TINY-GUEST alive');
      });
    const { templates } = await client.call('template.list', {});
    expect(templates).toMatchObject([
      { domain: { name: 'tpl' }, disks: [source], instances: ['one', 'two'] },
    ]);
    const macs = await Promise.all(
      ['one', 'two'].map(async (domain) => (await client.call('domain.get', { domain })).interfaces[0]?.mac),
    );
    expect(new Set(macs).size).toBe(2);
    const full = await client.call('domain.clone', { domain: 'tpl', name: 'whole', linked: false });
    expect(readFileSync(full.disks[0]?.path ?? '').equals(before)).toBe(true);
    expect(cli('template', 'release', 'tpl').stderr).toMatch(/domain 'one'.*lie on its disks/);
    for (const name of ['one', 'two']) {
      await client.call('domain.destroy', { domain: name });
      await client.call('domain.undefine', { domain: name, removeStorage: true });
    }
    expect(readFileSync(source).equals(before)).toBe(true);
    expect(cli('template', 'release', 'tpl')).toMatchObject({ status: 0 });
  });
});
