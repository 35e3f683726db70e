/** The first boot's description as files: what cloud-init reads, and that nothing breaks out of its place. */
import { describe, expect, it } from 'vitest';
import { buildIso, SECTOR_BYTES } from '../../../src/storage/seed-iso/iso9660.ts';
import { buildSeedIso, type SeedSpec, seedFiles } from '../../../src/storage/seed-iso/nocloud.ts';

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1x anna@home';

function filesOf(spec: SeedSpec): Record<string, string> {
  return Object.fromEntries(
    seedFiles(spec).map(({ name, bytes }) => [name, Buffer.from(bytes).toString('utf8')]),
  );
}

const configOf = (spec: SeedSpec): unknown =>
  JSON.parse((filesOf(spec)['user-data'] ?? '').replace('#cloud-config\n', ''));

describe('a seed', () => {
  it('always has meta-data and user-data', () => {
    expect(filesOf({ instanceId: 'i-1' })).toEqual({
      'meta-data': '{\n  "instance-id": "i-1"\n}\n',
      'user-data': '#cloud-config\n{}\n',
    });
  });

  it('makes a user with keys and rights, without a password', () => {
    expect(
      configOf({ instanceId: 'i', hostname: 'web.example.org', user: { name: 'anna', sshKeys: [key] } }),
    ).toEqual({
      hostname: 'web',
      fqdn: 'web.example.org',
      users: [
        { name: 'anna', sudo: 'ALL=(ALL) NOPASSWD:ALL', lock_passwd: true, ssh_authorized_keys: [key] },
      ],
    });
  });

  it("changes the image's own user when none is named", () => {
    const user = { sshKeys: [key], passwordHash: '$6$salt$abcdefgh', allowsSshPassword: true };
    expect(configOf({ instanceId: 'i', user })).toEqual({
      user: { lock_passwd: false, passwd: '$6$salt$abcdefgh' },
      ssh_authorized_keys: [key],
      ssh_pwauth: true,
    });
  });

  it('installs packages and runs commands word by word', () => {
    const spec = {
      instanceId: 'i',
      packages: ['nginx'],
      commands: [['sh', '-c', 'echo "a b" > /x']],
      timezone: 'Europe/Vienna',
    };
    expect(configOf(spec)).toEqual({
      package_update: true,
      packages: ['nginx'],
      timezone: 'Europe/Vienna',
      runcmd: [['sh', '-c', 'echo "a b" > /x']],
    });
  });

  it('sets the network by MAC address', () => {
    const interfaces = [
      {
        mac: '52:54:00:AB:CD:EF',
        addresses: ['192.168.5.2/24', 'fd00::2/64'],
        routes: [{ to: 'default', via: '192.168.5.1' }],
        nameservers: ['192.168.5.1'],
        searchDomains: ['lan'],
      },
      { mac: '52:54:00:00:00:01', dhcp4: true },
    ];
    expect(JSON.parse(filesOf({ instanceId: 'i', interfaces })['network-config'] ?? '')).toEqual({
      version: 2,
      ethernets: {
        nic0: {
          match: { macaddress: '52:54:00:ab:cd:ef' },
          addresses: ['192.168.5.2/24', 'fd00::2/64'],
          routes: [{ to: 'default', via: '192.168.5.1' }],
          nameservers: { addresses: ['192.168.5.1'], search: ['lan'] },
        },
        nic1: { match: { macaddress: '52:54:00:00:00:01' }, dhcp4: true },
      },
    });
  });

  it('hands on what somebody wrote, byte for byte', () => {
    const userData = '#!/bin/sh\necho hi\n';
    expect(filesOf({ instanceId: 'i', userData, vendorData: '#cloud-config\n' })).toMatchObject({
      'user-data': userData,
      'vendor-data': '#cloud-config\n',
    });
  });

  it('refuses everything that is wrong, all at once', () => {
    const spec: SeedSpec = {
      instanceId: 'a b',
      hostname: '-x',
      user: {
        name: 'Root!',
        sshKeys: [`${key}\nssh-rsa AAAA`, 'no key'],
        passwordHash: 'clear',
        shell: 'sh',
      },
      packages: ['--force'],
      commands: [[]],
      timezone: '../etc',
      interfaces: [{ mac: 'x', addresses: ['1.2.3.4'], routes: [{ to: 'all', via: '1' }] }],
    };
    expect(() => seedFiles(spec)).toThrow(
      expect.objectContaining({
        code: 'request.invalid',
        details: {
          problems: [
            'instanceId',
            'hostname',
            'timezone',
            'user.name',
            'user.shell',
            'user.passwordHash',
            'user.sshKeys[0]',
            'user.sshKeys[1]',
            'packages[0]',
            'commands[0]',
            'interfaces[0].mac',
            'interfaces[0]',
            'interfaces[0]',
            'interfaces[0]',
          ].map((path) => expect.objectContaining({ path }) as unknown),
        },
      }),
    );
    expect(() => seedFiles({ instanceId: 'i', userData: 'x', packages: ['nginx'] })).toThrow(/packages/);
  });
});

describe('the seed as a disk', () => {
  it('is the same for the same description and date', () => {
    const date = new Date(0);
    const one = buildSeedIso({ instanceId: 'i' }, date);
    expect(one.equals(buildSeedIso({ instanceId: 'i' }, date))).toBe(true);
    expect(one.length % SECTOR_BYTES).toBe(0);
    expect(one.subarray(16 * SECTOR_BYTES + 40, 16 * SECTOR_BYTES + 46).toString()).toBe('cidata');
  });

  it('holds no names or sizes that it cannot hold', () => {
    const bytes = Buffer.alloc(1);
    const build = (names: readonly string[], volumeId = 'cidata') =>
      buildIso({ volumeId, files: names.map((name) => ({ name, bytes })), createdAt: new Date(0) });
    for (const names of [
      ['a/b'],
      [''],
      ['a', 'a'],
      ['x'.repeat(65)],
      Array.from({ length: 17 }, (_, i) => `f${i}`),
    ])
      expect(() => build(names)).toThrow(expect.objectContaining({ code: 'request.invalid' }));
    expect(() => build(['a'], 'x'.repeat(17))).toThrow(/volume id/);
    expect(build(Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(64, 'n'))).length).toBe(
      44 * SECTOR_BYTES,
    );
  });
});
