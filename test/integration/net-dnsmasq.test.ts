/** What guests get of the real dnsmasq: options, names and who is asked for them, TFTP, DHCPv6, changes while it runs. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { DhcpHost, Lease, NetworkHostEvent, NetworkPlan } from '../../src/net/plan.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'busybox', '/dev/net/tun'];
const gateway = '192.168.150.1';

let lab: NetLab;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

const mac = '52:54:00:00:00:11';
const [subnet] = natPlan.subnets;
if (subnet?.dhcp === undefined) throw new Error('the plan of the tests has DHCP');
const { dhcp } = subnet;
const withHosts = (hosts: readonly DhcpHost[]): NetworkPlan => ({
  ...natPlan,
  subnets: [{ ...subnet, dhcp: { ...dhcp, hosts } }],
});

/** `Address: ...` lines of an answer, without that of the server. */
async function lookUp(name: string, type = 'a'): Promise<string> {
  const words = ['busybox', 'timeout', '3', 'busybox', 'nslookup', `-type=${type}`, name, gateway];
  return lab.run('one', ...words).catch((error: unknown) => String(error));
}

/** What udhcpc tells of the lease, as variables of its script. */
async function leaseVariables(...words: string[]): Promise<string> {
  const script = join(lab.directory, 'show.sh');
  writeFileSync(script, '#!/bin/sh\n[ "$1" = bound ] || exit 0\nenv > "$directory/variables"\n', {
    mode: 0o755,
  });
  const client = ['busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', '10', '-T', '1', '-s', script];
  await lab.run('one', ...client, ...words);
  return readFileSync(join(lab.directory, 'variables'), 'utf8');
}

describeWith(needs, 'a guest', () => {
  it('is told the MTU of its network, where to boot from, and gets the file', async () => {
    const root = join(lab.directory, 'tftp');
    mkdirSync(root);
    chmodSync(root, 0o755);
    writeFileSync(join(root, 'boot.ipxe'), '#!ipxe\n', { mode: 0o644 });
    const plan: NetworkPlan = {
      ...natPlan,
      bridge: { ...natPlan.bridge, mtu: 1400 },
      subnets: [{ ...subnet, tftpRoot: root, dhcp: { ...dhcp, bootp: { file: 'boot.ipxe' } } }],
    };
    const agent = await lab.agent();
    await agent.ask('start', plan);
    lab.addClient('one', mac);
    const variables = await leaseVariables('-O', 'mtu', '-O', 'bootfile');
    expect(variables).toMatch(/^mtu=1400$/m);
    expect(variables).toMatch(/^boot_file=boot.ipxe$/m);
    expect(variables).toMatch(/^siaddr=192.168.150.1$/m);
    lab.ip('one', 'addr add 192.168.150.11/24 dev eth0');
    const file = join(lab.directory, 'fetched');
    await lab.run('one', 'busybox', 'tftp', '-g', '-r', 'boot.ipxe', '-l', file, gateway);
    expect(readFileSync(file, 'utf8')).toBe('#!ipxe\n');
    await expect(
      lab.run(
        'one',
        'busybox',
        'timeout',
        '5',
        'busybox',
        'tftp',
        '-g',
        '-r',
        '../../etc/passwd',
        '-l',
        file,
        gateway,
      ),
    ).rejects.toThrow();
    // docs/security.md, class L: nothing of it is seen from outside.
    await expect(
      lab.run(
        'world',
        'busybox',
        'timeout',
        '3',
        'busybox',
        'tftp',
        '-g',
        '-r',
        'boot.ipxe',
        '-l',
        file,
        '10.77.0.1',
      ),
    ).rejects.toThrow();
  });

  it('gets its new reservation at the next renewal, and the server runs on', async () => {
    const agent = await lab.agent();
    await agent.ask('start', withHosts([]));
    lab.addClient('one', mac);
    expect(await lab.lease('one', 'one')).toMatch(/^192\.168\.150\.1\d\d$/);
    const pids = await lab.dnsmasqPids();
    await agent.ask('reload', withHosts([{ mac, name: 'named', address: '192.168.150.44' }]));
    await eventually(
      'the reserved address',
      async () => (await lab.lease('one', 'one')) === '192.168.150.44',
    );
    expect(await lookUp('named.lab.test')).toContain('192.168.150.44');
    expect(await lab.dnsmasqPids()).toEqual(pids);
    expect(await agent.ask<Lease[]>('leases', natPlan)).toMatchObject([
      { address: '192.168.150.44', hostName: 'named' },
    ]);
  });

  it('gets an address by DHCPv6, reserved or of the range', async () => {
    const duid = '00:03:00:01:52:54:00:00:00:11';
    const six = {
      family: 6,
      address: 'fd42:1::1',
      prefix: 64,
      isLocalPtr: false,
      dhcp: {
        ranges: [{ start: 'fd42:1::100', end: 'fd42:1::1ff' }],
        hosts: [{ id: duid, name: 'six', address: 'fd42:1::20' }],
      },
    } as const;
    const plan = { ...natPlan, subnets: [...natPlan.subnets, six] };
    const agent = await lab.agent();
    await agent.ask('start', plan);
    lab.addClient('one', mac);
    const script = resolve(import.meta.dirname, '../support/net-lab/dhcp6-client.ts');
    const ask = async (id: string) => (await lab.run('one', process.execPath, script, 'eth0', id)).trim();
    await eventually('a link-local address', async () =>
      /inet6 fe80\S+ scope link (?!tentative)/.test(await lab.run('one', 'ip', '-6', 'addr')),
    );
    expect(await ask(duid)).toMatch(/^fd42:1:0:0:0:0:0:20$/);
    expect(await ask('00:03:00:01:52:54:00:00:00:12')).toMatch(/^fd42:1:0:0:0:0:0:1[0-9a-f]{2}$/);
    const leases = await agent.ask<Lease[]>('leases', plan);
    expect(leases.map(({ address }) => address)).toContain('fd42:1::20');
    lab.ip('one', 'addr add 192.168.150.7/24 dev eth0');
    expect(await lookUp('six.lab.test', 'aaaa')).toContain('fd42:1::20');
  });
});

describeWith(needs, 'names', () => {
  const start = async (change: Partial<NetworkPlan>) => {
    const agent = await lab.agent();
    await agent.ask('start', { ...natPlan, ...change });
    lab.addClient('one', mac);
    await lab.lease('one', 'one');
  };

  it('of a domain are asked of its own server, and the rest of nobody, where it is so said', async () => {
    const upstream = [
      '--keep-in-foreground',
      '--log-facility=/dev/null',
      '--no-resolv',
      '--no-hosts',
      '--port=53',
      '--conf-file=/dev/null',
    ];
    lab.spawn('world', 'dnsmasq', ...upstream, '--address=/#/10.9.9.9');
    await start({
      dns: {
        ...natPlan.dns,
        forwarders: [{ domain: 'corp.example', address: '10.77.0.2' }, { domain: 'lost.example' }],
      },
      domain: { name: 'lab.test', isLocalOnly: true, isRegistered: false },
    });
    await eventually('an answer from beyond', async () =>
      (await lookUp('db.corp.example')).includes('10.9.9.9'),
    );
    // Local only: the upstream would have an answer.
    expect(await lookUp('nobody.lab.test')).not.toContain('10.9.9.9');
    expect(await lookUp('gateway.lab.test')).toContain(gateway);
  });

  it('are nobody to ask for where DNS is off, and addresses come all the same', async () => {
    await start({ dns: { ...natPlan.dns, isEnabled: false } });
    expect(await lookUp('gateway.lab.test')).toMatch(/refused|timed out|can't resolve|Command failed/);
    expect(await lab.run('host', 'busybox', 'netstat', '-lnu')).not.toMatch(/:53\s/);
  });

  it('of records of all kinds are answered', async () => {
    await start({
      dns: {
        ...natPlan.dns,
        txt: [{ name: 'note.lab.test', value: 'a "quoted", # and \\ text' }],
        srv: [
          { service: 'ldap', protocol: 'tcp', domain: 'lab.test', target: 'gateway.lab.test', port: 389 },
        ],
      },
    });
    expect(await lookUp('note.lab.test', 'txt')).toContain('quoted');
    expect(await lookUp('_ldap._tcp.lab.test', 'srv')).toMatch(/389 gateway\.lab\.test/);
    expect(await lookUp('11.150.168.192.in-addr.arpa', 'ptr')).toMatch(/reserved\.lab\.test/);
  });
});

describeWith(needs, 'a dnsmasq that is killed again and again', () => {
  it('comes back each time, ever later, with the leases it had', async () => {
    const agent = await lab.agent();
    await agent.ask('start', natPlan);
    lab.addClient('one', mac);
    lab.addClient('two', '52:54:00:00:00:12');
    const before = [await lab.lease('one', 'one'), await lab.lease('two', 'two')];
    const pauses: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      const [pid = -1] = await lab.dnsmasqPids();
      const killedAt = performance.now();
      process.kill(pid, 'SIGKILL');
      await eventually(
        'another one',
        async () => {
          const [now] = await lab.dnsmasqPids();
          return now !== undefined && now !== pid;
        },
        15_000,
      );
      pauses.push(performance.now() - killedAt);
      await eventually('the news', async () =>
        (await agent.ask<NetworkHostEvent[]>('events')).some(({ kind }) => kind === 'dnsmasq-restarted'),
      );
    }
    // 0.1, 0.4, 1.6 and 6.4 s: a server that cannot live does not eat the processor.
    expect(pauses.at(-1)).toBeGreaterThan(6000);
    expect(pauses[0]).toBeLessThan(4000);
    expect([await lab.lease('one', 'one'), await lab.lease('two', 'two')]).toEqual(before);
  });
});
