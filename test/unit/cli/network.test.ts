/** The network commands: what they ask of the daemon, and what they say. */
import { describe, expect, it } from 'vitest';
import type { Result } from '../../../src/api/index.ts';
import { VirtError } from '../../../src/base/errors.ts';
import { cliRig } from './cli-rig.ts';

const { daemon, vireoWithInput } = await cliRig('network');
const vireo = (...args: string[]) => vireoWithInput('<network/>', ...args);

type Summary = Result<'network.list'>['networks'][number];

const network = (name: string, more: Partial<Summary> = {}): Summary => ({
  uuid: '0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8',
  name,
  active: true,
  persistent: true,
  autostart: true,
  title: null,
  mode: 'nat',
  bridge: 'virbr0',
  subnets: ['192.168.122.0/24'],
  ports: 2,
  job: null,
  ...more,
});

const forward: Result<'network.port-forward.add'> = {
  protocol: 'tcp',
  hostAddress: null,
  hostPort: 8080,
  guest: 'web',
  guestAddress: '192.168.122.9',
  guestPort: 80,
  count: 1,
  active: true,
  trouble: null,
};

describe('vireo network test', () => {
  const step = (status: 'ok' | 'failed' | 'skipped', repair: string | null = null) => ({
    id: status,
    title: `Link ${status}`,
    status,
    detail: 'seen',
    repair,
  });

  it('shows each link with its repair, and fails when one has', async () => {
    const steps = [step('ok', 'not shown'), step('failed', 'do this'), step('skipped')];
    daemon.answers = { 'network.test': () => ({ ok: false, steps }) };
    const run = await vireo('test', 'default', '--target', '192.0.2.1', '--name', 'example.org');
    expect(daemon.calls).toEqual([
      {
        method: 'network.test',
        params: { network: 'default', target: '192.0.2.1', outsideName: 'example.org' },
      },
    ]);
    expect(run.stdout).toBe(
      [
        'ok       Link ok: seen',
        'failed   Link failed: seen',
        '         repair: do this',
        'skipped  Link skipped: seen',
        '',
        '1 ok, 1 failed, 1 skipped',
        '',
      ].join('\n'),
    );
    expect(run.code).toBe(1);
  });

  it('ends well when no link has failed, and passes no option that was not given', async () => {
    daemon.answers = { 'network.test': () => ({ ok: true, steps: [step('ok'), step('skipped')] }) };
    const run = await vireo('test', 'default');
    expect(daemon.calls).toEqual([{ method: 'network.test', params: { network: 'default' } }]);
    expect(run.code).toBe(0);
  });
});

describe('vireo network', () => {
  it('lists networks', async () => {
    daemon.answers = {
      'network.list': () => ({
        networks: [
          network('default'),
          network('lab', {
            active: false,
            mode: 'none',
            autostart: false,
            bridge: 'virbr1',
            subnets: [],
            ports: 0,
          }),
        ],
        quarantined: [],
      }),
    };
    const { stdout, code } = await vireo('list');
    expect(stdout.split('\n')).toEqual([
      'NAME      STATE      AUTOSTART   MODE       BRIDGE   SUBNETS            GUESTS',
      'default   active     yes         nat        virbr0   192.168.122.0/24        2',
      'lab       inactive   no          isolated   virbr1   -                       0',
      '',
    ]);
    expect(code).toBe(0);
    expect((await vireo('ls', '--inactive', '--names')).stdout).toBe('default\nlab\n');
    expect(daemon.paramsOf('network.list')).toEqual({ active: false });
  });

  it('defines a network with what is to be said of it', async () => {
    daemon.answers = {
      'network.define': () => ({
        network: network('default'),
        dropped: ['foo'],
        warnings: ['overlaps'],
      }),
    };
    const { stdout, stderr } = await vireo('define', '-', '--lenient');
    expect(daemon.paramsOf('network.define')).toEqual({ xml: '<network/>', strict: false });
    expect(stdout).toContain("Network 'default' is stored, and counts from its next start");
    expect(stderr).toContain('foo is not known and was dropped');
    expect(stderr).toContain('overlaps');
  });

  it('makes a network of a few words', async () => {
    daemon.answers = { 'network.create': () => ({ network: network('lab'), warnings: [] }) };
    const { stdout } = await vireo(
      'create',
      'lab',
      '--mode',
      'isolated',
      '--subnet',
      '10.1.0.0/24',
      '--no-dhcp',
      '--start',
    );
    expect(stdout).toBe("Network 'lab' is active: 192.168.122.0/24 on virbr0.\n");
    expect(daemon.paramsOf('network.create')).toEqual({
      name: 'lab',
      mode: 'isolated',
      subnet: '10.1.0.0/24',
      dhcp: false,
      start: true,
      autostart: false,
    });
  });

  it('starts and stops several, and goes on past one that fails', async () => {
    daemon.answers = {
      'network.start': ({ network: name }: { network: string }) => {
        if (name === 'b') throw new VirtError('network.active', { reason: 'network is already active' });
        return { ...network(name), warnings: name === 'c' ? ['sshd is cut off'] : [] };
      },
      'network.stop': () => ({ disconnected: ['web', 'db'] }),
    };
    const started = await vireo('start', 'a', 'b', 'c');
    expect(started.stdout).toBe("Network 'a' is active.\nNetwork 'c' is active.\n");
    expect(started.stderr).toContain('already active');
    expect(started.stderr).toContain('sshd is cut off');
    expect(started.code).toBe(1);
    const stopped = await vireo('stop', 'a');
    expect(stopped.stdout).toBe("Network 'a' is stopped. Without a connection now: web, db.\n");
  });

  it('updates a part of it, live or stored', async () => {
    daemon.answers = { 'network.update': () => ({}) };
    const xml = "<host mac='52:54:00:00:00:01' ip='192.168.122.9'/>";
    expect((await vireo('update', 'default', 'add-last', 'ip-dhcp-host', xml, '--live')).code).toBe(0);
    expect(daemon.paramsOf('network.update')).toEqual({
      network: 'default',
      command: 'add-last',
      section: 'ip-dhcp-host',
      xml,
      live: true,
      stored: false,
    });
    await vireo('update', 'default', 'delete', 'dns-txt', '@-', '--parent-index', '1');
    expect(daemon.paramsOf('network.update')).toMatchObject({ xml: '<network/>', parentIndex: 1 });
    const wrong = await vireo('update', 'default', 'shrink', 'dns-txt', xml);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('add-last, add-first, modify, delete');
  });

  it.each([
    [['add', 'default', 'web', '8080:80'], { hostPort: 8080, guestPort: 80, guest: 'web', count: 1 }],
    [['add', 'default', 'web', '8080-8089:80'], { hostPort: 8080, guestPort: 80, guest: 'web', count: 10 }],
    [
      ['add', 'default', '192.168.122.9', 'udp:127.0.0.1:53:5353'],
      {
        protocol: 'udp',
        hostAddress: '127.0.0.1',
        hostPort: 53,
        guestPort: 5353,
        guestAddress: '192.168.122.9',
      },
    ],
  ])('forward %j asks for it', async (args, params) => {
    daemon.answers = { 'network.port-forward.add': () => forward };
    expect((await vireo('forward', ...args)).stdout).toBe("tcp port 8080 leads to port 80 of 'web'.\n");
    expect(daemon.paramsOf('network.port-forward.add')).toMatchObject({ network: 'default', ...params });
  });

  it('lists forwards, and takes one away by the port of the host', async () => {
    daemon.answers = {
      'network.port-forward.list': () => ({
        portForwards: [
          forward,
          {
            ...forward,
            guestAddress: null,
            active: false,
            trouble: 'the guest has no address yet',
            count: 10,
          },
        ],
      }),
      'network.port-forward.remove': () => ({}),
    };
    expect((await vireo('forward', 'list', 'default')).stdout.split('\n').map((line) => line.trim())).toEqual(
      [
        'FORWARD   HOST              GUEST   LEADS TO           STATE     TROUBLE',
        'tcp       port 8080         web     192.168.122.9:80   active    -',
        'tcp       ports 8080-8089   web     ports 80-89        waiting   the guest has no address yet',
        '',
      ],
    );
    await vireo('forward', 'remove', 'default', 'udp:5353');
    expect(daemon.paramsOf('network.port-forward.remove')).toEqual({
      network: 'default',
      protocol: 'udp',
      hostPort: 5353,
    });
  });

  it('shows leases, with what a guest calls itself made safe', async () => {
    const lease: Result<'network.leases'>['leases'][number] = {
      address: '192.168.122.9',
      prefix: 24,
      family: 'ipv4',
      mac: '52:54:00:00:00:01',
      clientId: null,
      hostName: 'evil\u001b[31m',
      domain: 'web',
      expiresAt: null,
    };
    daemon.answers = { 'network.leases': () => ({ leases: [lease] }) };
    const { stdout } = await vireo('leases', 'default');
    expect(stdout).toContain('evil\\x1b[31m');
    expect(stdout).not.toContain('\u001b');
  });
});
