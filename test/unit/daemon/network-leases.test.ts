/** Lease events: what the lease file's changes mean, told one by one. */
import { expect, it } from 'vitest';
import type { PublishedEvent } from '../../../src/api/index.ts';
import { makeRig, type Rig } from '../../support/network-rig.ts';

const xml =
  "<network><name>a</name><forward mode='nat'/><ip address='192.168.10.1' netmask='255.255.255.0'><dhcp><range start='192.168.10.2' end='192.168.10.254'/></dhcp></ip></network>";
const lease = {
  family: 4,
  address: '192.168.10.77',
  prefix: 24,
  mac: '52:54:00:00:00:05',
  hostName: 'web',
  clientId: '01:52:54:00:00:00:05',
  expiresAt: 1_800_000_000,
} as const;

async function startNetwork(rig: Rig) {
  const { network } = await rig.networks.definitions.define(xml, 'strict');
  await rig.networks.lifecycle.start(network);
  return network;
}

const told = (events: readonly PublishedEvent[]) =>
  events.filter(({ event }) => event.startsWith('network.lease-')).map(({ event }) => event);

it('each lease is told when it is given, renewed and given back, with all there is to know', async () => {
  const rig = makeRig();
  const network = await startNetwork(rig);
  const change = async (leases: (typeof rig.host)['leaseList'], count: number) => {
    rig.host.leaseList = leases;
    rig.host.tell({ kind: 'leases', network: network.uuid });
    await expect.poll(() => told(rig.events)).toHaveLength(count);
  };
  await change([lease], 1);
  const [event] = rig.events.filter((one) => one.event === 'network.lease-added');
  expect(event).toMatchObject({
    network: { name: 'a' },
    lease: {
      address: '192.168.10.77',
      prefix: 24,
      family: 'ipv4',
      mac: lease.mac,
      hostName: 'web',
      clientId: lease.clientId,
      expiresAt: '2027-01-15T08:00:00.000Z',
    },
  });
  await change([{ ...lease, expiresAt: lease.expiresAt + 60 }], 2);
  await change([], 3);
  expect(told(rig.events)).toEqual(['network.lease-added', 'network.lease-renewed', 'network.lease-removed']);
});

it('what was there when the network started is no news', async () => {
  const rig = makeRig();
  rig.host.leaseList = [lease];
  const network = await startNetwork(rig);
  expect(await rig.networks.datedLeases('a')).toEqual([{ ...lease, changedAtMs: undefined }]);
  const other = { ...lease, address: '192.168.10.78', mac: '52:54:00:00:00:06' };
  rig.host.leaseList = [lease, other];
  rig.host.tell({ kind: 'leases', network: network.uuid });
  await expect.poll(() => told(rig.events)).toEqual(['network.lease-added']);
  const dated = await rig.networks.datedLeases('a');
  expect(dated.map(({ changedAtMs }) => changedAtMs !== undefined)).toEqual([false, true]);
});
