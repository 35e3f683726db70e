/** Lists of domains and what is shown of one. */
import { describe, expect, it } from 'vitest';
import { cliRig } from './cli-rig.ts';
import { details, summary } from './fake-daemon.ts';

const { daemon, vireo } = await cliRig();

describe('list', () => {
  it('shows a table of all domains', async () => {
    daemon.answers = {
      'domain.list': () => ({
        domains: [
          summary('web'),
          summary('db', { id: null, state: 'shutoff', active: false, autostart: true, vcpus: 4 }),
        ],
        quarantined: [],
      }),
    };
    const { code, stdout, stderr } = await vireo('list');
    expect(stdout.split('\n')).toEqual([
      'ID   NAME   STATE     VCPUS   MEMORY   TYPE   AUTOSTART',
      ' 1   web    running       2    1 GiB   kvm    no',
      ' -   db     shutoff       4    1 GiB   kvm    yes',
      '',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(daemon.paramsOf('domain.list')).toEqual({});
  });

  it('lists all where all are asked for, as virsh wants it said, and refuses what contradicts that', async () => {
    daemon.answers = { 'domain.list': () => ({ domains: [summary('web')], quarantined: [] }) };
    expect(await vireo('list', '--all', '--names')).toMatchObject({ code: 0, stdout: 'web\n' });
    expect(daemon.paramsOf('domain.list')).toEqual({});
    expect(await vireo('list', '--all', '--inactive')).toMatchObject({ code: 2, stdout: '' });
  });

  it('passes its filters on', async () => {
    daemon.answers = { 'domain.list': () => ({ domains: [], quarantined: [] }) };
    const { stdout } = await vireo(
      'domain',
      'ls',
      '--inactive',
      '--autostart',
      '--transient',
      '--state',
      'shutoff',
    );
    expect(daemon.paramsOf('domain.list')).toEqual({
      active: false,
      autostart: true,
      persistent: false,
      state: 'shutoff',
    });
    expect(stdout).toBe('No domain fits.\n');
  });

  it('warns of definitions that could not be read', async () => {
    const quarantined = [{ file: '/q/x.xml', uuid: null, reason: 'torn', at: '2026-11-21T10:00:00.000Z' }];
    daemon.answers = { 'domain.list': () => ({ domains: [summary('web')], quarantined }) };
    const { code, stdout, stderr } = await vireo('list', '--names');
    expect(stdout).toBe('web\n');
    expect(stderr).toBe('warning: the definition of a domain could not be read: torn (now in /q/x.xml)\n');
    expect(code).toBe(0);
  });

  it('prints one JSON document with --json, wherever that stands', async () => {
    daemon.answers = { 'domain.list': () => ({ domains: [summary('web')], quarantined: [] }) };
    for (const args of [
      ['list', '--json'],
      ['--json', 'list'],
      ['domain', '--json', 'list'],
    ]) {
      const { stdout } = await vireo(...args);
      expect(JSON.parse(stdout)).toMatchObject({ domains: [{ name: 'web' }] });
    }
  });
});

describe('show', () => {
  it('shows facts and devices, with nothing a guest says unescaped', async () => {
    daemon.answers = {
      'domain.get': () =>
        details('web', {
          title: 'Web\u001b[31m',
          disks: [
            {
              target: 'vda',
              alias: 'virtio-disk0',
              device: 'disk',
              bus: 'virtio',
              sourceType: 'file',
              source: '/a.qcow2',
              format: 'qcow2',
              readonly: false,
            },
          ],
          graphics: [{ type: 'vnc', listen: '127.0.0.1', port: 5900, tlsPort: null, socket: null }],
        }),
    };
    const { stdout } = await vireo('show', 'web');
    expect(stdout).toContain('Title:       Web\\x1b[31m\n');
    expect(stdout).toContain('State:       running (booted)\n');
    expect(stdout).toContain('Running for: 2 min\n');
    expect(stdout).toMatch(/^vda +disk +virtio +qcow2 +\/a\.qcow2$/m);
    expect(stdout).toMatch(/^vnc +127\.0\.0\.1:5900$/m);
  });

  it('takes a number as the id of a running domain, unless a domain has that name', async () => {
    daemon.answers = {
      'domain.list': () => ({
        domains: [summary('web', { id: 7 }), summary('8', { id: 9 })],
        quarantined: [],
      }),
      'domain.get': () => details('web'),
    };
    await vireo('show', '7');
    expect(daemon.paramsOf('domain.get')).toEqual({ domain: { id: 7 } });
    await vireo('show', '8');
    expect(daemon.paramsOf('domain.get')).toEqual({ domain: '8' });
    await vireo('show', '10');
    expect(daemon.paramsOf('domain.get')).toEqual({ domain: '10' });
  });
});
