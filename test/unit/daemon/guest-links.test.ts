/** From an interface and its network to a link of the host: which one, with what, and what the running guest shows. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { connectionWarnings } from '../../../src/daemon/services/connection-warnings.ts';
import { GuestLinks } from '../../../src/daemon/services/guest-links.ts';
import type { Interface } from '../../../src/model/domain/devices/interface.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { code, define, makeRig, type Rig, xml } from '../../support/network-rig.ts';
import { documentOf, nicOf } from '../../support/nic.ts';

const linksOf = (rig: Rig) => new GuestLinks(rig.networks, rig.host, '/run/test');
const open = (rig: Rig, definition: Interface) =>
  linksOf(rig).open({
    domainUuid: 'u',
    domainName: 'd',
    interfaceIndex: 0,
    definition,
    queues: 1,
  });

async function started(rig: Rig, text: string): Promise<void> {
  await rig.networks.lifecycle.start(await define(rig, text));
}

const mac = '52:54:00:00:00:01';

describe('a link for a guest', () => {
  it('is a tap on the bridge of its network, with what the network says of ports', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10, "<mtu size='9000'/><port isolated='yes'/>"));
    await expect(open(rig, nicOf("<source network='a'/>"))).rejects.toEqual(code('network.inactive'));
    await rig.networks.lifecycle.start(network);
    expect(await open(rig, nicOf("<source network='a'/><target dev='vnet3'/>"))).toMatchObject({
      deviceName: 'vnet0',
      isKept: false,
      actual: { source: { type: 'network', network: 'a', bridge: 'virbr0' }, portIsolated: true },
    });
    expect(rig.host.taps).toEqual([{ mac, queues: 1, bridge: 'virbr0', mtu: 9000, isolated: true }]);
    expect(await open(rig, nicOf("<source bridge='br0'/><target dev='mine'/>", 'bridge'))).toMatchObject({
      deviceName: 'mine',
    });
  });

  const groups =
    "<vlan><tag id='7'/></vlan>" +
    "<portgroup name='slow'><bandwidth><inbound average='100' peak='200' burst='50'/><outbound average='10'/></bandwidth></portgroup>" +
    "<portgroup name='blue' default='yes'><vlan trunk='yes'><tag id='42'/><tag id='47' nativeMode='untagged'/></vlan></portgroup>";

  it('has VLANs and limits of the nearest: interface, port group, network', async () => {
    const rig = makeRig();
    await started(rig, xml('a', 10, groups));
    expect(rig.host.plans.get('a')?.bridge).toMatchObject({
      isVlanFiltering: true,
      vlans: [{ id: 7, isNative: true, isUntagged: true }],
    });
    await open(rig, nicOf("<source network='a' portgroup='slow'/>"));
    expect(rig.host.taps.at(-1)).toMatchObject({
      bandwidth: {
        inbound: { averageKBps: 100, peakKBps: 200, burstKiB: 50 },
        outbound: { averageKBps: 10 },
      },
      vlans: [{ id: 7, isNative: true, isUntagged: true }],
      isOwnBridge: true,
    });
    const blue = await open(rig, nicOf("<source network='a'/>"));
    expect(rig.host.taps.at(-1)).toMatchObject({
      vlans: [
        { id: 42, isNative: false, isUntagged: false },
        { id: 47, isNative: true, isUntagged: true },
      ],
    });
    expect(rig.host.taps.at(-1)).not.toHaveProperty('bandwidth');
    expect(blue.actual).toMatchObject({
      source: { portgroup: 'blue' },
      vlan: { tags: [{ id: 42 }, { id: 47 }] },
    });
    await open(rig, nicOf("<source network='a'/><vlan><tag id='9'/></vlan>"));
    expect(rig.host.taps.at(-1)).toMatchObject({ vlans: [{ id: 9, isNative: true, isUntagged: true }] });
  });

  it("goes on an existing bridge of a network, whose VLANs stay the administrator's", async () => {
    const rig = makeRig();
    await started(rig, "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>");
    const link = await open(rig, nicOf("<source network='lan'/><vlan><tag id='9'/></vlan>"));
    expect(rig.host.taps).toMatchObject([{ bridge: 'br0', isOwnBridge: false }]);
    expect(link.actual?.source).toMatchObject({ type: 'bridge', network: 'lan', bridge: 'br0' });
  });

  it('is a macvtap on the interface that carries the fewest', async () => {
    const rig = makeRig();
    rig.host.strangers.set('eth0', 2);
    await started(
      rig,
      "<network><name>lan</name><forward mode='private'><interface dev='eth0'/><interface dev='eth1'/></forward></network>",
    );
    const lowers = [];
    for (let number = 0; number < 4; number++)
      lowers.push((await open(rig, nicOf("<source network='lan'/>"))).actual?.source);
    expect(lowers).toMatchObject(
      ['eth1', 'eth1', 'eth0', 'eth1'].map((dev) => ({ type: 'direct', dev, mode: 'private' })),
    );
    expect(rig.host.macvtaps[0]).toMatchObject({ lower: 'eth1', mode: 'private', mac, queues: 1 });
    expect(rig.host.macvtaps[0]?.owner).toMatch(/^vireo:[0-9a-f]{12}:u$/);
  });

  it('of a passthrough network is on an interface that nobody else uses', async () => {
    const rig = makeRig();
    await started(
      rig,
      "<network><name>pt</name><forward mode='passthrough'><interface dev='eth0'/><interface dev='eth1'/></forward></network>",
    );
    await open(rig, nicOf("<source network='pt'/>"));
    await open(rig, nicOf("<source network='pt'/>"));
    await expect(open(rig, nicOf("<source network='pt'/>"))).rejects.toEqual(code('link.failed'));
  });

  it('of type direct is on the interface it names, by VEPA unless it says otherwise', async () => {
    const rig = makeRig();
    await open(rig, nicOf("<source dev='eth0'/>", 'direct'));
    await open(rig, nicOf("<source dev='eth0' mode='bridge'/><target dev='mine'/>", 'direct'));
    expect(rig.host.macvtaps).toMatchObject([{ mode: 'vepa' }, { mode: 'bridge', name: 'mine' }]);
  });

  it("of type ethernet is a tap by itself, or the administrator's, which stays", async () => {
    const rig = makeRig();
    const source =
      "<source><ip address='10.9.0.1' prefix='24'/><ip address='10.8.0.1'/><route address='10.10.0.0' prefix='16' gateway='10.9.0.2' metric='5'/></source>";
    await open(rig, nicOf(`${source}<target dev='up'/>`, 'ethernet'));
    expect(rig.host.looseTaps).toEqual([
      {
        mac,
        queues: 1,
        name: 'up',
        addresses: [
          { address: '10.9.0.1', prefix: 24, family: 4 },
          { address: '10.8.0.1', prefix: 8, family: 4 },
        ],
        routes: [{ family: 4, destination: '10.10.0.0', prefix: 16, gateway: '10.9.0.2', metric: 5 }],
      },
    ]);
    expect(await open(rig, nicOf("<target dev='vnet9' managed='no'/>", 'ethernet'))).toMatchObject({
      deviceName: 'vnet9',
      isKept: true,
    });
  });

  it('is guaranteed a share of what its network has, and no more than is left', async () => {
    const rig = makeRig();
    await started(rig, xml('a', 10, "<bandwidth><inbound average='1000'/></bandwidth>"));
    const nic = (floor: number, address: string): Interface => ({
      ...nicOf(`<source network='a'/><bandwidth><inbound floor='${floor}'/></bandwidth>`),
      mac: { address },
    });
    const shares = () => rig.host.plans.get('a')?.shares;
    const links = linksOf(rig);
    const request = { domainUuid: 'u', domainName: 'd', interfaceIndex: 0, queues: 1 };
    const first = nic(600, '52:54:00:00:00:0a');
    const { deviceName, actual } = await links.open({ ...request, definition: first });
    expect(shares()).toEqual([{ mac: '52:54:00:00:00:0a', floorKBps: 600 }]);
    await expect(links.open({ ...request, definition: nic(500, '52:54:00:00:00:0b') })).rejects.toMatchObject(
      { code: 'definition.unsupported', message: expect.stringContaining('1100') as unknown },
    );
    expect(shares()).toHaveLength(1);
    await links.open({ ...request, definition: nic(400, '52:54:00:00:00:0b') });
    expect(shares()).toHaveLength(2);
    const port = { domainName: 'd', definition: { ...first, ...actual } };
    await links.close({ domainUuid: 'u', deviceName, isKept: false, port });
    expect(shares()).toEqual([{ mac: '52:54:00:00:00:0b', floorKBps: 400 }]);
  });

  it('with a share that cannot be made is not there, and takes nothing', async () => {
    const rig = makeRig();
    await started(rig, xml('a', 10, "<bandwidth><inbound average='1000'/></bandwidth>"));
    const nic = nicOf("<source network='a'/><bandwidth><inbound floor='600'/></bandwidth>");
    rig.host.failure = new VirtError('link.failed', { reason: 'no htb' });
    await expect(open(rig, nic)).rejects.toEqual(code('link.failed'));
    expect(rig.host.taps).toEqual([]);
    await open(rig, nic);
    expect(rig.host.plans.get('a')?.shares).toEqual([{ mac, floorKBps: 600 }]);
  });

  it.each([
    ["<source network='none'/>", 'network', 'network.not-found'],
    ["<source network='a' portgroup='x'/>", 'network', 'definition.unsupported'],
    ["<source network='a' portgroup='ovs'/>", 'network', 'definition.unsupported'],
    ["<source network='a'/><bandwidth><inbound floor='1'/></bandwidth>", 'network', 'definition.unsupported'],
    ["<source network='vtap'/><vlan><tag id='3'/></vlan>", 'network', 'definition.unsupported'],
    ["<source network='vtap'/><port isolated='yes'/>", 'network', 'definition.unsupported'],
    ["<source network='functions'/>", 'network', 'definition.unsupported'],
    ["<source network='pf'/>", 'network', 'definition.unsupported'],
    ["<target managed='no' dev='vnet1'/><vlan><tag id='3'/></vlan>", 'ethernet', 'definition.unsupported'],
    ["<source><ip address='10.0.0.1' prefix='40'/></source>", 'ethernet', 'definition.unsupported'],
    ["<source><ip address='10.0.0.1' peer='10.0.0.2'/></source>", 'ethernet', 'definition.unsupported'],
    ["<source><route address='10.0.0.0' gateway='fd00::1'/></source>", 'ethernet', 'definition.unsupported'],
    ["<source dev='eth0'/><model type='e1000'/>", 'direct', undefined],
  ])('with %s of type %s ends with %s', async (inner, type, wanted) => {
    const rig = makeRig();
    await started(rig, xml('a', 10, "<portgroup name='ovs'><virtualport type='openvswitch'/></portgroup>"));
    await started(
      rig,
      "<network><name>vtap</name><forward mode='bridge'><interface dev='eth0'/></forward></network>",
    );
    await started(
      rig,
      "<network><name>functions</name><forward mode='hostdev'><pf dev='eth0'/></forward></network>",
    );
    await started(
      rig,
      "<network><name>pf</name><forward mode='passthrough'><pf dev='eth0'/></forward></network>",
    );
    const opening = open(rig, nicOf(inner, type));
    if (wanted === undefined) await opening;
    else await expect(opening).rejects.toEqual(code(wanted));
    expect(rig.host.taps).toEqual([]);
    expect(rig.host.looseTaps).toEqual([]);
  });
});

describe('virtual functions of a network of mode hostdev', () => {
  const card =
    "<network><name>fast</name><forward mode='hostdev' managed='yes'>MORE</forward>SETTINGS</network>";
  const poolOn = async (forward: string, settings = '', inner = "<source network='fast'/>") => {
    const rig = makeRig();
    await started(rig, card.replace('MORE', forward).replace('SETTINGS', settings));
    return linksOf(rig).functionsFor(nicOf(inner), 'devices.interface[0]');
  };

  it('are those of its card, or those that it lists, with the VLAN of interface, group or network', async () => {
    expect(await poolOn("<pf dev='eth0'/>", "<vlan><tag id='8'/></vlan>")).toMatchObject({
      network: 'fast',
      physical: 'eth0',
      addresses: [],
      actual: { managed: true, vlan: { tags: [{ id: 8 }] } },
    });
    const listed = "<driver name='vfio'/><address type='pci' domain='0' bus='3' slot='16' function='1'/>";
    const group = "<portgroup name='blue'><vlan><tag id='9'/></vlan></portgroup>";
    expect(await poolOn(listed, group, "<source network='fast' portgroup='blue'/>")).toMatchObject({
      addresses: ['0000:03:10.1'],
      actual: { vlan: { tags: [{ id: 9 }] } },
    });
  });

  it('are none on another network, or on one that is not active', async () => {
    const rig = makeRig();
    await started(rig, "<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>");
    for (const inner of ["<source network='lan'/>", "<source network='gone'/>"])
      expect(await linksOf(rig).functionsFor(nicOf(inner), 'devices.interface[0]')).toBeUndefined();
  });

  it('have no limits, and no port group that is not there', async () => {
    await expect(
      poolOn(
        "<pf dev='eth0'/>",
        '',
        "<source network='fast'/><bandwidth><inbound average='1000'/></bandwidth>",
      ),
    ).rejects.toMatchObject({ reason: expect.stringContaining('devices.interface[0].bandwidth') as unknown });
    await expect(
      poolOn("<pf dev='eth0'/>", '', "<source network='fast' portgroup='red'/>"),
    ).rejects.toMatchObject({
      reason: expect.stringContaining("no port group 'red'") as unknown,
    });
    for (const [settings, path] of [
      ["<port isolated='yes'/>", 'port'],
      ["<portgroup name='a' default='yes' trustGuestRxFilters='yes'/>", 'trustGuestRxFilters'],
    ])
      await expect(poolOn("<pf dev='eth0'/>", settings)).rejects.toMatchObject({
        reason: expect.stringContaining(`devices.interface[0].${path}`) as unknown,
      });
    await expect(poolOn('')).rejects.toMatchObject({ code: 'definition.unsupported' });
  });
});

describe('a network that was started again', () => {
  it('gives the ports of running guests back what they had', async () => {
    const rig = makeRig();
    const network = await define(
      rig,
      xml('a', 10, "<port isolated='yes'/><portgroup name='blue'><vlan><tag id='42'/></vlan></portgroup>"),
    );
    rig.ports.push({
      network: 'a',
      domain: { uuid: 'u', name: 'web' },
      mac,
      device: 'vnet7',
      definition: nicOf("<source network='a' portgroup='blue'/>"),
    });
    await rig.networks.lifecycle.start(network);
    expect(rig.host.ports.get('vnet7')).toEqual({
      bridge: 'virbr0',
      mac,
      isolated: true,
      isOwnBridge: true,
      vlans: [{ id: 42, isNative: true, isUntagged: true }],
    });
  });
});

describe('a network on what the host has', () => {
  const wish = { name: 'lan', autostart: false };

  it('is made from a few words', async () => {
    const rig = makeRig();
    const { network } = await rig.networks.creation.create({
      ...wish,
      mode: 'private',
      interfaces: ['eth0', 'eth1'],
    });
    await rig.networks.lifecycle.start(network);
    await open(rig, nicOf("<source network='lan'/>"));
    expect(rig.host.macvtaps).toMatchObject([{ lower: 'eth0', mode: 'private' }]);
    await rig.networks.creation.create({ name: 'br', autostart: false, mode: 'bridge', bridge: 'br0' });
    expect(rig.networks.definitions.xml(rig.networks.find('br'), { inactive: true })).toContain(
      "<bridge name='br0'/>",
    );
    expect(rig.host.done).toEqual([]);
  });

  it.each([
    { mode: 'bridge' as const },
    { mode: 'vepa' as const, bridge: 'br0', interfaces: [] },
    { mode: 'private' as const, interfaces: ['eth0'], subnet: '10.0.0.0/24' },
    { mode: 'private' as const, interfaces: ['eth0'], domain: 'lab.test' },
    { mode: 'nat' as const, interfaces: ['eth0'] },
  ])('is refused with %j', async (more) => {
    const rig = makeRig();
    await expect(rig.networks.creation.create({ ...wish, ...more })).rejects.toThrow();
    expect(rig.networks.list()).toEqual([]);
  });
});

describe('the end of a guest', () => {
  it("takes its link away, but not an administrator's", async () => {
    const rig = makeRig();
    await linksOf(rig).close({ domainUuid: 'u', deviceName: 'vnet0' });
    await linksOf(rig).close({ domainUuid: 'u', deviceName: 'tap9', isKept: true });
    expect(rig.host.done).toEqual(['delete vnet0']);
  });
});

describe('the MTU of a network', () => {
  it('is what its guests are told', async () => {
    const rig = makeRig();
    const network = await define(rig, xml('a', 10, "<mtu size='9000'/>"));
    const mtu = () => linksOf(rig).mtuOf(nicOf("<source network='a'/>"));
    expect(await mtu()).toBeUndefined();
    await rig.networks.lifecycle.start(network);
    expect(await mtu()).toBe(9000);
    expect(await linksOf(rig).mtuOf(nicOf("<source bridge='br0'/>", 'bridge'))).toBeUndefined();
  });
});

describe('a definition', () => {
  it('that names networks and port groups nobody knows is warned of', async () => {
    const rig = makeRig();
    await define(rig, xml('a', 10, "<portgroup name='slow'/>"));
    const warned = (source: string) =>
      connectionWarnings(parseDomain(documentOf(source), { mode: 'strict' }).definition, rig.networks);
    expect(warned("<source network='a' portgroup='slow'/>")).toEqual([]);
    expect(warned("<source network='a' portgroup='fast'/>")).toEqual([
      "devices.interface[0].source.portgroup: network 'a' has no port group 'fast' yet",
    ]);
    expect(warned("<source network='b'/>")).toEqual([
      "devices.interface[0].source.network: there is no network 'b' yet",
    ]);
  });
});
