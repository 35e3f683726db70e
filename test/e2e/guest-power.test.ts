/** Guests that start and end with their host, in their order: ours, and by libvirt's own script for it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { project, TestDaemon } from '../support/daemon.ts';
import { bootSector, writeImage } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

const script = '/usr/lib/libvirt/libvirt-guests.sh';

describeWith(['root', 'qemu-system-x86_64', 'virsh', 'unshare', script], 'guests and their host', () => {
  let daemon: TestDaemon;
  let client: VireoClient;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    for (const name of ['first', 'second', 'third']) {
      // They run on whoever presses the button.
      writeImage(path(`${name}.img`), bootSector.writes);
      const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <devices><disk type='file'><driver name='qemu' type='raw'/><source file='${path(`${name}.img`)}'/><target dev='hda'/></disk></devices></domain>`;
      await client.call('domain.define', { xml });
      await client.call('domain.set-autostart', { domain: name, autostart: true });
    }
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const path = (name: string) => join(daemon.root, name);
  const vireo = (...args: string[]) =>
    execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], { encoding: 'utf8' });
  const states = async () => {
    const { domains } = await client.call('domain.list', {});
    return Object.fromEntries(domains.map(({ name, active, saved }) => [name, saved ? 'saved' : active]));
  };

  it('start in their order, with their delays', async () => {
    vireo('domain', 'power-order', 'third', '--order', '1', '--start-delay', '2s', '--host-down', 'save');
    vireo('domain', 'power-order', 'first', '--order', '5', '--timeout', '1s');
    vireo('domain', 'power-order', 'second', '--order', '9', '--host-down', 'destroy');
    expect(vireo('domain', 'power-order', 'third')).toMatch(/Order:\s+1\n.* 2 s\n.* save/);
    await client.close();
    await daemon.end();
    rmSync(path('run/vireo/autostarted'), { force: true }); // as after a boot of the host
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    for (const domain of ['first', 'second', 'third'])
      await client.call('domain.wait', { domain, until: 'running', timeoutMs: 60_000 });
    const began: [number, string][] = [];
    for (const domain of ['first', 'second', 'third']) {
      const { startedAt } = await client.call('domain.get', { domain });
      began.push([Date.parse(startedAt ?? ''), domain]);
    }
    began.sort(([a], [b]) => a - b);
    expect(began.map(([, name]) => name)).toEqual(['third', 'first', 'second']);
    expect((began[1]?.[0] ?? 0) - (began[0]?.[0] ?? 0)).toBeGreaterThan(1900);
  });

  it('end in the opposite order, each in its way', async () => {
    const plan = await client.call('host.shutdown-guests', { dryRun: true });
    expect(plan.guests.map(({ name, action }) => `${name} ${action}`)).toEqual([
      'second destroy',
      'first shutdown',
      'third save',
    ]);
    expect(await states()).toEqual({ first: true, second: true, third: true });
    const { guests } = await client.call('host.shutdown-guests', { late: 'save' });
    // The first has no ACPI driver that hears the button.
    expect(guests.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
      'second destroyed',
      'first saved',
      'third saved',
    ]);
    expect(await states()).toEqual({ first: 'saved', second: false, third: 'saved' });
  });

  it("are suspended and resumed by libvirt's libvirt-guests.sh", async () => {
    await client.call('domain.start', { domain: 'first' });
    const settings = mkdtempSync(join(daemon.root, 'settings-'));
    const lists = mkdtempSync(join(daemon.root, 'lists-'));
    const uri = `qemu:///system?socket=${path('run/libvirt/libvirt-sock')}`;
    writeFileSync(join(settings, 'libvirt-guests'), `URIS='${uri}'\nON_BOOT=start\nON_SHUTDOWN=suspend\n`);
    /** In mounts of its own: the script's configuration and its list lie at fixed places. */
    const guests = (verb: string) =>
      execFileSync(
        'unshare',
        [
          '--mount',
          'sh',
          '-c',
          `set -e; mkdir -p /var/lib/libvirt; mount --bind ${lists} /var/lib/libvirt; mount --bind ${settings} /etc/default; mount -t tmpfs none /run/lock; exec ${script} ${verb}`,
        ],
        {
          encoding: 'utf8',
          env: { PATH: process.env['PATH'], SYSTEMCTL_SKIP_REDIRECT: '1', _SYSTEMCTL_SKIP_REDIRECT: '1' },
        },
      );
    expect(guests('stop')).toContain('Suspending');
    expect(await states()).toEqual({ first: 'saved', second: false, third: 'saved' });
    expect(readFileSync(join(lists, 'libvirt-guests'), 'utf8')).toContain(uri);
    guests('start');
    expect(await states()).toEqual({ first: true, second: false, third: 'saved' });
  });
});
