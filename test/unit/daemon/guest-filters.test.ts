/** Filters of guests' cards: which addresses they let pass, and what happens to links that cannot have them. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { type FilteredCard, GuestFilters } from '../../../src/daemon/services/guest-filters.ts';
import type { Network } from '../../../src/daemon/services/network.ts';
import type { Interface } from '../../../src/model/domain/devices/interface.ts';
import { builtInFilter } from '../../../src/model/nwfilter/built-in.ts';
import type { CompiledFilter } from '../../../src/net/filter/compile.ts';
import type { HostLink, Lease } from '../../../src/net/plan.ts';
import { define, makeRig, xml } from '../../support/network-rig.ts';
import { nicOf } from '../../support/nic.ts';

const MAC = '52:54:00:00:00:01';
const domain = { domainUuid: '00000000-0000-4000-8000-00000000000a', domainName: 'web' };

const onLab = 'network';
const onBridge = 'bridge';
const sources = { network: "<source network='lab'/>", bridge: "<source bridge='br0'/>" } as const;

const card = (type: 'network' | 'bridge', parameters = '', filter = 'no-ip-spoofing'): Interface =>
  nicOf(`${sources[type]}<filterref filter='${filter}'>${parameters}</filterref>`, type, MAC);
const parameter = (name: string, value: string) => `<parameter name='${name}' value='${value}'/>`;
const lease = (address: string, mac = MAC): Lease => ({ family: 4, address, prefix: 24, mac });

async function makeFilters() {
  const rig = makeRig();
  const applied = new Map<string, CompiledFilter>();
  const cards: FilteredCard[] = [];
  const closed: string[] = [];
  const fds: number[] = [];
  const bridge: HostLink = {
    index: 1,
    name: 'virbr0',
    kind: 'bridge',
    mac: undefined,
    mtu: 1500,
    isUp: true,
    master: undefined,
  };
  let tap: HostLink = { ...bridge, index: 2, name: 'vnet0', kind: 'tun', master: 1 };
  const filters = new GuestFilters({
    links: {
      async open() {
        const fd = openSync('/dev/null', 'w');
        fds.push(fd);
        return { tapFds: [fd], vhostFds: [], deviceName: 'vnet0' };
      },
      async close({ deviceName }) {
        closed.push(deviceName);
      },
    },
    filters: {
      async apply(all) {
        for (const [name, filter] of all) applied.set(name, filter);
        return [...all.keys()];
      },
      async drop(name) {
        applied.delete(name);
      },
      async dropOthers(kept) {
        for (const name of applied.keys()) if (!kept.has(name)) applied.delete(name);
      },
    },
    networks: rig.networks,
    cards: () => cards,
    linkByName: () => tap,
    linkByIndex: () => bridge,
    log: silentLogger,
    lookup: builtInFilter,
  });
  const network: Network = await define(rig, xml('lab', 10));
  await rig.networks.lifecycle.start(network);
  return {
    ...{ rig, filters, cards, closed, fds, network },
    isFiltered: () => applied.has('vnet0'),
    takeOffBridge: () => {
      tap = { ...tap, master: undefined };
    },
    open: (nic: Interface) => filters.open({ ...domain, interfaceIndex: 0, definition: nic, queues: 1 }),
    /** The addresses that may be used on the tap. */
    addresses: () =>
      (applied.get('vnet0')?.sides.out ?? [])
        .flatMap(({ rules }) => rules)
        .flatMap(({ words }) =>
          words.includes('add') ? [] : (/ip saddr (\S+)$/.exec(words.join(' '))?.[1] ?? []),
        ),
  };
}

describe('a filter on a card', () => {
  it('takes the address that is given, or leased, or reserved, else the first that is used', async () => {
    const given = await makeFilters();
    await given.open(card(onLab, parameter('IP', '10.0.0.1') + parameter('IP', '10.0.0.2')));
    expect(given.addresses()).toEqual(['10.0.0.1', '10.0.0.2']);

    const leased = await makeFilters();
    leased.rig.host.leaseList = [lease('192.168.10.7'), lease('192.168.10.8', '52:54:00:00:00:99')];
    await leased.open(card(onLab));
    expect(leased.addresses()).toEqual(['192.168.10.7']);

    const unknown = await makeFilters();
    await unknown.open(card(onLab));
    expect(unknown.addresses()).toEqual(['@learned']);
    await unknown.open(card(onLab, parameter('CTRL_IP_LEARNING', 'dhcp')));
    expect(unknown.addresses()).toEqual([]);
    await unknown.open(card(onBridge));
    expect(unknown.addresses()).toEqual(['@learned']);
  });

  it('follows leases, and comes back after a restart of the daemon', async () => {
    const { rig, filters, cards, network, addresses, isFiltered } = await makeFilters();
    const nic = { ...card(onLab), target: { dev: 'vnet0' } };
    cards.push({ domain: { uuid: domain.domainUuid, name: 'web' }, index: 0, nic, device: 'vnet0' });
    await filters.recover();
    expect(addresses()).toEqual(['@learned']);
    rig.host.leaseList = [lease('192.168.10.7')];
    await filters.follow(network.uuid);
    expect(addresses()).toEqual(['192.168.10.7']);
    cards.length = 0;
    await filters.recover();
    expect(isFiltered()).toBe(false);
  });

  it('goes with its guest, and not with one that had the tap before', async () => {
    const { filters, open, isFiltered, closed } = await makeFilters();
    await open(card(onLab));
    await filters.close({ domainUuid: 'another', deviceName: 'vnet0' });
    expect(isFiltered()).toBe(true);
    await filters.close({ domainUuid: domain.domainUuid, deviceName: 'vnet0' });
    expect(isFiltered()).toBe(false);
    expect(closed).toEqual(['vnet0', 'vnet0']);
    // A tap of the same name without a filter must not keep another's.
    await open(card(onLab));
    await open(nicOf(sources.network, 'network', MAC));
    expect(isFiltered()).toBe(false);
  });

  it.each([
    [
      'a filter that is not there',
      card(onLab, '', 'mine'),
      /interface\[0\]\.filterref: there is no filter 'mine'/,
    ],
    [
      'a way of learning that is none',
      card(onLab, parameter('CTRL_IP_LEARNING', 'x')),
      /CTRL_IP_LEARNING is 'x'/,
    ],
    [
      'DHCP of others',
      card(onBridge, parameter('CTRL_IP_LEARNING', 'dhcp')),
      /the DHCP server of this bridge is not/,
    ],
    [
      'no learning and no address',
      card(onLab, parameter('CTRL_IP_LEARNING', 'none')),
      /the parameter IP is missing/,
    ],
  ])('is refused with its path: %s', async (_, nic, reason) => {
    const { open, fds } = await makeFilters();
    await expect(open(nic)).rejects.toThrow(reason);
    expect(fds).toEqual([]);
  });

  it('is refused on a tap that is on no bridge, whose descriptors are closed', async () => {
    const { open, takeOffBridge, closed, fds } = await makeFilters();
    takeOffBridge();
    await expect(open(card(onBridge))).rejects.toThrow(/filterref: vnet0 is on no bridge/);
    expect(closed).toEqual(['vnet0']);
    expect(() => writeSync(fds[0] ?? -1, 'x')).toThrow(/EBADF/);
    expect(() => closeSync(fds[0] ?? -1)).toThrow(/EBADF/);
  });
});
