/** Port forwards on a real kernel: UDP, ranges, shifted ranges, IPv6, hairpin, and programs of the host in the way. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { HostListener, NetworkPlan, PortForward } from '../../src/net/plan.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { type NetAgent, NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'iptables-restore', 'busybox', '/dev/net/tun'];
const host = '10.77.0.1';
const hostSix = 'fd77::1';
const guestSix = 'fd42:1::5';

let lab: NetLab;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

const plan: NetworkPlan = {
  ...natPlan,
  forward: { ...natPlan.forward, isNatIpv6: true },
  subnets: [...natPlan.subnets, { family: 6, address: 'fd42:1::1', prefix: 64, isLocalPtr: false }],
};

const forwards = (guestAddress: string): PortForward[] => [
  { protocol: 'udp', family: 4, hostPort: 5300, count: 1, guestAddress, guestPort: 53 },
  { protocol: 'tcp', family: 4, hostPort: 8000, count: 10, guestAddress, guestPort: 8000 },
  { protocol: 'tcp', family: 4, hostPort: 9000, count: 3, guestAddress, guestPort: 8007 },
  { protocol: 'tcp', family: 6, hostPort: 8080, count: 1, guestAddress: guestSix, guestPort: 80 },
  { protocol: 'udp', family: 6, hostPort: 5353, count: 1, guestAddress: guestSix, guestPort: 53 },
];

describeWith(needs, 'port forwards', () => {
  it.each(['nftables', 'iptables'] as const)(
    'lead UDP, ranges and IPv6 in, from outside, from a neighbour and from the host itself, by %s',
    async (firewall) => {
      const before = await lab.snapshot();
      const agent = await lab.agent({ firewall });
      lab.ip('host', `addr add ${hostSix}/64 dev up0 nodad`);
      lab.ip('world', 'addr add fd77::2/64 dev eth0 nodad');
      await agent.ask('start', plan);
      lab.addClient('one', '52:54:00:00:00:11');
      lab.addClient('two', '52:54:00:00:00:12');
      const one = await lab.lease('one', 'one');
      await lab.lease('two', 'two');
      lab.ip('one', `addr add ${guestSix}/64 dev eth0 nodad`);
      lab.ip('two', 'addr add fd42:1::6/64 dev eth0 nodad');
      for (const guest of ['one', 'two'])
        await eventually('the route by advertisement', async () =>
          (await lab.run(guest, 'ip', '-6', 'route')).includes('default'),
        );
      await agent.ask('reload', { ...plan, portForwards: forwards(one) });
      for (const port of [8000, 8009, 80]) await lab.serve('one', port);
      await lab.serveUdp('one', 53, 6);

      expect(await lab.call('world', host, 8000)).toBe('one sees 10.77.0.2');
      expect(await lab.call('world', host, 8009)).toBe('one sees 10.77.0.2');
      expect(await lab.call('world', host, 9002)).toBe('one sees 10.77.0.2');
      expect(await lab.call('world', host, 8010)).toBe('');
      expect(await lab.call('two', host, 9002)).toBe('one sees 192.168.150.1');
      expect(await lab.call('host', '127.0.0.1', 9002)).toBe('one sees 192.168.150.1');
      for (const [from, to] of [
        ['world', host],
        ['two', host],
        ['host', host],
        ['host', '127.0.0.1'],
      ] as const)
        expect(await lab.ask(from, to, 5300), `${from} to ${to}`).toContain('one sees');

      expect(await lab.call('world', hostSix, 8080)).toBe('one sees fd77::2');
      expect(await lab.call('two', hostSix, 8080)).toBe('one sees fd42:1::1');
      expect(await lab.call('host', hostSix, 8080)).toMatch(/^one sees/);
      expect(await lab.ask('world', hostSix, 5353)).toContain('one sees');

      await agent.ask('stop', { ...plan, portForwards: forwards(one) });
      lab.ip('host', `addr del ${hostSix}/64 dev up0`);
      expect(await lab.snapshot()).toBe(before);
    },
  );

  it('know who listens on the host, in its own network namespace, whatever the family', async () => {
    const agent = await lab.agent();
    await lab.serve('host', 8080);
    await lab.serveUdp('host', 5300);
    const ask = (query: object) => listeners(agent, query);
    const [tcp] = await ask({ protocol: 'tcp', family: 4, firstPort: 8000, lastPort: 8100 });
    expect(tcp).toMatchObject({ port: 8080, program: 'node' });
    expect(
      await ask({ protocol: 'udp', family: 4, hostAddress: host, firstPort: 5300, lastPort: 5300 }),
    ).toHaveLength(1);
    expect(await ask({ protocol: 'udp', family: 6, firstPort: 5300, lastPort: 5300 })).toEqual([]);
    await lab.serve('world', 9090);
    expect(await ask({ protocol: 'tcp', family: 4, firstPort: 9090, lastPort: 9090 })).toEqual([]);
  });
});

const listeners = (agent: NetAgent, query: object) => agent.ask<HostListener[]>('findListeners', query);
