/** Networks on a real kernel, in namespaces of the test's own: leases, names, NAT, rules, and what is left behind. */
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Lease, NetworkHostEvent, NetworkPlan, Tap } from '../../src/net/plan.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'iptables-restore', 'busybox', '/dev/net/tun'];
const world = '10.77.0.2';
const host = '10.77.0.1';

const nftList = ['nft', 'list', 'ruleset'];

let lab: NetLab;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

/** Two guests with their leases, the first by reservation. */
async function twoGuests(): Promise<[string, string]> {
  lab.addClient('one', '52:54:00:00:00:11');
  lab.addClient('two', '52:54:00:00:00:12');
  return [await lab.lease('one', 'one'), await lab.lease('two', 'two')];
}

async function resolves(client: string, name: string, server: string): Promise<string> {
  return lab.run(client, 'busybox', 'timeout', '3', 'busybox', 'nslookup', name, server);
}

const pings = (client: string, address: string) =>
  lab.succeeds(client, 'busybox', 'ping', '-c', '1', '-W', '2', address);

describeWith(needs, 'a NAT network', () => {
  it.each(['nftables', 'iptables'] as const)(
    'gives leases, names and a way out by %s, and leaves nothing behind',
    async (firewall) => {
      const before = await lab.snapshot();
      const agent = await lab.agent({ firewall });
      await agent.ask('start', natPlan);
      await lab.serve('world', 8080);

      const [one, two] = await twoGuests();
      expect(one).toBe('192.168.150.11');
      expect(two).toMatch(/^192\.168\.150\.1\d\d$/);

      expect(await resolves('two', 'gateway.lab.test', '192.168.150.1')).toContain('192.168.150.1');
      expect(await resolves('one', 'two.lab.test', '192.168.150.1')).toContain(two);
      expect(await pings('one', two)).toBe(true);
      expect(await lab.call('one', world, 8080)).toBe(`world sees ${host}`);

      const leases = await agent.ask<Lease[]>('leases', natPlan);
      expect(leases.map(({ address, hostName }) => [address, hostName])).toEqual(
        expect.arrayContaining([
          [one, 'reserved'],
          [two, 'two'],
        ]),
      );

      await agent.ask('stop', natPlan);
      await agent.ask('forget', natPlan);
      expect(await lab.snapshot()).toBe(before);
      expect(await lab.dnsmasqPids()).toEqual([]);
      expect(readdirSync(join(lab.directory, 'var/lib/libvirt/dnsmasq'))).toEqual([]);
      expect(readdirSync(join(lab.directory, 'run/vireo/network'))).toEqual([]);
    },
  );

  it.each(['nftables', 'iptables'] as const)('lets nobody in from outside by %s', async (firewall) => {
    const agent = await lab.agent({ firewall });
    await agent.ask('start', natPlan);
    const [one] = await twoGuests();
    await lab.serve('one', 22);
    lab.ip('world', `route add 192.168.150.0/24 via ${host}`);

    expect(await pings('world', one)).toBe(false);
    expect(await lab.call('world', one, 22)).toBe('');
    // docs/security.md, class L: DNS answers on the bridge only.
    await expect(resolves('world', 'gateway.lab.test', host)).rejects.toThrow();
    expect(await pings('one', world)).toBe(true);
  });

  it.each(['nftables', 'iptables'] as const)(
    'forwards a port from outside, from a neighbour and from the host itself by %s',
    async (firewall) => {
      const before = await lab.snapshot();
      const agent = await lab.agent({ firewall });
      await agent.ask('start', natPlan);
      const [one] = await twoGuests();
      await lab.serve('one', 22);
      const forwarded: NetworkPlan = {
        ...natPlan,
        portForwards: [
          { protocol: 'tcp', family: 4, hostPort: 2222, count: 1, guestAddress: one, guestPort: 22 },
        ],
      };
      await agent.ask('reload', forwarded);

      expect(await lab.call('world', host, 2222)).toBe(`one sees ${world}`);
      expect(await lab.call('two', host, 2222)).toBe('one sees 192.168.150.1');
      expect(await lab.call('host', host, 2222)).toMatch(/^one sees/);
      expect(await lab.call('host', '127.0.0.1', 2222)).toBe('one sees 192.168.150.1');

      await agent.ask('reload', natPlan);
      expect(await lab.call('world', host, 2222)).toBe('');
      await agent.ask('stop', natPlan);
      expect(await lab.snapshot()).toBe(before);
    },
  );

  it('serves IPv6 by router advertisements and forwards it', async () => {
    const agent = await lab.agent();
    const six: NetworkPlan = {
      ...natPlan,
      forward: { ...natPlan.forward, isNatIpv6: true },
      subnets: [...natPlan.subnets, { family: 6, address: 'fd42:1::1', prefix: 64, isLocalPtr: false }],
    };
    lab.ip('host', 'addr add fd77::1/64 dev up0 nodad');
    lab.ip('world', 'addr add fd77::2/64 dev eth0 nodad');
    await agent.ask('start', six);
    lab.addClient('one', '52:54:00:00:00:11');
    await eventually('an address by advertisement', async () =>
      /fd42:1::\S+ scope global (?!tentative)/.test(await lab.run('one', 'ip', '-6', 'addr')),
    );
    expect(await pings('one', 'fd77::2')).toBe(true);
    await agent.ask('stop', six);
    expect(await lab.run('host', 'cat', '/proc/sys/net/ipv6/conf/all/forwarding')).toBe('0\n');
  });
});

describeWith(needs, 'the guardian', () => {
  it.each([
    ['nftables', 'nft flush ruleset'],
    ['nftables', 'nft delete table ip libvirt_network'],
    ['iptables', 'nft flush ruleset'],
    ['iptables', 'iptables -F LIBVIRT_FWO'],
    ['iptables', 'iptables -D FORWARD -j LIBVIRT_FWI'],
  ] as const)('puts rules of %s back after `%s`', async (firewall, command) => {
    const agent = await lab.agent({ firewall });
    await agent.ask('start', natPlan);
    const rules = async () => {
      const text = await lab.run('host', ...(firewall === 'nftables' ? nftList : ['iptables-save']));
      // Chains may come back in another order; counters begin again.
      return text
        .replaceAll(/^#.*\n|\[\d+:\d+\]|packets \d+ bytes \d+/gm, '')
        .split('\n')
        .toSorted()
        .join('\n');
    };
    const before = await rules();
    await lab.run('host', ...command.split(' '));
    await eventually('the rules are back', async () => (await rules()) === before, 5000);
    await eventually('the news', async () =>
      (await agent.ask<NetworkHostEvent[]>('events')).some(({ kind }) => kind === 'firewall-restored'),
    );
  });

  it('starts dnsmasq again when it was killed, and leases are kept', async () => {
    const agent = await lab.agent();
    await agent.ask('start', natPlan);
    await twoGuests();
    const [pid] = await lab.dnsmasqPids();
    process.kill(pid ?? -1, 'SIGKILL');
    await eventually('another dnsmasq', async () => {
      const [now] = await lab.dnsmasqPids();
      return now !== undefined && now !== pid;
    });
    expect(await lab.lease('two', 'two')).toMatch(/^192\.168\.150\.1\d\d$/);
    expect(await agent.ask<Lease[]>('leases', natPlan)).toHaveLength(2);
    await eventually('the news', async () =>
      (await agent.ask<NetworkHostEvent[]>('events')).some(({ kind }) => kind === 'dnsmasq-restarted'),
    );
  });

  it('moves to iptables when its FORWARD chain begins to drop, as with Docker', async () => {
    const agent = await lab.agent({ firewall: 'auto' });
    await agent.ask('start', natPlan);
    await twoGuests();
    await lab.run('host', 'iptables', '-P', 'FORWARD', 'DROP');
    await eventually('a way through', () => pings('one', world));
    expect(await lab.run('host', 'nft', 'list', 'tables')).not.toContain('libvirt_network');
    await agent.ask('stop', natPlan);
    expect(await lab.run('host', 'iptables-save')).not.toMatch(/LIBVIRT|VIREO/);
  });
});

describeWith(needs, 'a daemon that dies', () => {
  it('leaves traffic flowing, and its successor takes over the same dnsmasq and rules', async () => {
    const before = await lab.snapshot();
    const first = await lab.agent();
    await first.ask('start', natPlan);
    await twoGuests();
    const rules = await lab.run('host', 'nft', '-a', 'list', 'ruleset');
    const pids = await lab.dnsmasqPids();
    await first.crash();
    expect(await pings('one', world)).toBe(true);

    const second = await lab.agent();
    await second.ask('reconcile', natPlan);
    expect(await lab.dnsmasqPids()).toEqual(pids);
    const withoutCounters = (text: string) => text.replaceAll(/packets \d+ bytes \d+/g, '');
    const now = await lab.run('host', 'nft', '-a', 'list', 'ruleset');
    expect(withoutCounters(now)).toBe(withoutCounters(rules));

    process.kill(pids[0] ?? -1, 'SIGKILL');
    await eventually('an adopted dnsmasq is replaced', async () => {
      const [pid] = await lab.dnsmasqPids();
      return pid !== undefined && pid !== pids[0];
    });
    await second.ask('stop', natPlan);
    expect(await lab.snapshot()).toBe(before);
  });

  it('is cleaned up after by a start of the same network', async () => {
    const first = await lab.agent();
    await first.ask('start', natPlan);
    await first.crash();
    const second = await lab.agent();
    await second.ask('start', natPlan);
    expect(await lab.dnsmasqPids()).toHaveLength(1);
    await second.ask('stop', natPlan);
    expect(await lab.dnsmasqPids()).toEqual([]);
  });
});

describeWith(needs, 'a start that fails', () => {
  it('takes everything away again when dnsmasq does not start', async () => {
    const agent = await lab.agent();
    const before = await lab.snapshot();
    const script = "require('dgram').createSocket('udp4').bind(67, '0.0.0.0', () => console.log('ready'))";
    const taker = lab.spawn('host', process.execPath, '-e', script);
    await new Promise((done) => taker.stdout?.once('data', done));
    await expect(agent.ask('start', natPlan)).rejects.toThrow(/Address already in use/);
    expect(await lab.snapshot()).toBe(before);
    expect(await lab.dnsmasqPids()).toEqual([]);
  });

  it("refuses an interface that is not the network's, and leaves it alone", async () => {
    lab.ip('host', 'link add virbr0 type bridge');
    const before = await lab.snapshot();
    const agent = await lab.agent();
    await expect(agent.ask('start', natPlan)).rejects.toMatchObject({ code: 'network.exists' });
    await agent.ask('stop', natPlan);
    expect(await lab.snapshot()).toBe(before);
  });
});

describeWith(needs, 'several networks', () => {
  const second: NetworkPlan = {
    ...natPlan,
    uuid: 'a2b3c4d5-0b1f-4d53-9f1c-6c9e3f0a1b2c',
    name: 'second',
    bridge: { ...natPlan.bridge, name: 'virbr1', mac: '52:54:00:aa:bb:02' },
    subnets: [{ family: 4, address: '192.168.151.1', prefix: 24, isLocalPtr: false }],
  };

  it.each(['nftables', 'iptables'] as const)('start at once and end one by one by %s', async (firewall) => {
    const before = await lab.snapshot();
    const agent = await lab.agent({ firewall });
    await Promise.all([agent.ask('start', natPlan), agent.ask('start', second)]);
    await twoGuests();
    await agent.ask('stop', second);
    expect(await pings('one', world)).toBe(true);
    await agent.ask('stop', natPlan);
    expect(await lab.snapshot()).toBe(before);
  });

  it("leave alone chains of libvirt's names that another has made", async () => {
    await lab.run('host', 'iptables', '-N', 'LIBVIRT_INP');
    await lab.run('host', 'iptables', '-A', 'LIBVIRT_INP', '-i', 'other0', '-j', 'ACCEPT');
    await lab.run('host', 'iptables', '-A', 'INPUT', '-j', 'LIBVIRT_INP');
    const agent = await lab.agent({ firewall: 'iptables' });
    await agent.ask('start', natPlan);
    await agent.ask('stop', natPlan);
    expect(await lab.run('host', 'iptables-save', '-t', 'filter')).toContain(
      '-A LIBVIRT_INP -i other0 -j ACCEPT',
    );
  });

  it('are isolated when they are to be', async () => {
    const agent = await lab.agent();
    const isolated: NetworkPlan = { ...natPlan, forward: { ...natPlan.forward, mode: 'none' } };
    await agent.ask('start', isolated);
    const [, two] = await twoGuests();
    expect(await lab.run('host', 'cat', '/proc/sys/net/ipv4/ip_forward')).toBe('0\n');
    // Even when something else switches forwarding on and a guest finds the way.
    await lab.run('host', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    lab.ip('one', 'route replace default via 192.168.150.1');
    expect(await pings('one', two)).toBe(true);
    expect(await pings('one', world)).toBe(false);
  });
});

describeWith(needs, 'taps', () => {
  it('are made on the bridge with their queues, go back on it, and end with their descriptors', async () => {
    const agent = await lab.agent();
    await agent.ask('start', natPlan);
    const request = { bridge: 'virbr0', mac: '52:54:00:00:00:21', queues: 2, isolated: true };
    const tap = await agent.ask<Tap>('openTap', request);
    expect(tap).toMatchObject({ name: 'vnet0', fds: [expect.any(Number), expect.any(Number)] });
    const link = () => lab.run('host', 'ip', '-d', 'link', 'show', 'vnet0');
    expect(await link()).toMatch(/master virbr0[\s\S]*fe:54:00:00:00:21[\s\S]*isolated on/);

    lab.ip('host', 'link set vnet0 nomaster');
    await agent.ask('attachTap', { name: 'vnet0', bridge: 'virbr0' });
    expect(await link()).toContain('master virbr0');
    await expect(agent.ask('deleteTap', 'up0')).rejects.toMatchObject({ code: 'link.failed' });
    await agent.ask('deleteTap', 'vnet0');
    await agent.ask('deleteTap', 'vnet0');
    await expect(agent.ask('openTap', { ...request, bridge: 'up0' })).rejects.toMatchObject({
      code: 'link.failed',
    });
  });
});

describeWith(needs, 'dnsmasq', () => {
  it('runs unprivileged, with three capabilities, our environment and nothing inherited', async () => {
    const agent = await lab.agent();
    await agent.ask('start', { ...natPlan, dnsmasqOptions: [] }); // NET_RAW is for its ping
    const [pid] = await lab.dnsmasqPids();
    const read = () => readFileSync(`/proc/${pid}/status`, 'utf8');
    // It has its sockets first, and becomes another user then.
    await expect.poll(read).toMatch(/^Uid:\t(?!0\t)/m);
    const status = read();
    expect(status).toMatch(/^Groups:\t\s*$/m);
    // NET_BIND_SERVICE, NET_ADMIN, NET_RAW (linux/capability.h).
    expect(status).toMatch(/^CapEff:\t0000000000003400$/m);
    expect(status).toMatch(/^CapInh:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8').match(/[^\0=]+(?==)/g);
    expect(names?.toSorted()).toEqual(['LC_ALL', 'PATH']);
  });
});

describeWith(needs, "dnsmasq's files", () => {
  it('are read again when hosts change, without a restart', async () => {
    const agent = await lab.agent();
    await agent.ask('start', natPlan);
    lab.addClient('one', '52:54:00:00:00:11');
    await lab.lease('one', 'one');
    const pids = await lab.dnsmasqPids();
    const changed: NetworkPlan = {
      ...natPlan,
      dns: { ...natPlan.dns, hosts: [{ address: '192.168.150.77', names: ['newcomer'] }] },
    };
    await agent.ask('reload', changed);
    await eventually('the new name', () =>
      resolves('one', 'newcomer.lab.test', '192.168.150.1').then(
        (answer) => answer.includes('192.168.150.77'),
        () => false,
      ),
    );
    expect(await lab.dnsmasqPids()).toEqual(pids);
    expect(existsSync(join(lab.directory, 'var/lib/libvirt/dnsmasq/virbr0.status'))).toBe(true);
  });

  it('are done without where its user may not enter: names and reservations hold all the same', async () => {
    chmodSync(lab.directory, 0o700);
    const agent = await lab.agent();
    await agent.ask('start', natPlan);
    lab.addClient('one', '52:54:00:00:00:11');
    expect(await lab.lease('one', 'one')).toBe('192.168.150.11');
    const changed: NetworkPlan = {
      ...natPlan,
      dns: { ...natPlan.dns, hosts: [{ address: '192.168.150.77', names: ['newcomer'] }] },
    };
    await agent.ask('reload', changed);
    expect(await resolves('one', 'newcomer.lab.test', '192.168.150.1')).toContain('192.168.150.77');
    expect(await agent.ask<Lease[]>('leases', natPlan)).toHaveLength(1);
  });

  it('are no way to have another process signalled', async () => {
    const agent = await lab.agent();
    await agent.ask('start', natPlan);
    const bystander = lab.spawn('host', 'sleep', '60');
    writeFileSync(join(lab.directory, 'run/vireo/network/default.pid'), `${bystander.pid}\n`);
    await agent.crash();
    const second = await lab.agent();
    await second.ask('stop', natPlan);
    expect(bystander.exitCode).toBeNull();
    expect(bystander.signalCode).toBeNull();
  });
});
