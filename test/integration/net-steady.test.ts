/** Traffic that must not stop, traffic that must never pass, and a host that is as before: looked at while things change. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NetworkPlan } from '../../src/net/plan.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'iptables-restore', 'busybox', '/dev/net/tun'];
const world = '10.77.0.2';

let lab: NetLab;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

const second: NetworkPlan = {
  ...natPlan,
  uuid: 'a2b3c4d5-0b1f-4d53-9f1c-6c9e3f0a1b2c',
  name: 'second',
  bridge: { ...natPlan.bridge, name: 'virbr1', mac: '52:54:00:aa:bb:02' },
  subnets: [{ family: 4, address: '192.168.151.1', prefix: 24, isLocalPtr: false }],
};

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Pings every 10 ms until it is stopped; how many were sent, and how many answered. */
function pinging(
  from: string,
  to: string,
): { readonly stop: () => Promise<{ sent: number; received: number }> } {
  const child = lab.spawn(from, 'busybox', 'ping', '-i', '0.01', '-W', '1', to);
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  return {
    stop: async () => {
      const ended = new Promise((done) => child.once('close', done));
      child.kill('SIGINT');
      await ended;
      const [, sent, received] = /(\d+) packets transmitted, (\d+) packets received/.exec(said) ?? [];
      return { sent: Number(sent), received: Number(received) };
    },
  };
}

async function guest(name: string, mac: string): Promise<string> {
  lab.addClient(name, mac);
  return lab.lease(name, name);
}

describeWith(needs, 'traffic of guests', () => {
  it.each(['nftables', 'iptables'] as const)(
    'loses no packet while the daemon is killed, comes back, and other networks come and go, by %s',
    async (firewall) => {
      const first = await lab.agent({ firewall });
      await first.ask('start', natPlan);
      const one = await guest('one', '52:54:00:00:00:11');
      await guest('two', '52:54:00:00:00:12');
      const out = pinging('one', world);
      const across = pinging('two', one);
      await pause(200);
      await first.crash();
      await pause(500);
      const next = await lab.agent({ firewall });
      await next.ask('reconcile', natPlan);
      for (let round = 0; round < 3; round += 1) {
        await next.ask('start', second);
        await next.ask('reload', { ...natPlan, dns: { ...natPlan.dns, hosts: [] } });
        await next.ask('stop', second);
      }
      await pause(100);
      for (const one of [out, across]) {
        const { sent, received } = await one.stop();
        expect(sent).toBeGreaterThan(40);
        // The last one may still be under way.
        expect(sent - received).toBeLessThanOrEqual(1);
      }
    },
  );

  it.each(['nftables', 'iptables'] as const)(
    'from an isolated network reaches nothing beyond at any moment of a change, by %s',
    async (firewall) => {
      // docs/security.md, class L. The world counts what arrives; the guest knows the way and the host forwards.
      const isolated: NetworkPlan = { ...natPlan, forward: { ...natPlan.forward, mode: 'none' } };
      await lab.run('host', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
      await lab.run(
        'world',
        'nft',
        'add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c ip saddr 192.168.150.0/24 counter',
      );
      const agent = await lab.agent({ firewall });
      await agent.ask('start', isolated);
      await guest('one', '52:54:00:00:00:11');
      lab.ip('one', 'route replace default via 192.168.150.1');
      const probe = pinging('one', world);
      await pause(200);
      for (let round = 0; round < 3; round += 1) {
        await agent.ask('start', second);
        await agent.ask('reload', { ...isolated, dns: { ...natPlan.dns, hosts: [] } });
        await agent.ask('reload', isolated);
        await agent.ask('stop', second);
      }
      await agent.crash();
      const next = await lab.agent({ firewall });
      await next.ask('reconcile', isolated);
      await next.ask('stop', isolated);
      const { sent, received } = await probe.stop();
      // One every 10 ms, for as long as all this takes: enough to have hit each of the changes.
      expect(sent).toBeGreaterThan(40);
      expect(received).toBe(0);
      expect(await lab.run('world', 'nft', 'list', 'ruleset')).toContain('counter packets 0 bytes 0');
    },
  );
});

describeWith(needs, 'a host', () => {
  const tables = {
    filter: 'INPUT FORWARD OUTPUT',
    nat: 'PREROUTING INPUT OUTPUT POSTROUTING',
    mangle: 'PREROUTING INPUT FORWARD OUTPUT POSTROUTING',
    raw: 'PREROUTING OUTPUT',
  };
  const builtIn = Object.entries(tables)
    .map(([table, names]) => `*${table}\\n:${names.replaceAll(' ', ' ACCEPT\\n:')} ACCEPT\\nCOMMIT\\n`)
    .join('');

  /** All that `ip`, the firewalls, the kernel's settings, sockets and processes show; not what only counts or ages. */
  async function everything(): Promise<string> {
    const parts = await Promise.all([
      lab.run('host', 'ip', '-d', '-o', 'link'),
      lab.run('host', 'ip', '-o', 'addr'),
      lab.run('host', 'ip', 'rule'),
      lab.run('host', 'ip', 'route', 'show', 'table', 'all'),
      lab.run('host', 'ip', '-6', 'route', 'show', 'table', 'all'),
      lab.run('host', 'nft', '-s', 'list', 'ruleset'),
      lab.run('host', 'iptables-save'),
      lab.run('host', 'ip6tables-save'),
      lab.run(
        'host',
        'sh',
        '-c',
        'grep -rs . /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/bridge || true',
      ),
      lab.run('host', 'busybox', 'netstat', '-lntu'),
      lab.run('host', 'tc', 'qdisc'),
    ]);
    return parts
      .flatMap((part) => part.split('\n'))
      .filter((line) => !/^#|tcp_fastopen_key/.test(line))
      .map((line) => line.replaceAll(/\[\d+:\d+\]|expires \d+sec|packets \d+ bytes \d+/g, ''))
      .join('\n');
  }

  it.each(['nftables', 'iptables'] as const)(
    'is as before after a network of every kind, to the last rule and setting, by %s',
    async (firewall) => {
      // iptables makes its built-in chains at their first use, and leaves them: used before, they are no difference.
      for (const tool of ['iptables', 'ip6tables'])
        await lab.run('host', 'sh', '-ec', `printf '${builtIn}' | ${tool}-restore`);
      // The uplink's own address is looked for in the first second (RFC 4862, 5.4).
      await eventually('settled addresses', async () => !(await everything()).includes('tentative'));
      const before = await everything();
      const agent = await lab.agent({ firewall });
      const six = { family: 6, address: 'fd42:1::1', prefix: 64, isLocalPtr: false } as const;
      const all: NetworkPlan = {
        ...natPlan,
        bridge: { ...natPlan.bridge, isStp: true, mtu: 1400 },
        forward: { ...natPlan.forward, isNatIpv6: true },
        subnets: [...natPlan.subnets, six],
        routes: [{ family: 4, destination: '10.200.0.0', prefix: 16, gateway: '192.168.150.9' }],
        portForwards: [
          {
            protocol: 'tcp',
            family: 4,
            hostPort: 2222,
            count: 1,
            guestAddress: '192.168.150.11',
            guestPort: 22,
          },
          { protocol: 'udp', family: 6, hostPort: 53, count: 9, guestAddress: 'fd42:1::9', guestPort: 53 },
        ],
      };
      const plans: NetworkPlan[] = [
        all,
        { ...second, forward: { ...second.forward, mode: 'route' } },
        { ...second, forward: { ...second.forward, mode: 'open' } },
        { ...second, forward: { ...second.forward, mode: 'none' } },
      ];
      for (const plan of plans) {
        await agent.ask('start', plan);
        expect(await everything()).not.toBe(before);
        await agent.ask('stop', plan);
        expect(await everything()).toBe(before);
      }
      expect(await lab.dnsmasqPids()).toEqual([]);
    },
  );
});

describeWith([...needs, 'tc'], 'a network with limits of bandwidth', () => {
  it('is brought in order by the next daemon, reloaded, and keeps its limits', async () => {
    const limited = (averageKBps: number): NetworkPlan => ({
      ...natPlan,
      bandwidth: { inbound: { averageKBps } },
    });
    const rates = async () => {
      const classes = await lab.run('host', 'tc', 'class', 'show', 'dev', natPlan.bridge.name);
      return [...classes.matchAll(/^class htb 1:1 root .* rate (\S+)/gm)].map(([, rate]) => rate);
    };
    const first = await lab.agent();
    await first.ask('start', limited(1000));
    expect(await rates()).toEqual(['8Mbit']);
    await first.crash();
    const next = await lab.agent();
    await next.ask('reconcile', limited(1000));
    expect(await rates()).toEqual(['8Mbit']);
    await next.ask('reload', limited(2000));
    expect(await rates()).toEqual(['16Mbit']);
    await next.ask('stop', natPlan);
  });

  it('keeps the shares of guests through a flush of all rules, and leaves none behind', async () => {
    const plan: NetworkPlan = { ...natPlan, bandwidth: { inbound: { averageKBps: 1000 } } };
    const shared = { ...plan, shares: [{ mac: '52:54:00:00:00:05', floorKBps: 250 }] };
    const rates = async () => {
      const classes = await lab.run('host', 'tc', 'class', 'show', 'dev', natPlan.bridge.name);
      return [...classes.matchAll(/^class htb (\S+) .* rate (\S+)/gm)].map(([, ...both]) => both.join(' '));
    };
    const rules = () => lab.run('host', 'nft', 'list', 'ruleset');
    const agent = await lab.agent();
    await agent.ask('start', plan);
    expect(await rates()).toEqual(['1:1 8Mbit']);
    await agent.ask('reload', shared);
    expect((await rates()).toSorted()).toEqual(['1:1 6Mbit', '1:2 2Mbit', '1:fffe 8Mbit']);
    const mine = /ether daddr 52:54:00:00:00:05 meta priority set 1:2/;
    expect(await rules()).toMatch(mine);
    await lab.run('host', 'nft', 'flush', 'ruleset');
    await expect.poll(rules, { timeout: 30_000 }).toMatch(mine);
    await agent.ask('reload', plan);
    expect(await rates()).toEqual(['1:1 8Mbit']);
    expect(await rules()).not.toContain('vireo-share');
    await agent.ask('reload', shared);
    await agent.ask('stop', shared);
    expect(await rules()).not.toContain('vireo-share');
  });
});
