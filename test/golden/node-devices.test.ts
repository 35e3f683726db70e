/** Node devices of a recorded server: the documents as they were, held against libvirt's schema. */
import { afterAll, describe, expect, it } from 'vitest';
import { listNodeDevices } from '../../src/drivers/host-devices/node-devices/list.ts';
import { hostFiles } from '../../src/kvm/host-files.ts';
import { formatNodeDevice } from '../../src/model/node-device/format.ts';
import {
  capabilityTypesOf,
  type NodeDevice,
  nodeCapabilityTypes,
} from '../../src/model/node-device/node-device.ts';
import { expectSchemaValid } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';
import { SysfsTree } from '../support/sysfs-tree.ts';

const schema = '/usr/share/libvirt/schemas/nodedev.rng';
const tree = new SysfsTree('server');
afterAll(() => tree.remove());
const devices = listNodeDevices({ files: hostFiles(tree.root), hostName: 'here' });
const names = devices.map(({ name }) => name);
const device = (name: string): NodeDevice => {
  const found = devices.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no ${name} among ${names.join(' ')}`);
  return found;
};

describe('node devices', () => {
  it('have the documents that were read by a person', async () => {
    const text = devices.map((one) => formatNodeDevice(one)).join('\n');
    await expect(text).toMatchFileSnapshot('./node-devices/server.xml');
  });

  it('are all kinds there are, each with its parent before it', () => {
    expect(new Set(devices.flatMap(capabilityTypesOf))).toEqual(new Set(nodeCapabilityTypes));
    for (const [index, { name, parent }] of devices.entries())
      if (parent === undefined) expect(name).toBe('computer');
      else expect(names.indexOf(parent)).toBeLessThan(index);
    expect(new Set(names).size).toBe(names.length);
  });

  it("have libvirt's names: with serial, MAC address, and parent of a mediated device", () => {
    expect(names).toEqual(
      expect.arrayContaining([
        'pci_0000_01_00_0',
        'usb_usb1',
        'usb_1_2',
        'usb_1_2_1_0',
        'net_enp1s0f0_52_54_00_aa_bb_01',
        'net_lo_00_00_00_00_00_00',
        'block_sda_Disk_of_ATA_WD_1234',
        'block_nvme0n1_S4EVNX0R',
        'scsi_host2',
        'scsi_target0_0_0',
        'scsi_0_0_0_0',
        'scsi_generic_sg0',
        'drm_card0',
        'drm_renderD128',
        'mdev_4b20d080_1b54_4048_85b3_a6a62d165c01_0000_00_02_0',
        'vdpa_vdpa0',
      ]),
    );
  });

  it('leave out partitions, loop devices and connectors of graphics cards', () => {
    expect(names.filter((name) => /nvme0n1p1|loop0|HDMI/.test(name))).toEqual([]);
  });

  it('stand below the device they are on', () => {
    expect(device('net_enp1s0f0_52_54_00_aa_bb_01').parent).toBe('pci_0000_01_00_0');
    expect(device('pci_0000_01_00_0').parent).toBe('pci_0000_00_01_0');
    expect(device('block_sda_Disk_of_ATA_WD_1234').parent).toBe('scsi_0_0_0_0');
    expect(device('scsi_0_0_0_0').parent).toBe('scsi_target0_0_0');
    expect(device('usb_1_2_1_0').parent).toBe('usb_1_2');
    expect(device('net_lo_00_00_00_00_00_00').parent).toBe('computer');
  });
});

describeWith(['xmllint', schema], "libvirt's schema of node devices", () => {
  it('holds for every device of the server', () => {
    for (const one of devices) expectSchemaValid(formatNodeDevice(one), schema);
  });
});
