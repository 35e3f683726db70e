/** The commands that look at addresses, jobs, interfaces and events: what they ask, and what a person sees. */
import { describe, expect, it } from 'vitest';
import type { EventNotification, Result } from '../../../src/api/index.ts';
import { VirtError } from '../../../src/base/errors.ts';
import { eventText } from '../../../src/cli/format/event.ts';
import { cliRig } from './cli-rig.ts';
import { summary } from './fake-daemon.ts';

const { daemon, vireoWithInput } = await cliRig();
const vireo = (...args: string[]) => vireoWithInput('<a:x/>', ...args);

const found: Result<'domain.addresses'> = {
  interfaces: [
    {
      alias: 'net0',
      device: 'vnet3',
      guestName: 'eth0',
      mac: '52:54:00:00:00:0a',
      network: 'default',
      addresses: [
        {
          address: '192.168.122.9',
          prefix: 24,
          family: 'ipv4',
          sources: ['lease', 'arp'],
          confirmed: true,
          hostName: 'web',
        },
        {
          address: 'fe80::1',
          prefix: null,
          family: 'ipv6',
          sources: ['arp'],
          confirmed: false,
          hostName: null,
        },
      ],
    },
  ],
  silent: [],
};

describe('domain addresses', () => {
  it('shows a line for each, with who said it', async () => {
    daemon.answers = { 'domain.addresses': () => found };
    const { stdout } = await vireo('addresses', 'web', '--source', 'lease', '--source', 'arp');
    expect(daemon.paramsOf('domain.addresses')).toEqual({ domain: 'web', sources: ['lease', 'arp'] });
    expect(stdout.split('\n')).toEqual([
      'INTERFACE   IN GUEST   MAC                 ADDRESS            SOURCE',
      'vnet3       eth0       52:54:00:00:00:0a   192.168.122.9/24   lease, arp',
      'vnet3       eth0       52:54:00:00:00:0a   fe80::1            arp (old)',
      '',
    ]);
  });

  it('says why there is none, and refuses a source that is none', async () => {
    const silent = [{ source: 'agent' as const, reason: 'the guest has not opened its channel' }];
    daemon.answers = { 'domain.addresses': () => ({ interfaces: [], silent }) };
    expect((await vireo('domain', 'addr', 'web')).stdout).toBe(
      'No address is known.\n  agent: the guest has not opened its channel\n',
    );
    const refused = await vireo('domain', 'addresses', 'web', '--source', 'dns');
    expect(refused.stderr).toContain("'dns': there is no such source");
    expect(refused.code).toBe(2);
  });
});

describe('wait', () => {
  it.each([
    ['shutoff', null, "Domain 'web' is running.\n"],
    ['agent', null, "The guest agent of 'web' answers.\n"],
    ['address', { address: '10.0.0.9', port: null }, "Domain 'web' has the address 10.0.0.9.\n"],
    ['ssh', { address: '10.0.0.9', port: 22 }, "SSH of 'web' answers at 10.0.0.9 port 22.\n"],
  ])('--for %s says what was found', async (goal, reached, said) => {
    daemon.answers = { 'domain.wait': () => ({ ...summary('web'), reached }) };
    expect((await vireo('wait', 'web', '--for', goal, '--timeout', '5s')).stdout).toBe(said);
    expect(daemon.paramsOf('domain.wait')).toEqual({ domain: 'web', until: goal, timeoutMs: 5000 });
  });

  it('goes with create, which starts the domain then', async () => {
    daemon.answers = {
      'domain.create': () => ({ domain: summary('web'), warnings: [], login: null }),
      'domain.wait': () => ({ ...summary('web'), reached: { address: '10.0.0.9', port: null } }),
    };
    const run = await vireo('create', '--name', 'web', '--wait', 'address');
    expect(daemon.paramsOf('domain.create')).toMatchObject({ start: true });
    expect(run.stdout).toContain("Domain 'web' has the address 10.0.0.9.\n");
    const json = await vireo('create', '--name', 'web', '--wait', 'address', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ domain: { reached: { address: '10.0.0.9' } } });
  });
});

const job: Result<'job.cancel'> = {
  id: 'ab-7',
  job: 'clone',
  object: { type: 'volume', name: 'web.qcow2', uuid: null, pool: 'default' },
  startedAt: '2026-11-21T10:00:00.000Z',
  step: 'copying',
  done: 1024 ** 3,
  total: 4 * 1024 ** 3,
  unit: 'bytes',
  cancellable: true,
  cancelling: false,
};

describe('job', () => {
  it('lists what goes on, with how far it is, and calls one off', async () => {
    daemon.answers = { 'job.list': () => ({ jobs: [job] }), 'job.cancel': () => job };
    const { stdout } = await vireo('job', 'list');
    expect(stdout.split('\n')[1]).toMatch(
      /^ab-7 +clone +volume 'default\/web\.qcow2' +copying +1 GiB of 4 GiB \(25 %\) +2026-/,
    );
    const cancelled = await vireo('job', 'cancel', 'ab-7');
    expect(cancelled.stdout).toBe("clone of volume 'default/web.qcow2' is being called off.\n");
    expect(daemon.paramsOf('job.cancel')).toEqual({ id: 'ab-7' });
  });

  it('says when nothing goes on', async () => {
    daemon.answers = { 'job.list': () => ({ jobs: [] }) };
    expect((await vireo('job', 'ls')).stdout).toBe('Nothing goes on.\n');
  });
});

it('host interfaces shows state, master and whose it is', async () => {
  const base = { index: 1, parent: null, vlan: null, speedMbps: null, addresses: [], owner: null };
  daemon.answers = {
    'host.interfaces': () => ({
      interfaces: [
        {
          ...base,
          name: 'virbr0',
          type: 'bridge',
          up: true,
          state: 'down',
          mac: '52:54:00:00:00:01',
          mtu: 1500,
          master: null,
          addresses: [{ address: '192.168.122.1', prefix: 24, family: 'ipv4' }],
          owner: { type: 'network', uuid: '0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8', name: 'default' },
        },
        {
          ...base,
          name: 'eth0.12',
          type: 'vlan',
          vlan: 12,
          parent: 'eth0',
          up: true,
          state: 'up',
          speedMbps: 1000,
          mac: null,
          mtu: 1400,
          master: null,
        },
      ],
    }),
  };
  const { stdout } = await vireo('host', 'interfaces', '--type', 'bridge');
  expect(daemon.paramsOf('host.interfaces')).toEqual({ type: 'bridge' });
  const rows = stdout.split('\n').map((line) => line.split(/ {2,}/));
  expect(rows[1]).toEqual([
    'virbr0',
    'bridge',
    'no link (down)',
    '52:54:00:00:00:01',
    '1500',
    '-',
    '192.168.122.1/24',
    'network default',
  ]);
  expect(rows[2]).toEqual(['eth0.12', 'vlan 12', 'up 1000 Mbit/s', '-', '1400', 'eth0', '-', '-']);
});

describe('network', () => {
  it.each([
    [['title', 'lab', 'Hello'], 'network.set-title', { network: 'lab', title: 'Hello' }],
    [['title', 'lab', '--remove'], 'network.set-title', { network: 'lab', title: null }],
    [['description', 'lab', 'x'], 'network.set-description', { network: 'lab', description: 'x' }],
    [
      ['metadata', 'lab', 'urn:a', '--inactive'],
      'network.get-metadata',
      { network: 'lab', uri: 'urn:a', inactive: true },
    ],
    [
      ['metadata', 'lab', 'urn:a', '--set', '-', '--key', 'a'],
      'network.set-metadata',
      { network: 'lab', uri: 'urn:a', key: 'a', xml: '<a:x/>' },
    ],
    [
      ['metadata', 'lab', 'urn:a', '--remove'],
      'network.set-metadata',
      { network: 'lab', uri: 'urn:a', xml: null },
    ],
  ] as const)('%j asks for %s', async (args, method, params) => {
    daemon.answers = {
      'network.set-title': () => ({}),
      'network.set-description': () => ({}),
      'network.set-metadata': () => ({}),
      'network.get-metadata': () => ({ xml: '<a:x/>' }),
    };
    const { code, stderr } = await vireo('network', ...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(daemon.paramsOf(method)).toEqual(params);
  });

  it('metadata wants a prefix, and tells when there is none of that namespace', async () => {
    const refused = await vireo('network', 'metadata', 'lab', 'urn:a', '--set', '-');
    expect(refused.stderr).toContain('no prefix was given');
    daemon.answers = {
      'network.get-metadata': () => {
        throw new VirtError('network.no-metadata', { reason: 'it has none' });
      },
    };
    expect((await vireo('network', 'metadata', 'lab', 'urn:a')).stderr).toContain('it has none');
  });
});

describe('an event in one line', () => {
  const envelope = { subscription: 's1', sequence: 1, time: '2026-11-21T10:00:00.000Z' };
  const domain = { uuid: '0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8', name: 'web', id: 3 };
  const network = { uuid: domain.uuid, name: 'lab' };
  const about = {
    id: 'ab-7',
    job: 'start',
    object: { type: 'domain', name: 'web', uuid: domain.uuid, pool: null },
  };
  const lease = {
    address: '10.0.0.9',
    prefix: 24,
    family: 'ipv4',
    mac: '52:54:00:00:00:0a',
    clientId: null,
    hostName: 'ho\nst',
    domain: null,
    expiresAt: null,
  };

  it.each([
    [{ event: 'job.started', ...about, domain }, "start of domain 'web' (ab-7)"],
    [
      { event: 'job.progress', ...about, domain, step: 'copying', done: 5, total: 10, unit: 'steps' },
      "start of domain 'web' (ab-7) 5 of 10 (50 %) step=copying",
    ],
    [
      { event: 'job.ended', ...about, domain, durationMs: 3, error: null },
      "start of domain 'web' (ab-7) durationMs=3",
    ],
    [
      { event: 'network.lease-added', network, lease },
      "'lab' 10.0.0.9/24 52:54:00:00:00:0a ho\\x0ast, until ever",
    ],
    [{ event: 'network.started', network }, "'lab'"],
  ])('%j', (event, text) => {
    expect(eventText({ ...envelope, ...event } as EventNotification)).toBe(text);
  });
});
