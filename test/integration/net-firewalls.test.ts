/** Networks beside other firewalls: firewalld, Docker, ufw, and the old iptables with tables of its own. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NetworkHostEvent, NetworkPlan } from '../../src/net/plan.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'iptables-restore', 'busybox', '/dev/net/tun'];
const world = '10.77.0.2';
const host = '10.77.0.1';

let lab: NetLab;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

const pings = (client: string, address: string) =>
  lab.succeeds(client, 'busybox', 'ping', '-c', '1', '-W', '2', address);

async function twoGuests(): Promise<[string, string]> {
  lab.addClient('one', '52:54:00:00:00:11');
  lab.addClient('two', '52:54:00:00:00:12');
  return [await lab.lease('one', 'one'), await lab.lease('two', 'two')];
}

const forwarded = (guestAddress: string): NetworkPlan => ({
  ...natPlan,
  portForwards: [{ protocol: 'tcp', family: 4, hostPort: 2222, count: 1, guestAddress, guestPort: 22 }],
});

/** Everything a network promises, whatever else filters on the host. */
async function expectService(one: string): Promise<void> {
  await lab.serve('world', 8080);
  await lab.serve('one', 22);
  expect(await lab.run('two', 'busybox', 'nslookup', 'reserved.lab.test', '192.168.150.1')).toContain(one);
  expect(await lab.call('one', world, 8080)).toBe(`world sees ${host}`);
  expect(await lab.call('world', host, 2222)).toBe(`one sees ${world}`);
  expect(await lab.call('two', host, 2222)).toBe('one sees 192.168.150.1');
}

describeWith(
  [...needs, 'iptables-legacy', 'ip6tables-legacy', '/usr/sbin/xtables-legacy-multi'],
  'the old iptables',
  () => {
    /** A host whose `iptables` is the old one, as an administrator chooses it by update-alternatives. */
    const old = [
      'sh',
      '-ec',
      'mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi; exec "$@"',
      'sh',
    ];
    const dump = async () =>
      (
        await Promise.all(
          ['iptables-legacy-save', 'ip6tables-legacy-save'].map((name) => lab.run('host', name)),
        )
      )
        .join('')
        .split('\n')
        .filter((line) => /^(-A|:\S+ - )/.test(line))
        .join('\n');

    it('carries the rules of both families, has them restored, and loses them at the stop', async () => {
      const before = await lab.snapshot();
      const agent = await lab.agent({ firewall: 'iptables' }, old);
      const six: NetworkPlan = {
        ...natPlan,
        forward: { ...natPlan.forward, isNatIpv6: true },
        subnets: [...natPlan.subnets, { family: 6, address: 'fd42:1::1', prefix: 64, isLocalPtr: false }],
      };
      await agent.ask('start', six);
      const [one] = await twoGuests();
      await agent.ask('reload', { ...six, portForwards: forwarded(one).portForwards });
      await expectService(one);
      expect(await dump()).toContain('-A LIBVIRT_FWO -s 192.168.150.0/24 -i virbr0 -j ACCEPT');
      expect(await dump()).toContain('-A LIBVIRT_PRT -s fd42:1::/64 ! -d fd42:1::/64 -j MASQUERADE');
      expect(await lab.run('host', 'nft', 'list', 'ruleset')).not.toContain('LIBVIRT');

      const rules = await dump();
      await lab.run('host', 'iptables-legacy', '-F');
      await lab.run('host', 'ip6tables-legacy', '-t', 'nat', '-F');
      // Nothing tells of changes in these tables: they are looked at every 25 s.
      await eventually('the rules are back', async () => (await dump()) === rules, 32_000);

      await agent.ask('stop', { ...six, portForwards: forwarded(one).portForwards });
      expect(await dump()).toBe('');
      expect(await lab.snapshot()).toBe(before);
    });

    it.each([
      ['the iptables of the host', old],
      ['not the iptables of the host', []],
    ] as const)('that drops what is forwarded is overruled, when it is %s', async (_what, around) => {
      await lab.run('host', 'iptables-legacy', '-P', 'FORWARD', 'DROP');
      await lab.run('host', 'iptables-legacy', '-P', 'INPUT', 'DROP');
      const agent = await lab.agent({ firewall: 'auto' }, around);
      await agent.ask('start', natPlan);
      const [one] = await twoGuests();
      await agent.ask('reload', forwarded(one));
      await expectService(one);
      await agent.ask('stop', forwarded(one));
      expect(await dump()).toBe('');
    });
  },
);

describeWith(needs, 'Docker', () => {
  it('does not keep guests from the world, nor the world from a port that is forwarded', async () => {
    // What its daemon writes (docs.docker.com, "Packet filtering and firewalls").
    await lab.run(
      'host',
      'sh',
      '-ec',
      `iptables -N DOCKER; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
      iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -o docker0 -j DOCKER
      iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT; iptables -P FORWARD DROP
      iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`,
    );
    const docker = await lab.run('host', 'iptables-save');
    const agent = await lab.agent({ firewall: 'auto' });
    await agent.ask('start', natPlan);
    const [one] = await twoGuests();
    await agent.ask('reload', forwarded(one));
    await expectService(one);
    await agent.ask('stop', forwarded(one));
    const rules = (text: string) =>
      text
        .split('\n')
        .filter((line) => /^(-A|:(?!VIREO|LIBVIRT))/.test(line))
        .map((line) => line.replace(/ \[.*/, ''));
    expect(rules(await lab.run('host', 'iptables-save')).filter((line) => line.startsWith('-A'))).toEqual(
      rules(docker).filter((line) => line.startsWith('-A')),
    );
  });

  it('that restarts and puts itself first is followed', async () => {
    const agent = await lab.agent({ firewall: 'iptables' });
    await agent.ask('start', natPlan);
    const [one] = await twoGuests();
    await lab.run(
      'host',
      'sh',
      '-ec',
      'iptables -F FORWARD; iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER',
    );
    await eventually('a way through', () => pings('one', world));
    expect(one).toBe('192.168.150.11');
  });
});

describeWith(needs, 'ufw', () => {
  it('lets guests have addresses, names, the world, and be reached by a forward', async () => {
    // The shape of its rules: chains of its own, INPUT and FORWARD that drop (ufw-framework(8)).
    const script = ['iptables', 'ip6tables']
      .map(
        (
          tool,
        ) => `${tool} -P INPUT DROP; ${tool} -P FORWARD DROP; ${tool} -N ufw-before-input; ${tool} -N ufw-reject-input
        ${tool} -A INPUT -j ufw-before-input; ${tool} -A INPUT -j ufw-reject-input
        ${tool} -A ufw-before-input -i lo -j ACCEPT
        ${tool} -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        ${tool} -A ufw-reject-input -j DROP
        ${tool} -N ufw-before-forward; ${tool} -A FORWARD -j ufw-before-forward
        ${tool} -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
      )
      .join('\n');
    await lab.run('host', 'sh', '-ec', `${script}\niptables -I ufw-before-input -p icmp -j ACCEPT`);
    const agent = await lab.agent({ firewall: 'auto' });
    await agent.ask('start', natPlan);
    const [one] = await twoGuests();
    await agent.ask('reload', forwarded(one));
    await expectService(one);
  });
});

describeWith([...needs, 'firewalld', 'firewall-cmd', 'dbus-daemon'], 'firewalld', () => {
  /** A system bus of the lab's own, and a /run without the host's. */
  const onBus = () => [
    'sh',
    '-ec',
    'mount -t tmpfs tmpfs /run; mkdir /run/dbus; mount --bind "$0" /run/dbus; exec "$@"',
    join(lab.directory, 'bus'),
  ];
  const firewallCommand = (...words: string[]) => lab.run('host', ...onBus(), 'firewall-cmd', ...words);

  async function startFirewalld(): Promise<void> {
    mkdirSync(join(lab.directory, 'firewalld'));
    lab.spawn(
      'host',
      ...onBus(),
      'firewalld',
      '--nofork',
      '--system-config',
      join(lab.directory, 'firewalld'),
    );
    await eventually('firewalld runs', () =>
      firewallCommand('--state').then(
        () => true,
        () => false,
      ),
    );
  }

  beforeEach(async () => {
    mkdirSync(join(lab.directory, 'bus'), { mode: 0o777 });
    lab.spawn('host', ...onBus(), 'dbus-daemon', '--system', '--nofork', '--nopidfile');
    await startFirewalld();
  });

  it('lets guests out and serves them, before and after it reloads', async () => {
    const agent = await lab.agent({ firewall: 'auto' }, onBus());
    await agent.ask('start', natPlan);
    const [one] = await twoGuests();
    await agent.ask('reload', forwarded(one));
    await expectService(one);
    const zone = await firewallCommand('--get-zone-of-interface=virbr0');
    expect(zone).toMatch(/^(libvirt|trusted)\n/);

    await agent.ask('events');
    await firewallCommand('--reload');
    await eventually(
      'the zone is back',
      async () => (await firewallCommand('--get-zone-of-interface=virbr0').catch(() => '')) === zone,
    );
    await eventually('the news', async () =>
      (await agent.ask<NetworkHostEvent[]>('events')).some(({ kind }) => kind === 'firewall-restored'),
    );
    expect(await lab.call('one', world, 8080)).toBe(`world sees ${host}`);
    expect(await lab.call('world', host, 2222)).toBe(`one sees ${world}`);
    await agent.ask('stop', forwarded(one));
    await expect(firewallCommand('--get-zone-of-interface=virbr0')).rejects.toThrow(/no zone/);
  });

  it('puts the bridge into the zone that the network names, and refuses one that is not there', async () => {
    const agent = await lab.agent({ firewall: 'auto' }, onBus());
    const inZone = (zone: string): NetworkPlan => ({ ...natPlan, bridge: { ...natPlan.bridge, zone } });
    await agent.ask('start', inZone('home'));
    expect(await firewallCommand('--get-zone-of-interface=virbr0')).toBe('home\n');
    await agent.ask('stop', inZone('home'));
    const before = await lab.snapshot();
    await expect(agent.ask('start', inZone('no-such-zone'))).rejects.toThrow(/INVALID_ZONE/);
    expect(await lab.snapshot()).toBe(before);
  });
});
