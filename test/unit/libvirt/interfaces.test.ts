/** The host's interfaces over libvirt's protocol. */
import { describe, expect, it } from 'vitest';
import type { HostInterface } from '../../../src/net/links/host-interfaces.ts';
import { startRig } from './rig.ts';

const interfaceOf = (name: string, given: Partial<HostInterface> = {}): HostInterface => ({
  ...{ index: 1, name, type: 'ethernet', isUp: true, state: 'up', mac: undefined, mtu: 1500 },
  ...{ master: undefined, parent: undefined, vlanId: undefined, speedMbps: undefined, addresses: [] },
  ...given,
});

const MAC = '52:54:00:00:00:0a';
const BRIDGE_MAC = '52:54:00:00:00:0b';
const interfaces = [
  interfaceOf('tun0', { type: 'tun' }),
  interfaceOf('eth0', { mac: MAC }),
  interfaceOf('eth1', { mac: BRIDGE_MAC, master: 'br0', isUp: false, state: 'down' }),
  interfaceOf('br0', {
    mac: BRIDGE_MAC,
    type: 'bridge',
    bridge: { hasSpanningTree: false, forwardDelayMs: 0 },
  }),
];

async function open() {
  const rig = await startRig({ interfaces });
  return rig.open();
}

describe('host interfaces', () => {
  it('are listed up and down, as a count when that is asked, and by the old calls', async () => {
    const client = await open();
    const names = async (flags: number) =>
      (await client.call('connectListAllInterfaces', { needResults: 1, flags })).ifaces
        .map(({ name }) => name)
        .join();
    const all = 'tun0,eth0,eth1,br0';
    expect([await names(0), await names(1), await names(2), await names(3)]).toEqual([
      all,
      'eth1',
      'tun0,eth0,br0',
      all,
    ]);
    await expect(names(4)).rejects.toThrow(/unsupported flags \(0x4\)/);
    expect(await client.call('connectListAllInterfaces', { needResults: 0, flags: 1 })).toEqual({
      ifaces: [],
      ret: 1,
    });
    expect(await client.call('connectNumOfInterfaces', undefined)).toEqual({ num: 3 });
    expect(await client.call('connectListInterfaces', { maxnames: 2 })).toEqual({ names: ['tun0', 'eth0'] });
    expect(await client.call('connectNumOfDefinedInterfaces', undefined)).toEqual({ num: 1 });
    expect(await client.call('connectListDefinedInterfaces', { maxnames: 9 })).toEqual({ names: ['eth1'] });
  });

  it('are found by name, and by an address that only one has', async () => {
    const client = await open();
    const named = async (name: string) => (await client.call('interfaceLookupByName', { name })).iface;
    expect(await named('eth0')).toEqual({ name: 'eth0', mac: MAC });
    expect(await named('tun0')).toEqual({ name: 'tun0', mac: '00:00:00:00:00:00' });
    await expect(named('eth9')).rejects.toThrow(
      "57: Interface not found: couldn't find interface named 'eth9'",
    );
    const withMac = (mac: string) => client.call('interfaceLookupByMacString', { mac });
    expect(await withMac(MAC.toUpperCase())).toEqual({ iface: { name: 'eth0', mac: MAC } });
    // libvirt-dbus finds an interface again by the address that it was told.
    expect(await withMac('00:00:00:00:00:00')).toMatchObject({ iface: { name: 'tun0' } });
    await expect(withMac(BRIDGE_MAC)).rejects.toThrow(
      /^59: multiple matching interfaces found: 'eth1' and 'br0'/,
    );
    await expect(withMac('52:54:00:00:00:ff')).rejects.toThrow(/^57:/);
  });

  it('show their XML and whether they are up, and are changed by nobody', async () => {
    const client = await open();
    const iface = { name: 'br0', mac: BRIDGE_MAC };
    const { xml } = await client.call('interfaceGetXmlDesc', { iface, flags: 0 });
    expect(xml).toMatch(/<interface type='bridge' name='br0'>[^]*<interface type='ethernet' name='eth1'>/);
    expect(await client.call('interfaceGetXmlDesc', { iface, flags: 1 })).toEqual({ xml });
    await expect(client.call('interfaceGetXmlDesc', { iface, flags: 2 })).rejects.toThrow(
      /unsupported flags/,
    );
    expect(await client.call('interfaceIsActive', { iface })).toEqual({ active: 1 });
    expect(await client.call('interfaceIsActive', { iface: { name: 'eth1', mac: '' } })).toEqual({
      active: 0,
    });
    for (const refused of [
      client.call('interfaceDestroy', { iface, flags: 0 }),
      client.call('interfaceUndefine', { iface }),
      client.call('interfaceDefineXml', { xml, flags: 0 }),
      client.call('interfaceChangeBegin', { flags: 0 }),
    ])
      await expect(refused).rejects.toThrow(/^3: this function is not supported/);
  });
});
