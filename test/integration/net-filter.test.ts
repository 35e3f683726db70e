/** Filters on the taps of guests, on a real kernel: what is forged does not pass, what is honest does, and it stays so. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { eventually } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { type NetAgent, NetLab, natPlan } from '../support/net-lab/lab.ts';

const needs = ['root', 'ip', 'dnsmasq', 'nft', 'busybox', '/dev/net/tun'];
const gateway = '192.168.150.1';
const mac = '52:54:00:00:00:11';
const victim = '192.168.150.50';

let lab: NetLab;
let agent: NetAgent;

beforeEach(async () => {
  lab = new NetLab();
  agent = await lab.agent();
  await agent.ask('start', natPlan);
  lab.addClient('one', mac);
});

afterEach(() => {
  lab.remove();
});

/** `v-one` is the host's end of the client's cable, as a tap is of a guest's. */
const filter = (name: string, variables: Record<string, readonly string[]> = {}) =>
  agent.ask<boolean>('filter', { tap: 'v-one', name, variables: { MAC: [mac], ...variables } });

const pings = (address = gateway, from = '') =>
  lab.succeeds(
    'one',
    ...['busybox', 'ping', '-c', '1', '-W', '1', ...(from === '' ? [] : ['-I', from]), address],
  );

/** A neighbour that did not answer before is asked again only after a while. */
const reaches = (address = gateway, from = '') =>
  eventually(`${address} answers`, () => pings(address, from), 10_000);

/** True when the gateway's kernel believes what an ARP packet claims. */
async function believes(address: string): Promise<boolean> {
  await lab.succeeds('one', 'busybox', 'arping', '-c', '1', '-w', '1', '-I', 'eth0', '-s', address, gateway);
  return (await lab.run('host', 'ip', 'neigh', 'show', 'dev', 'virbr0')).includes(address);
}

describeWith(needs, 'a filter on a tap', () => {
  it('clean-traffic lets DHCP and the own address pass, and drops forged MAC, IP and ARP', async () => {
    // The lease tells the address, as it does in the daemon.
    await filter('clean-traffic', { IP: [] });
    const address = await lab.lease('one', 'one');
    expect(await pings()).toBe(false);
    await filter('clean-traffic', { IP: [address] });
    await reaches();

    lab.ip('one', `addr add ${victim}/24 dev eth0`);
    expect(await pings(gateway, victim)).toBe(false);
    expect(await believes(victim)).toBe(false);
    await reaches();

    lab.ip('one', 'link set eth0 address 52:54:00:00:00:99');
    expect(await pings()).toBe(false);
    lab.ip('one', `link set eth0 address ${mac}`);
    await reaches();

    // Nothing but IPv4 and ARP.
    lab.addClient('two', '52:54:00:00:00:12');
    lab.ip('one', 'addr add fd00:150::2/64 dev eth0 nodad');
    lab.ip('two', 'addr add fd00:150::1/64 dev eth0 nodad');
    expect(await pings('fd00:150::1')).toBe(false);
    await agent.ask('dropFilter', 'v-one');
    await reaches('fd00:150::1');
    await reaches(gateway, victim);
    expect(await believes(victim)).toBe(true);
  });

  it('learns the first address that a guest uses, and no other', async () => {
    await filter('clean-traffic', { IP: ['@learned'] });
    const address = await lab.lease('one', 'one');
    await reaches();
    lab.ip('one', `addr add ${victim}/24 dev eth0`);
    expect(await pings(gateway, victim)).toBe(false);
    expect(await believes(victim)).toBe(false);
    expect(await lab.run('host', 'nft', 'list', 'table', 'bridge', 'vireo_filter')).toContain(
      `elements = { ${address} }`,
    );
    expect(await filter('clean-traffic', { IP: ['@learned'] })).toBe(false);
    await reaches();
  });

  it.each([
    ['the rules of the host are flushed', ['nft', 'flush', 'ruleset']],
    ["the way to the tap's chains is flushed", ['nft', 'flush', 'map', 'bridge', 'vireo_filter', 'out_of']],
    ["the tap's chain is flushed", ['nft', 'flush', 'chain', 'bridge', 'vireo_filter', 'out.v-one.mac']],
    ['the base chain is flushed', ['nft', 'flush', 'chain', 'bridge', 'vireo_filter', 'from_guests']],
  ])('is put back when %s', async (_, command) => {
    await filter('no-mac-spoofing');
    const address = await lab.lease('one', 'one');
    expect(address).toContain('192.168.150.');
    lab.ip('one', 'link set eth0 address 52:54:00:00:00:99');
    expect(await pings()).toBe(false);
    await lab.run('host', ...command);
    await eventually('the rules are back', async () => {
      const listed = await lab.run('host', 'nft', 'list', 'ruleset');
      return (
        /vmap @out_of/.test(listed) && /"v-one" : jump/.test(listed) && /v-one\.mac \{\s+ether/.test(listed)
      );
    });
    expect(await pings()).toBe(false);
    lab.ip('one', `link set eth0 address ${mac}`);
    await reaches();
  });

  it('lets a gateway filter talk to the gateway alone', async () => {
    lab.addClient('two', '52:54:00:00:00:12');
    lab.ip('one', 'addr add 192.168.150.20/24 dev eth0');
    lab.ip('two', 'addr add 192.168.150.21/24 dev eth0');
    await reaches('192.168.150.21');
    await filter('clean-traffic-gateway', { IP: ['192.168.150.20'], GATEWAY_MAC: [natPlan.bridge.mac] });
    await reaches();
    expect(await pings('192.168.150.21')).toBe(false);
  });

  it('outlives the daemon, goes with the guest, and leaves nothing', async () => {
    const before = await lab.run('host', 'nft', 'list', 'tables');
    await filter('no-mac-spoofing');
    await lab.lease('one', 'one');
    await agent.crash();
    lab.ip('one', 'link set eth0 address 52:54:00:00:00:99');
    expect(await pings()).toBe(false);
    agent = await lab.agent();
    await agent.ask('reconcile', natPlan);
    expect(await filter('no-mac-spoofing')).toBe(false);
    await agent.ask('filter', { tap: 'vnet7', name: 'no-mac-spoofing', variables: { MAC: [mac] } });
    await agent.ask('keepFilters', ['v-one']);
    expect(await lab.run('host', 'nft', 'list', 'ruleset')).not.toContain('vnet7');
    expect(await pings()).toBe(false);
    await agent.ask('keepFilters', []);
    expect(await lab.run('host', 'nft', 'list', 'tables')).toBe(before);
    lab.ip('one', `link set eth0 address ${mac}`);
    await reaches();
  });
});
