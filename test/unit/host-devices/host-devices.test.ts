/** Host devices on a recorded workstation: what a guest may have, how it is moved, and that all comes back. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { listHostDevices } from '../../../src/daemon/services/host-device-list.ts';
import { HostDevices } from '../../../src/drivers/host-devices/host-devices.ts';
import { readPci } from '../../../src/drivers/host-devices/list.ts';
import { isVfioDriver } from '../../../src/drivers/host-devices/pci.ts';
import { hostFiles } from '../../../src/kvm/host-files.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';
import { SysfsTree } from '../../support/sysfs-tree.ts';

let tree: SysfsTree;
let directory: string;
let granted: string[];

beforeEach(() => {
  tree = new SysfsTree('workstation');
  directory = mkdtempSync(join(tmpdir(), 'vireo-claims-'));
  granted = [];
});
afterEach(() => {
  tree.remove();
  rmSync(directory, { recursive: true });
});

function provider(): HostDevices {
  return new HostDevices({
    directory: join(directory, 'claims'),
    log: silentLogger,
    files: hostFiles(tree.root),
    sysfs: tree,
    nodes: {
      grant: (path, uid) => granted.push(`${path} ${uid}`),
      revoke: (path, uid) => {
        granted = granted.filter((one) => one !== `${path} ${uid}`);
      },
    },
  });
}

const pci = (bus: number, slot = 0, fn = 0, managed = 'yes') =>
  `<hostdev type='pci' managed='${managed}'><source><address bus='${bus}' slot='${slot}' function='${fn}'/></source></hostdev>`;
const usb = (inside: string, policy = '') =>
  `<hostdev type='usb'><source ${policy}>${inside}</source></hostdev>`;
const ids = (vendor: string, product: string) => `<vendor id='0x${vendor}'/><product id='0x${product}'/>`;

function domain(hostdevs: string, name = 'one'): DomainDef {
  const xml = `<domain type='kvm'><name>${name}</name><memory>1024</memory><os><type>hvm</type></os><devices>${hostdevs}</devices></domain>`;
  return parseDomain(xml, { mode: 'strict' }).definition;
}

const take = (
  devices: HostDevices,
  hostdevs: string,
  name = 'one',
  uid: number | undefined = 1_900_000_001,
) =>
  devices.take({
    domainUuid: `uuid-${name}`,
    domainName: name,
    definition: domain(hostdevs, name),
    ...(uid !== undefined && { uid }),
  });
const driverOf = (address: string) => readPci(hostFiles(tree.root), address)?.driver;
const claims = () => (existsSync(join(directory, 'claims')) ? readdirSync(join(directory, 'claims')) : []);

describe('PCI devices', () => {
  it('move to vfio-pci with all of their group, are opened to the guest, and come back', async () => {
    const devices = provider();
    await take(devices, pci(1) + pci(1, 0, 1));
    expect([driverOf('0000:01:00.0'), driverOf('0000:01:00.1')]).toEqual(['vfio-pci', 'vfio-pci']);
    expect(granted).toContain('/dev/vfio/1 1900000001');
    expect(devices.holders().get('pci 0000:01:00.0')).toEqual({ uuid: 'uuid-one', name: 'one' });
    await devices.release('uuid-one');
    expect([driverOf('0000:01:00.0'), driverOf('0000:01:00.1')]).toEqual(['nouveau', 'snd_hda_intel']);
    expect(granted).toEqual([]);
    expect(claims()).toEqual([]);
    expect(tree.writes).toContain('/sys/bus/pci/devices/0000:01:00.0/driver_override ');
  });

  it('come back after the daemon was killed, to those guests that are gone', async () => {
    await take(provider(), pci(3));
    const next = provider();
    await next.releaseOthers(new Set(['uuid-one']));
    expect(driverOf('0000:03:00.0')).toBe('vfio-pci');
    await next.releaseOthers(new Set());
    expect(driverOf('0000:03:00.0')).toBe('igb');
    expect(granted).toEqual([]);
  });

  it('are refused with the names of what shares their group', async () => {
    await expect(take(provider(), pci(1))).rejects.toMatchObject({
      code: 'host-device.unusable',
      reason: expect.stringContaining('0000:01:00.1 (snd_hda_intel)') as unknown,
    });
    expect(tree.writes).toEqual([]);
    expect(claims()).toEqual([]);
  });

  const refused: readonly (readonly [string, string, string, string])[] = [
    ['that are not there', pci(9), 'host-device.not-found', '0000:09:00.0'],
    ['that are bridges', pci(0, 1), 'host-device.unusable', 'bridge'],
    ['without an IOMMU', pci(4), 'host-device.unusable', 'no IOMMU group'],
    ['of the host, unmanaged', pci(3, 0, 0, 'no'), 'host-device.unusable', 'driver igb'],
    ['with the root file system', pci(2), 'host-device.unusable', 'mounted at /'],
  ];
  it.each(refused)('%s are refused', async (_title, hostdevs, code, reason) => {
    const devices = provider();
    await expect(take(devices, hostdevs)).rejects.toMatchObject({
      code,
      reason: expect.stringContaining(reason) as unknown,
    });
    expect(claims()).toEqual([]);
  });

  it('of another guest are refused with its name', async () => {
    const devices = provider();
    await take(devices, pci(3), 'first');
    await expect(take(devices, pci(3), 'second')).rejects.toMatchObject({
      code: 'host-device.in-use',
      reason: expect.stringContaining("'first'") as unknown,
    });
    expect(driverOf('0000:03:00.0')).toBe('vfio-pci');
    await devices.release('uuid-second');
    expect(driverOf('0000:03:00.0')).toBe('vfio-pci');
  });

  it('all come back when one of them cannot be moved', async () => {
    tree.refusing = 'vfio-pci';
    await expect(take(provider(), pci(3))).rejects.toMatchObject({ code: 'host-device.failed' });
    expect(driverOf('0000:03:00.0')).toBe('igb');
    expect(claims()).toEqual([]);
  });

  it('load the module of vfio-pci where it is none yet', async () => {
    tree.removeDriver('vfio-pci');
    await take(provider(), pci(3));
    expect(driverOf('0000:03:00.0')).toBe('vfio-pci');
  });

  it('that are with vfio-pci already stay there', async () => {
    const devices = provider();
    await tree.write('/sys/bus/pci/devices/0000:03:00.0/driver_override', 'vfio-pci');
    await tree.write('/sys/bus/pci/devices/0000:03:00.0/driver/unbind', '0000:03:00.0');
    await tree.write('/sys/bus/pci/drivers_probe', '0000:03:00.0');
    await take(devices, pci(3, 0, 0, 'no'));
    await devices.release('uuid-one');
    expect(driverOf('0000:03:00.0')).toBe('vfio-pci');
  });

  it('whose note is broken are told, and others go on', async () => {
    const devices = provider();
    await take(devices, pci(3));
    writeFileSync(join(directory, 'claims/pci-x.json'), '{"version":9}');
    await devices.release('uuid-one');
    expect(driverOf('0000:03:00.0')).toBe('igb');
  });
});

describe('mediated devices', () => {
  it('have the node of their group opened', async () => {
    const hostdev = `<hostdev type='mdev' model='vfio-pci'><source><address uuid='4b20d080-1b54-4048-85b3-a6a62d165c01'/></source></hostdev>`;
    const devices = provider();
    await take(devices, hostdev);
    expect(granted).toEqual(['/dev/vfio/40 1900000001']);
    await devices.release('uuid-one');
    expect(granted).toEqual([]);
  });
});

describe('USB devices', () => {
  const addressOf = (definition: DomainDef) => {
    const source = definition.devices.hostdevs[0]?.source;
    return source?.type === 'usb' ? source.address : undefined;
  };

  it('are found by vendor and product, and named by their place', async () => {
    const taken = await take(provider(), usb(ids('046d', '0825')));
    expect(addressOf(taken)).toEqual({ bus: 1, device: 7 });
  });

  it('that are two of a kind need an address', async () => {
    const devices = provider();
    await expect(take(devices, usb(ids('0951', '1666')))).rejects.toMatchObject({
      code: 'host-device.ambiguous',
      reason: expect.stringContaining('bus 1 device 9, bus 1 device 12') as unknown,
    });
    const one = await take(devices, usb(`${ids('0951', '1666')}<address bus='1' device='12'/>`));
    expect(addressOf(one)).toEqual({ bus: 1, device: 12 });
  });

  it('that are missing stop a start, or not, by their policy', async () => {
    const gone = ids('dead', 'beef');
    await expect(take(provider(), usb(gone))).rejects.toMatchObject({ code: 'host-device.not-found' });
    const without = await take(provider(), usb(gone, "startupPolicy='optional'"));
    expect(without.devices.hostdevs).toEqual([]);
    await expect(
      take(provider(), usb("<address bus='1' device='7'/>" + ids('dead', 'beef'))),
    ).rejects.toMatchObject({
      code: 'host-device.not-found',
    });
  });

  it('are offered to drivers again afterwards, where they have none', async () => {
    const devices = provider();
    await take(devices, usb(ids('046d', '0825')));
    await devices.release('uuid-one');
    // The sound half has kept its driver.
    expect(tree.writes).toEqual(['/sys/bus/usb/drivers_probe 1-2:1.0']);
    expect(claims()).toEqual([]);
  });

  it('go to one guest only, and hubs to none', async () => {
    const devices = provider();
    await take(devices, usb(ids('046d', '0825')), 'first');
    await expect(take(devices, usb("<address bus='1' device='7'/>"), 'second')).rejects.toMatchObject({
      code: 'host-device.in-use',
    });
    await expect(take(devices, usb("<address bus='1' device='1'/>"), 'third')).rejects.toMatchObject({
      code: 'host-device.unusable',
    });
  });
});

describe('the list of devices', () => {
  it('has names, drivers, groups and who uses them', async () => {
    const devices = provider();
    await take(devices, pci(3) + usb(ids('046d', '0825')));
    const listed = listHostDevices(devices, hostFiles(tree.root));
    expect(listed.map((one) => (one.type === 'scsi' ? one.place : one.ids))).toEqual([
      '8086:1901',
      '10de:1c03',
      '10de:10f1',
      '144d:a808',
      '8086:1521',
      '1b21:1242',
      '1d6b:0002',
      '046d:0825',
      '0951:1666',
      '0951:1666',
    ]);
    expect(listed[1]).toMatchObject({
      address: '0000:01:00.0',
      vendorName: 'NVIDIA Corporation',
      productName: 'GP106 [GeForce GTX 1060 6GB]',
      driver: 'nouveau',
      group: '1',
      numaNode: undefined,
    });
    expect(listed[0]).toMatchObject({ vendorName: 'Intel Corporation', productName: undefined });
    expect(listed[4]).toMatchObject({ driver: 'vfio-pci', usedBy: { name: 'one' }, numaNode: 0 });
    expect(listed[7]).toMatchObject({ productName: 'Webcam C270', serial: '5A3B', usedBy: { name: 'one' } });
    expect(listed[8]).toMatchObject({ vendorName: 'Kingston Technology', productName: undefined });
  });
});

describe('variants of vfio-pci', () => {
  it('count as VFIO: a device that has one is given to a guest as it is, and its group is not held up', async () => {
    for (const name of ['vfio-pci', 'mlx5_vfio_pci', 'hisi-acc-vfio-pci', 'nvgrace_gpu_vfio_pci'])
      expect(isVfioDriver(name)).toBe(true);
    for (const name of ['igb', 'vfio', 'pci-stub', 'vfio_pci_core', '../x_vfio_pci', undefined])
      expect(isVfioDriver(name)).toBe(false);
    const devices = provider();
    await expect(devices.detach('0000:03:00.0', 'igb_vfio_pci')).rejects.toMatchObject({
      code: 'host-device.unusable',
      reason: 'the host has no driver igb_vfio_pci',
    });
    mkdirSync(join(tree.root, 'sys/bus/pci/drivers/igb_vfio_pci'));
    await devices.detach('0000:03:00.0', 'igb_vfio_pci');
    expect(driverOf('0000:03:00.0')).toBe('igb_vfio_pci');
    await devices.detach('0000:03:00.0');
    await take(devices, pci(3, 0, 0, 'no'));
    await devices.release('uuid-one');
    expect(driverOf('0000:03:00.0')).toBe('igb_vfio_pci');
    await devices.reattach('0000:03:00.0');
    expect(driverOf('0000:03:00.0')).toBe('igb');
  });
});

describe('the variant that a definition names', () => {
  const card = (model: string, managed = 'yes') =>
    pci(3, 0, 0, managed).replace('<source>', `<driver name='vfio' model='${model}'/><source>`);

  it('gets the device for its guest, which goes back to its own driver afterwards', async () => {
    const devices = provider();
    mkdirSync(join(tree.root, 'sys/bus/pci/drivers/igb_vfio_pci'));
    await take(devices, card('igb_vfio_pci'));
    expect(driverOf('0000:03:00.0')).toBe('igb_vfio_pci');
    await devices.release('uuid-one');
    expect(driverOf('0000:03:00.0')).toBe('igb');
  });

  it('is refused where the host has none, the device is not with it unmanaged, or it is no variant', async () => {
    const devices = provider();
    await expect(take(devices, card('igb_vfio_pci'))).rejects.toMatchObject({
      reason: 'the host has no driver igb_vfio_pci',
    });
    await expect(take(devices, card('igb'))).rejects.toMatchObject({
      reason: expect.stringMatching(/'igb' is not vfio-pci/),
    });
    await devices.detach('0000:03:00.0');
    await expect(take(devices, card('igb_vfio_pci', 'no'))).rejects.toMatchObject({
      code: 'host-device.unusable',
    });
    expect(claims()).toEqual([]);
  });
});

describe('a PCI device that somebody moves by hand', () => {
  it('goes to vfio-pci and back, and is reset only while no driver of the host has it', async () => {
    const devices = provider();
    const driver = () => readPci(hostFiles(tree.root), '0000:03:00.0')?.driver;
    await expect(devices.reset('0000:03:00.0')).rejects.toMatchObject({ code: 'host-device.unusable' });
    await devices.detach('0000:03:00.0');
    expect(driver()).toBe('vfio-pci');
    await devices.detach('0000:03:00.0');
    await expect(devices.reset('0000:03:00.0')).rejects.toMatchObject({ reason: /no way to reset/ });
    writeFileSync(join(tree.root, 'sys/bus/pci/devices/0000:03:00.0/reset'), '');
    await devices.reset('0000:03:00.0');
    expect(tree.writes.at(-1)).toBe('/sys/bus/pci/devices/0000:03:00.0/reset 1');
    await devices.reattach('0000:03:00.0');
    expect(driver()).toBe('igb');
  });

  it('stays when it is a bridge, holds a mounted file system, is not there, or a guest has it', async () => {
    const devices = provider();
    await expect(devices.detach('0000:00:01.0')).rejects.toMatchObject({ code: 'host-device.unusable' });
    await expect(devices.detach('0000:02:00.0')).rejects.toMatchObject({ reason: /mounted at \// });
    await expect(devices.detach('0000:09:00.0')).rejects.toMatchObject({ code: 'host-device.not-found' });
    await take(devices, pci(3));
    for (const verb of ['detach', 'reattach', 'reset'] as const)
      await expect(devices[verb]('0000:03:00.0')).rejects.toMatchObject({ code: 'host-device.in-use' });
  });
});
