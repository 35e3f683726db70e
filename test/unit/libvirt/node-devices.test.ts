/** Node devices over libvirt's protocol, on a recorded host. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { hostFiles } from '../../../src/kvm/host-files.ts';
import { SysfsTree } from '../../support/sysfs-tree.ts';
import { nextEvent, startRig } from './rig.ts';

const PCI = 'pci_0000_01_00_0';

async function open() {
  const tree = new SysfsTree('server');
  onTestFinished(() => tree.remove());
  const moved: string[] = [];
  const rig = await startRig({ files: hostFiles(tree.root), moved });
  return { rig, moved, client: await rig.open() };
}

describe('node devices', () => {
  it('are listed by each kind, as a count when that is asked, and by the old calls', async () => {
    const { client, rig } = await open();
    const names = async (flags: number) =>
      (await client.call('connectListAllNodeDevices', { needResults: 1, flags })).devices.map(
        ({ name }) => name,
      );
    const all = rig.engine.nodeDevices.list();
    const allNames = all.map(({ name }) => name);
    expect(await names(0)).toEqual(allNames);
    expect(await names(1)).toEqual(['computer']);
    expect(await names(1 << 13)).toEqual(['pci_0000_00_02_0']);
    expect(await names(1 | (1 << 9))).toEqual(['computer', 'scsi_host2']);
    expect(await names(1 << 15)).toEqual([]);
    const mdevs = all.filter(({ capability }) => capability.type === 'mdev').map(({ name }) => name);
    expect(mdevs).not.toEqual([]);
    expect(await names(1 << 29)).toEqual(mdevs);
    expect(await names((1 << 28) | 1)).toEqual(['computer']);
    expect(await names(1 << 30)).toEqual([]);
    expect(await names(0x8000_0000)).toEqual(allNames);
    await expect(names(1 << 24)).rejects.toThrow(/unsupported flags \(0x1000000\)/);
    expect(await client.call('connectListAllNodeDevices', { needResults: 0, flags: 1 })).toEqual({
      devices: [],
      ret: 1,
    });
    expect(await client.call('nodeNumOfDevices', { cap: null, flags: 0 })).toEqual({ num: all.length });
    expect(await client.call('nodeNumOfDevices', { cap: 'fc_host', flags: 0 })).toEqual({ num: 1 });
    expect(await client.call('nodeNumOfDevices', { cap: 'no-such', flags: 0 })).toEqual({ num: 0 });
    expect(await client.call('nodeListDevices', { cap: 'pci', maxnames: 1, flags: 0 })).toMatchObject({
      names: [expect.stringMatching(/^pci_/)],
    });
  });

  it('are found by name and Fibre Channel names, and tell their facts', async () => {
    const { client, rig } = await open();
    const { dev } = await client.call('nodeDeviceLookupByName', { name: PCI });
    expect(dev).toEqual({ name: PCI });
    const { xml } = await client.call('nodeDeviceGetXmlDesc', { name: PCI, flags: 0 });
    expect(xml).toContain(`<name>${PCI}</name>`);
    const parent = rig.engine.nodeDevices.find(PCI).parent;
    expect(parent).toBeDefined();
    expect(await client.call('nodeDeviceGetParent', { name: PCI })).toEqual({ parentName: parent });
    expect(await client.call('nodeDeviceGetParent', { name: 'computer' })).toEqual({ parentName: null });
    const gpu = 'pci_0000_00_02_0';
    expect(await client.call('nodeDeviceNumOfCaps', { name: gpu })).toEqual({ num: 2 });
    expect(await client.call('nodeDeviceListCaps', { name: gpu, maxnames: 9 })).toEqual({
      names: ['pci', 'mdev_types'],
    });
    expect(await client.call('nodeDeviceIsActive', { name: PCI })).toEqual({ active: 1 });
    expect(await client.call('nodeDeviceIsPersistent', { name: PCI })).toEqual({ persistent: 1 });
    expect(await client.call('nodeDeviceGetAutostart', { name: PCI })).toEqual({ autostart: 1 });
    const { capability } = rig.engine.nodeDevices.find('scsi_host2');
    const port = capability.type === 'scsi_host' ? capability.fibreChannel : undefined;
    const { wwnn = '', wwpn = '' } = port ?? {};
    expect(wwnn).toHaveLength(16);
    expect(await client.call('nodeDeviceLookupScsiHostByWwn', { wwnn, wwpn, flags: 0 })).toEqual({
      dev: { name: 'scsi_host2' },
    });
    await expect(
      client.call('nodeDeviceLookupScsiHostByWwn', { wwnn, wwpn: wwnn, flags: 0 }),
    ).rejects.toThrow(/^53: Node device not found/);
    await expect(client.call('nodeDeviceLookupByName', { name: 'pci_x' })).rejects.toThrow(
      "53: Node device not found: no node device with matching name 'pci_x'",
    );
    await expect(client.call('nodeDeviceIsActive', { name: 'pci_x' })).rejects.toThrow(/^53:/);
  });

  it('on the PCI bus are taken and given back; a driver that is not here is refused', async () => {
    const { client, moved, rig } = await open();
    await client.call('nodeDeviceDettach', { name: PCI });
    await client.call('nodeDeviceReset', { name: PCI });
    await client.call('nodeDeviceReAttach', { name: PCI });
    await client.call('nodeDeviceDetachFlags', { name: PCI, driverName: 'vfio', flags: 0 });
    await client.call('nodeDeviceDetachFlags', { name: PCI, driverName: null, flags: 0 });
    const address = '0000:01:00.0';
    const expected = ['detach', 'reset', 'reattach', 'detach', 'detach'].map((verb) => `${verb} ${address}`);
    expect(moved).toEqual(expected);
    await expect(
      client.call('nodeDeviceDetachFlags', { name: PCI, driverName: 'xen', flags: 0 }),
    ).rejects.toThrow(/^8: .*'xen'/);
    await expect(client.call('nodeDeviceDettach', { name: 'computer' })).rejects.toThrow(
      /device computer is not a PCI device/,
    );
    const reader = await rig.open(1);
    await expect(reader.call('nodeDeviceReset', { name: PCI })).rejects.toThrow(/^29: .*read only/);
    expect(moved).toHaveLength(expected.length);
  });

  it('send events of coming, going and changing, of one device to who asked for that', async () => {
    const { client, rig } = await open();
    const register = (eventId: number, name?: string) =>
      client.call('connectNodeDeviceEventRegisterAny', {
        eventId,
        dev: name === undefined ? null : { name },
      });
    const { callbackId } = await register(0, 'usb_9');
    const { callbackId: updates } = await register(1);
    const publish = (
      event: 'node-device.added' | 'node-device.removed' | 'node-device.changed',
      name: string,
    ) => rig.events.publish({ event, device: { name } });
    publish('node-device.added', 'usb_8');
    publish('node-device.added', 'usb_9');
    const dev = { name: 'usb_9' };
    const lifecycle = () => nextEvent(client, 'nodeDeviceEventLifecycle');
    expect(await lifecycle()).toEqual({ callbackId, dev, event: 0, detail: 0 });
    publish('node-device.changed', 'usb_9');
    expect(await nextEvent(client, 'nodeDeviceEventUpdate')).toEqual({ callbackId: updates, dev });
    publish('node-device.removed', 'usb_9');
    expect(await lifecycle()).toEqual({ callbackId, dev, event: 1, detail: 0 });
  });
});
