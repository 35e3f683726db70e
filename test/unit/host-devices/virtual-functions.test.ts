/** Virtual functions of a recorded card as network cards of guests: chosen, set up, moved, and put back as they were. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { Undo } from '../../../src/base/undo.ts';
import type { FunctionPool, LinkProvider } from '../../../src/drivers/driver.ts';
import { HostDevices } from '../../../src/drivers/host-devices/host-devices.ts';
import { readPci } from '../../../src/drivers/host-devices/list.ts';
import type { FunctionSettings } from '../../../src/drivers/host-devices/virtual-functions.ts';
import { withFunctions } from '../../../src/drivers/qemu/functions.ts';
import { hostFiles } from '../../../src/kvm/host-files.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';
import { SysfsTree } from '../../support/sysfs-tree.ts';

const first = '0000:01:10.0';
const second = '0000:01:10.4';
const untouched: FunctionSettings = { mac: '00:00:00:00:00:00', vlan: 0, qos: 0 };

let tree: SysfsTree;
let directory: string;
let granted: string[];
/** What the physical function has set, by number. */
let card: Map<number, FunctionSettings>;
let refusing: boolean;

beforeEach(() => {
  tree = new SysfsTree('server');
  directory = mkdtempSync(join(tmpdir(), 'vireo-claims-'));
  granted = [];
  card = new Map([
    [0, untouched],
    [1, { ...untouched, mac: '52:54:00:00:00:99', vlan: 7 }],
  ]);
  refusing = false;
});
afterEach(() => {
  tree.remove();
  rmSync(directory, { recursive: true });
});

function setCard(link: string, number: number, settings: FunctionSettings): void {
  expect(link).toBe('enp1s0f0');
  if (refusing) throw new VirtError('link.failed', { wanted: 'set it', reason: 'the card said no' });
  card.set(number, settings);
}

const provider = () =>
  new HostDevices({
    directory: join(directory, 'claims'),
    log: silentLogger,
    files: hostFiles(tree.root),
    sysfs: tree,
    functions: {
      settings: (_link, number) => card.get(number) ?? untouched,
      set: setCard,
      restore: setCard,
    },
    nodes: {
      grant: (path, uid) => granted.push(`${path} ${uid}`),
      revoke: (path, uid) => {
        granted = granted.filter((one) => one !== `${path} ${uid}`);
      },
    },
  });

function domain(interfaces: string, name: string): DomainDef {
  const xml = `<domain type='kvm'><name>${name}</name><uuid>11111111-2222-4333-8444-00000000000${name.length}</uuid><memory>1024</memory><os><type>hvm</type></os><devices>${interfaces}</devices></domain>`;
  return parseDomain(xml, { mode: 'strict' }).definition;
}

const nic = (slot: number, fn: number, more = '', managed = 'yes') =>
  `<interface type='hostdev' managed='${managed}'><mac address='52:54:00:00:00:01'/><source><address type='pci' domain='0' bus='1' slot='${slot}' function='${fn}'/></source>${more}</interface>`;

const takeOf = (devices: HostDevices, definition: DomainDef) =>
  devices.take({ domainUuid: definition.uuid ?? '', domainName: definition.name, definition, uid: 71 });
const take = (devices: HostDevices, interfaces: string, name = 'one') =>
  takeOf(devices, domain(interfaces, name));
const driverOf = (address: string) => readPci(hostFiles(tree.root), address)?.driver;
const claims = () => readdirSync(join(directory, 'claims'));

describe('an interface of type hostdev', () => {
  it('has its address and VLAN set, is moved to vfio-pci, and all comes back', async () => {
    const devices = provider();
    await take(devices, nic(0x10, 0, "<vlan><tag id='42'/></vlan>"));
    expect(card.get(0)).toEqual({ mac: '52:54:00:00:00:01', vlan: 42, qos: 0 });
    expect(driverOf(first)).toBe('vfio-pci');
    expect(granted).toEqual(['/dev/vfio/16 71']);
    expect(devices.holders().get(`pci ${first}`)?.name).toBe('one');
    await provider().releaseOthers(new Set()); // by the next daemon
    expect(card.get(0)).toEqual(untouched);
    expect(driverOf(first)).toBe('igbvf');
    expect([granted, claims()]).toEqual([[], []]);
  });

  it('without a VLAN loses one that somebody else left, for the time', async () => {
    const devices = provider();
    const definition = domain(nic(0x10, 4), 'one');
    await takeOf(devices, definition);
    expect(card.get(1)).toEqual({ mac: '52:54:00:00:00:01', vlan: 0, qos: 0 });
    const [one] = definition.devices.interfaces;
    if (one === undefined) throw new Error('it is gone');
    await devices.releaseOne(definition.uuid ?? '', one);
    expect(card.get(1)).toEqual({ mac: '52:54:00:00:00:99', vlan: 7, qos: 0 });
  });

  it('stays with the host, as it was, when the card refuses the address', async () => {
    refusing = true;
    await expect(take(provider(), nic(0x10, 0))).rejects.toMatchObject({ code: 'link.failed' });
    expect(driverOf(first)).toBe('igbvf');
    refusing = false;
    await provider().releaseOthers(new Set());
    expect(claims()).toEqual([]);
  });

  it('needs a virtual function, moved by us or by the host, whose card is up', async () => {
    const refused = async (interfaces: string, reason: string) =>
      expect(take(provider(), interfaces)).rejects.toMatchObject({
        code: 'host-device.unusable',
        reason: expect.stringContaining(reason) as unknown,
      });
    await refused(nic(0, 0), 'devices.interface[0].source: PCI device 0000:01:00.0 is no virtual function');
    await refused(nic(0x10, 0, '', 'no'), "belongs to the host's driver igbvf");
    const flags = 'sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/net/enp1s0f0/flags';
    writeFileSync(join(tree.root, flags), '0x1002\n');
    await refused(nic(0x10, 0), 'enp1s0f0, the physical function of 0000:01:10.0, is down');
  });

  it('of a function that a guest has is refused with its name', async () => {
    const devices = provider();
    await take(devices, nic(0x10, 0), 'first');
    await expect(take(devices, nic(0x10, 0), 'another')).rejects.toMatchObject({
      code: 'host-device.in-use',
      reason: expect.stringContaining("'first'") as unknown,
    });
  });
});

describe('a network of mode hostdev', () => {
  const pool: FunctionPool = {
    network: 'fast',
    physical: 'enp1s0f0',
    addresses: [],
    actual: { managed: true, vlan: { trunk: undefined, tags: [{ id: 9, nativeMode: undefined }] } },
  };
  const onNetwork =
    "<interface type='network'><mac address='52:54:00:00:00:02'/><source network='fast'/></interface>";
  const links: LinkProvider = {
    functionsFor: () => Promise.resolve(pool),
    open: () => Promise.reject(new Error('nobody makes a tap')),
    close: () => Promise.resolve(),
  };
  const addressOf = ({ devices }: DomainDef) => {
    const source = devices.interfaces[0]?.source;
    return source?.type === 'hostdev' && source.address.type === 'pci' ? source.address : undefined;
  };

  it('gives each guest a free function, as the live definition then says', async () => {
    const devices = provider();
    const options = { links, hostDevices: devices };
    const undo = new Undo(silentLogger);
    const [one, two] = await Promise.all(
      ['a', 'bb'].map((name) => withFunctions(options, domain(onNetwork, name), undo)),
    );
    if (one === undefined || two === undefined) throw new Error('there are two');
    expect([addressOf(one), addressOf(two)]).toMatchObject([
      { bus: 1, slot: 0x10, function: 0 },
      { bus: 1, slot: 0x10, function: 4 },
    ]);
    await takeOf(devices, one);
    expect(card.get(0)).toEqual({ mac: '52:54:00:00:00:02', vlan: 9, qos: 0 });
    await expect(withFunctions(options, domain(onNetwork, 'ccc'), undo)).rejects.toMatchObject({
      code: 'host-device.in-use',
      reason: "all 2 virtual functions of network 'fast' are in use by guests",
    });
    await takeOf(devices, two);
    expect(driverOf(second)).toBe('vfio-pci');
    await devices.release(one.uuid ?? '');
    const three = await withFunctions(options, domain(onNetwork, 'ccc'), undo);
    expect(addressOf(three)).toMatchObject({ function: 0 });
    undo.keep();
  });

  it('has a function back whose guest did not start', async () => {
    const devices = provider();
    const options = { links, hostDevices: devices };
    {
      await using undo = new Undo(silentLogger);
      await withFunctions(options, domain(onNetwork + onNetwork.replace('02', '03'), 'a'), undo);
    }
    await using undo = new Undo(silentLogger);
    expect(addressOf(await withFunctions(options, domain(onNetwork, 'bb'), undo))).toMatchObject({
      function: 0,
    });
  });

  it('tells when its card has no functions, or the host none of its devices', async () => {
    const reserve = (over: Partial<FunctionPool>) =>
      provider().reserveFunction({ domainUuid: 'u', pool: { ...pool, ...over }, wanted: 'start' });
    await expect(reserve({ physical: 'wlp2s0' })).rejects.toMatchObject({
      code: 'host-device.not-found',
      reason: "wlp2s0 of network 'fast' has no virtual functions",
    });
    const { physical: _physical, ...list } = pool;
    const listed = { ...list, addresses: ['0000:77:00.1'] };
    await expect(
      provider().reserveFunction({ domainUuid: 'u', pool: listed, wanted: 'start' }),
    ).rejects.toMatchObject({ code: 'host-device.not-found' });
    const there = { ...list, addresses: ['0000:77:00.1', second] };
    expect(await provider().reserveFunction({ domainUuid: 'u', pool: there, wanted: 'start' })).toBe(second);
  });
});
