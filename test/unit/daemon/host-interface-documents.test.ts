/** Interfaces of the host as libvirt's documents. */
import { describe, expect, it } from 'vitest';
import { hostInterfaceXml } from '../../../src/daemon/services/host-interface-documents.ts';
import type { HostInterface } from '../../../src/net/links/host-interfaces.ts';
import { expectSchemaValid } from '../../support/libvirt-schema.ts';
import { describeWith } from '../../support/needs.ts';

const schema = '/usr/share/libvirt/schemas/interface.rng';

const nic = (name: string, more: Partial<HostInterface> = {}): HostInterface => ({
  ...{ index: 1, name, type: 'ethernet', isUp: true, state: 'up', mtu: 1500 },
  mac: '52:54:00:00:00:01',
  ...{ master: undefined, parent: undefined, vlanId: undefined, speedMbps: undefined, addresses: [] },
  ...more,
});
const host: readonly HostInterface[] = [
  nic('lo', { mac: undefined, state: 'unknown', mtu: 65_536 }),
  nic('eth0', {
    speedMbps: 1000,
    addresses: [
      { family: 4, address: '192.0.2.7', prefix: 24 },
      { family: 4, address: '192.0.2.8', prefix: 24 },
      { family: 6, address: '2001:db8::7', prefix: 64 },
    ],
  }),
  nic('eth1', { master: 'bond0', state: 'down', speedMbps: 1000 }),
  nic('bond0', {
    type: 'bond',
    master: 'br0',
    bond: { mode: 4, miiEveryMs: 100, upDelayMs: 200, downDelayMs: 300 },
  }),
  nic('eth0.42', { type: 'vlan', vlanId: 42, parent: 'eth0', master: 'br0' }),
  nic('vnet0', { type: 'tap', master: 'br0', state: 'unknown' }),
  nic('br0', { type: 'bridge', bridge: { hasSpanningTree: true, forwardDelayMs: 2500 } }),
  nic('far.7', { type: 'vlan', vlanId: 7 }),
];

describe('documents of interfaces', () => {
  it('hold hardware address, link, size and addresses of a card', () => {
    expect(hostInterfaceXml('eth0', host)).toBe(`<interface type='ethernet' name='eth0'>
  <mac address='52:54:00:00:00:01'/>
  <link speed='1000' state='up'/>
  <mtu size='1500'/>
  <protocol family='ipv4'>
    <ip address='192.0.2.7' prefix='24'/>
    <ip address='192.0.2.8' prefix='24'/>
  </protocol>
  <protocol family='ipv6'>
    <ip address='2001:db8::7' prefix='64'/>
  </protocol>
</interface>
`);
  });

  it('hold the ports of a bridge, and those of a bond on it', () => {
    expect(hostInterfaceXml('br0', host)).toBe(`<interface type='bridge' name='br0'>
  <mtu size='1500'/>
  <bridge stp='on' delay='2.5'>
    <interface type='bond' name='bond0'>
      <link state='up'/>
      <bond mode='802.3ad'>
        <miimon freq='100' downdelay='300' updelay='200'/>
        <interface type='ethernet' name='eth1'>
          <mac address='52:54:00:00:00:01'/>
          <link state='down'/>
        </interface>
      </bond>
    </interface>
    <interface type='vlan' name='eth0.42'>
      <link state='up'/>
      <vlan tag='42'>
        <interface name='eth0'/>
      </vlan>
    </interface>
    <interface type='ethernet' name='vnet0'>
      <mac address='52:54:00:00:00:01'/>
      <link state='unknown'/>
    </interface>
  </bridge>
</interface>
`);
  });

  it('of a VLAN whose card is in another namespace are those of a card', () => {
    expect(hostInterfaceXml('far.7', host)).toContain("<interface type='ethernet' name='far.7'>");
  });

  it('of an interface that is not there are refused', () => {
    expect(() => hostInterfaceXml('eth9', host)).toThrow(
      expect.objectContaining({ code: 'host-interface.not-found' }),
    );
  });
});

describeWith(['xmllint', schema], "libvirt's schema of interfaces", () => {
  it.each(host.map(({ name }) => name))('holds for %s', (name) => {
    expectSchemaValid(hostInterfaceXml(name, host), schema);
  });

  it('holds for what this host has', () => {
    expectSchemaValid(hostInterfaceXml('lo'), schema);
  });
});
