/** `network test` against networks that work, and against those that are broken in ways people meet. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Lease, NetworkPlan } from '../../src/net/plan.ts';
import type { TestStep } from '../../src/net/test/step.ts';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { type NetAgent, NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'iptables-restore', 'busybox', '/dev/net/tun'];
const world = '10.77.0.2';

let lab: NetLab;
let agent: NetAgent;

beforeEach(() => {
  lab = new NetLab();
});

afterEach(() => {
  lab.remove();
});

async function start(plan: NetworkPlan, firewall: 'nftables' | 'iptables' = 'nftables'): Promise<void> {
  agent = await lab.agent({ firewall });
  await agent.ask('start', plan);
}

const test = async (plan: NetworkPlan) => byId(await agent.ask<TestStep[]>('test', plan));
const testTo = async (plan: NetworkPlan, target: string) =>
  byId(await agent.ask<TestStep[]>('testTarget', { plan, target }));

function byId(steps: readonly TestStep[]): Record<string, TestStep> {
  return Object.fromEntries(steps.map((step) => [step.id, step]));
}

const ok = (detail: RegExp) =>
  expect.objectContaining({ status: 'ok', detail: expect.stringMatching(detail) as string });
const skipped = (detail: RegExp) =>
  expect.objectContaining({ status: 'skipped', detail: expect.stringMatching(detail) as string });
const failed = (detail: RegExp, repair: RegExp) =>
  expect.objectContaining({
    status: 'failed',
    detail: expect.stringMatching(detail) as string,
    repair: expect.stringMatching(repair) as string,
  });

/** Links, rules of the network, processes. */
async function everything(): Promise<string[]> {
  const links = await lab.run('host', 'ip', '-br', 'link');
  const nft = await lab.run('host', 'nft', 'list', 'table', 'ip', 'libvirt_network').catch(() => '');
  const iptables = await lab.run('host', 'iptables-save');
  return [
    ...links.split('\n').map((line) => line.split(' ')[0] ?? ''),
    ...nft.split('\n').flatMap((line) => /comment ".*"/.exec(line)?.[0] ?? []),
    ...iptables.split('\n').filter((line) => line.startsWith('-A') && /virbr0|192\.168\.150/.test(line)),
    ...(await lab.dnsmasqPids()).map(String),
  ];
}

describeWith(needs, 'a test of a network', () => {
  it.each(['nftables', 'iptables'] as const)(
    'proves every link by %s, and leaves nothing',
    async (firewall) => {
      await start(natPlan, firewall);
      const before = await everything();
      expect(await test(natPlan)).toEqual({
        link: ok(/may send/),
        dhcp: ok(
          /^192\.168\.150\.1\d\d\/24 from 192\.168\.150\.1, router 192\.168\.150\.1, DNS 192\.168\.150\.1/,
        ),
        gateway: ok(/192\.168\.150\.1 is 52:54:00:aa:bb:01 and answers/),
        'dns-own': ok(/^vireo-test-\w+\.lab\.test is 192\.168\.150\./),
        'dns-outside': skipped(/the host itself has no route/),
        'way-out': ok(/10\.77\.0\.2 answers, and sees the host's address/),
        'way-in': ok(/led to the test and back/),
      });
      await eventually(
        'the lease is given back',
        async () => (await agent.ask<Lease[]>('leases', natPlan)).length === 0,
      );
      expect(await everything()).toEqual(before);
    },
  );

  it('says that the rules work where nobody beyond answers, and where the host has no route', async () => {
    await start(natPlan);
    expect((await testTo(natPlan, '10.77.0.99'))['way-out']).toEqual(
      ok(
        /the rules work: packets to 10\.77\.0\.99 were sent on with the host's address; it did not answer; the host itself has no default route/,
      ),
    );
    lab.ip('host', 'link set up0 down');
    lab.ip('host', 'addr flush dev up0');
    expect((await test(natPlan))['way-out']).toEqual(
      skipped(/the rules are in place; the host itself has no route/),
    );
  });

  it('names what is broken: others who drop what is forwarded, a DHCP server that hangs', async () => {
    await start(natPlan);
    const drop =
      'add table inet other; add chain inet other f { type filter hook forward priority 10; policy drop; }';
    await lab.run('host', 'nft', drop);
    const dropped = await test(natPlan);
    expect(dropped['way-out']).toEqual(
      failed(/pass the network's own rules, but never leave/, /vireo host check/),
    );
    expect(dropped['way-in']).toEqual(ok(/led to the test and back/));
    await lab.run('host', 'nft', 'delete', 'table', 'inet', 'other');

    const [pid = 0] = await lab.dnsmasqPids();
    process.kill(pid, 'SIGSTOP');
    const silent = await test(natPlan);
    process.kill(pid, 'SIGCONT');
    expect(silent['dhcp']).toEqual(failed(/nobody answered/, /vireo network reload default/));
    expect(silent['way-out']).toEqual(skipped(/gateway was not reached/));
    // It answers those first that have asked in the meantime, and pings each address before.
    await eventually('DHCP is back', async () => (await test(natPlan))['dhcp']?.status === 'ok');
  });

  it('finds a second DHCP server on the bridge', async () => {
    await start(natPlan);
    const [pid = 0] = await lab.dnsmasqPids();
    process.kill(pid, 'SIGSTOP');
    lab.addClient('rogue', '52:54:00:00:00:66');
    lab.ip('rogue', 'addr add 192.168.150.66/24 dev eth0');
    lab.spawn(
      'rogue',
      ...['dnsmasq', '-k', '-C', '/dev/null', '-p', '0', '-i', 'eth0', '--log-facility=-'],
      ...[
        '--dhcp-range=192.168.150.70,192.168.150.80',
        `--dhcp-leasefile=${lab.directory}/rogue`,
        '-x',
        '',
        '-u',
        'root',
      ],
    );
    expect((await test(natPlan))['dhcp']).toEqual(
      failed(/192\.168\.150\.66 gave the lease, and not the network's own server/, /another DHCP server/),
    );
    process.kill(pid, 'SIGCONT');
  });

  it('asks forwards whether somebody listens', async () => {
    lab.ip('host', 'link set lo up');
    await start(natPlan);
    lab.addClient('one', '52:54:00:00:00:11');
    const guestAddress = await lab.lease('one', 'one');
    await lab.serve('one', 22);
    const forward = { protocol: 'tcp', family: 4, count: 1, guestAddress } as const;
    const plan: NetworkPlan = {
      ...natPlan,
      portForwards: [
        { ...forward, hostPort: 2222, guestPort: 22 },
        { ...forward, hostPort: 8080, guestPort: 80 },
        { ...forward, hostPort: 9090, guestPort: 80, guestAddress: '192.168.150.250' },
        { ...forward, protocol: 'udp', hostPort: 5353, guestPort: 53 },
      ],
    };
    await agent.ask('reload', plan);
    expect(await test(plan)).toMatchObject({
      'forward-tcp-2222': ok(/:22 takes connections/),
      'forward-tcp-8080': ok(/:80, where nothing listens now/),
      'forward-tcp-9090': failed(/192\.168\.150\.250:80/, /see that the guest runs/),
      'forward-udp-5353': skipped(/cannot be asked/),
    });
  });

  it('proves that an isolated network is isolated, and finds one that is not', async () => {
    const isolated: NetworkPlan = { ...natPlan, forward: { ...natPlan.forward, mode: 'none' } };
    await start(isolated);
    expect(await test(isolated)).toMatchObject({
      dhcp: ok(/no router/),
      'dns-own': ok(/lab\.test/),
      'dns-outside': skipped(/asks nobody outside/),
      'way-out': ok(/10\.77\.0\.2 cannot be reached/),
      'way-in': skipped(/isolated/),
    });
    await agent.ask('stop', isolated);
    await agent.ask('start', natPlan);
    expect((await test(isolated))['way-out']).toEqual(
      failed(/answers, although the network is isolated/, /reload/),
    );
  });

  it('has routed networks answer without the host in between, and speaks IPv6', async () => {
    const routed: NetworkPlan = {
      ...natPlan,
      forward: { ...natPlan.forward, mode: 'route' },
      subnets: [...natPlan.subnets, { family: 6, address: 'fd00:150::1', prefix: 64, isLocalPtr: false }],
    };
    await start(routed);
    const unknown = await test(routed);
    expect(unknown['way-out']).toEqual(
      ok(/the rules work: packets to 10\.77\.0\.2 were forwarded; it did not answer/),
    );
    expect(unknown['ipv6']).toEqual(ok(/^fe80::.* advertises itself, fd00:150::1 answers pings/));
    lab.ip('world', 'route add 192.168.150.0/24 via 10.77.0.1');
    expect((await test(routed))['way-out']).toEqual(
      ok(new RegExp(`^${world.replaceAll('.', '\\.')} answers$`)),
    );
  });

  it('takes an address of its own where there is no DHCP', async () => {
    const [subnet] = natPlan.subnets;
    if (subnet === undefined) throw new Error('the plan has no subnet');
    const { dhcp: _, ...fixed } = subnet;
    const plan: NetworkPlan = { ...natPlan, subnets: [fixed] };
    await start(plan);
    lab.addClient('one', '52:54:00:00:00:11');
    lab.ip('one', 'addr add 192.168.150.254/24 dev eth0');
    expect(await test(plan)).toMatchObject({
      dhcp: skipped(/the test takes 192\.168\.150\.253/),
      'dns-own': ok(/gateway.* is 192\.168\.150\.1/),
      'way-out': ok(/answers/),
    });
  });

  it('is called off, or dies with the daemon, and nothing stays', async () => {
    await start(natPlan);
    const before = await everything();
    const hangs = testTo(natPlan, '10.77.0.99');
    hangs.catch(() => undefined); // Looked at below.
    await eventually('the test is on the bridge', async () =>
      (await lab.run('host', 'ip', '-br', 'link')).includes('vtest0'),
    );
    await agent.ask('cancel');
    await expect(hangs).rejects.toMatchObject({ code: 'operation.aborted' });
    expect(await everything()).toEqual(before);

    const dies = test({
      ...natPlan,
      portForwards: [
        {
          protocol: 'tcp',
          family: 4,
          hostPort: 9090,
          count: 1,
          guestAddress: '192.168.150.250',
          guestPort: 80,
        },
      ],
    });
    dies.catch(() => undefined); // The agent has ended.
    await eventually('a forward is there', async () =>
      (await lab.run('host', 'nft', 'list', 'ruleset')).includes('dnat to'),
    );
    await agent.crash();
    await eventually(
      'its link went with it',
      async () => !(await lab.run('host', 'ip', '-br', 'link')).includes('vtest'),
    );
    agent = await lab.agent();
    await agent.ask('reconcile', natPlan);
    expect(await everything()).toEqual(before);
  });
});
