/** Mediated devices over libvirt's protocol: made, ended, stored and started, on a recorded host with a graphics card. */
import { mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { hostFiles } from '../../../src/kvm/host-files.ts';
import type { HostWriter } from '../../../src/kvm/host-writer.ts';
import { makeNodeDevices } from '../../support/node-devices.ts';
import { SysfsTree } from '../../support/sysfs-tree.ts';
import { startRig } from './rig.ts';

const GPU = 'pci_0000_00_02_0';
const ADDRESS = '0000:00:02.0';
const UUID = '7a1f1b3e-0000-4000-8000-000000000001';
const NAME = `mdev_${UUID.replaceAll('-', '_')}_0000_00_02_0`;
const BUS = '/sys/bus/mdev/devices';

interface Ask {
  readonly parent?: string;
  readonly type?: string;
  readonly more?: string;
}

const document = ({ parent = GPU, type = 'i915-GVTg_V5_8', more = `<uuid>${UUID}</uuid>` }: Ask = {}) =>
  `<device><name>new</name><parent>${parent}</parent><capability type='mdev'><type id='${type}'/>${more}</capability></device>`;

/** The little of the kernel that makes mediated devices and ends them. */
function kernel(tree: SysfsTree): HostWriter {
  const at = (path: string) => join(tree.root, path);
  return (path, text) => {
    tree.writes.push(`${path} ${text.trim()}`);
    const made = /^(\/sys\/devices\/.*)\/mdev_supported_types\/([^/]+)\/create$/.exec(path);
    if (made) {
      const [, parent = '', type = ''] = made;
      mkdirSync(at(`${parent}/${text.trim()}`));
      symlinkSync(`../mdev_supported_types/${type}`, at(`${parent}/${text.trim()}/mdev_type`));
      symlinkSync(`../../../..${parent}/${text.trim()}`, at(`${BUS}/${text.trim()}`));
    } else if (path.endsWith('/remove')) {
      const link = at(path.replace('/remove', ''));
      rmSync(realpathSync(link), { recursive: true });
      rmSync(link);
    } else if (path.endsWith('/refusing')) {
      throw new VirtError('file.failed', { reason: 'the card does not want it' });
    } else writeFileSync(at(path), text);
  };
}

async function open(options: { readonly isGroupBusy?: (group: number) => boolean } = {}) {
  const tree = new SysfsTree('server');
  onTestFinished(() => tree.remove());
  const rig = await startRig({ files: hostFiles(tree.root), write: kernel(tree), ...options });
  return { rig, tree, client: await rig.open() };
}

describe('a mediated device', () => {
  it('is made with its attributes, is no stored one, and is ended', async () => {
    const { client, tree } = await open();
    const { dev } = await client.call('nodeDeviceCreateXml', { xmlDesc: document(), flags: 0 });
    expect(dev).toEqual({ name: NAME });
    const { name } = dev;
    expect(await client.call('nodeDeviceIsActive', { name })).toEqual({ active: 1 });
    expect(await client.call('nodeDeviceIsPersistent', { name })).toEqual({ persistent: 0 });
    await expect(client.call('nodeDeviceCreate', { name, flags: 0 })).rejects.toThrow('already active');
    await expect(client.call('nodeDeviceUndefine', { name, flags: 0 })).rejects.toThrow('is not defined');
    await expect(client.call('nodeDeviceSetAutostart', { name, autostart: 1 })).rejects.toThrow(
      'cannot set autostart for transient device',
    );
    await client.call('nodeDeviceDestroy', { name });
    await expect(client.call('nodeDeviceIsActive', { name })).rejects.toThrow(/^53:/);
    const refusing = document({ more: `<uuid>${UUID}</uuid><attr name='refusing' value='2'/>` });
    await expect(client.call('nodeDeviceCreateXml', { xmlDesc: refusing, flags: 0 })).rejects.toThrow(
      'the card does not want it',
    );
    expect(tree.writes).toEqual([
      `/sys/devices/pci0000:00/${ADDRESS}/mdev_supported_types/i915-GVTg_V5_8/create ${UUID}`,
      `${BUS}/${UUID}/remove 1`,
      `/sys/devices/pci0000:00/${ADDRESS}/mdev_supported_types/i915-GVTg_V5_8/create ${UUID}`,
      `${BUS}/${UUID}/refusing 2`,
      `${BUS}/${UUID}/remove 1`,
    ]);
  });

  it('is refused with what is wrong with its document, and nothing is written', async () => {
    const { client, tree } = await open();
    const cases = [
      [document({ parent: 'pci_9' }), /^67: .*invalid parent device 'pci_9'/],
      [document({ type: 'nvidia-1' }), /^55: .*no mediated devices of the type 'nvidia-1'/],
      [document({ type: '../x' }), /^27: .*type\.id/],
      [document({ more: "<attr name='a/../../b' value='1'/>" }), /^27: .*attr/],
      ["<device><capability type='mdev'><type id='a'/></capability></device>", /^27: .*parent/],
      [
        "<device><parent>a</parent><capability type='scsi_host'/></device>",
        /^67: .*'scsi_host' cannot be made/,
      ],
    ] as const;
    for (const [xmlDesc, told] of cases)
      await expect(client.call('nodeDeviceCreateXml', { xmlDesc, flags: 0 })).rejects.toThrow(told);
    const [[xmlDesc, told]] = cases;
    await expect(client.call('nodeDeviceDefineXml', { xmlDesc, flags: 0 })).rejects.toThrow(told);
    expect(tree.writes).toEqual([]);
  });

  it('that a guest has open is not ended; other devices are not made and ended at all', async () => {
    const { client, rig, tree } = await open({ isGroupBusy: (group) => group === 40 });
    const name = 'mdev_4b20d080_1b54_4048_85b3_a6a62d165c01_0000_00_02_0';
    await expect(client.call('nodeDeviceDestroy', { name })).rejects.toThrow(/^55: .*has opened it/);
    await expect(client.call('nodeDeviceDestroy', { name: GPU })).rejects.toThrow(
      '67: unsupported configuration: Unsupported device type',
    );
    await expect(client.call('nodeDeviceSetAutostart', { name: GPU, autostart: 1 })).rejects.toThrow(
      '84: Operation not supported: Unsupported device type',
    );
    const reader = await rig.open(1);
    await expect(reader.call('nodeDeviceCreateXml', { xmlDesc: document(), flags: 0 })).rejects.toThrow(
      /^29: .*read only/,
    );
    expect(tree.writes).toEqual([]);
  });
});

describe('a stored mediated device', () => {
  it('is defined as mdevctl keeps it, listed while it is not there, started, changed and forgotten', async () => {
    const { client, rig } = await open();
    const more = `<uuid>${UUID}</uuid><attr name='heads' value='2'/>`;
    const { dev } = await client.call('nodeDeviceDefineXml', { xmlDesc: document({ more }), flags: 0 });
    expect(dev).toEqual({ name: NAME });
    const { name } = dev;
    const file = join(rig.directory, 'mdevctl.d', ADDRESS, UUID);
    const kept = () => JSON.parse(readFileSync(file, 'utf8')) as unknown;
    expect(kept()).toEqual({ mdev_type: 'i915-GVTg_V5_8', start: 'manual', attrs: [{ heads: '2' }] });

    const names = async (flags: number) =>
      (await client.call('connectListAllNodeDevices', { needResults: 1, flags: (flags | (1 << 14)) >>> 0 }))
        .devices;
    expect(await names(1 << 30)).toEqual([dev]); // inactive
    expect(await names(1 << 28)).toEqual([dev]); // persistent
    expect(await names(1 << 31)).not.toContainEqual(dev);
    expect(await client.call('nodeDeviceIsActive', { name })).toEqual({ active: 0 });
    const { xml } = await client.call('nodeDeviceGetXmlDesc', { name, flags: 1 });
    expect(xml).toContain("<attr name='heads' value='2'/>");
    expect(xml).toContain(`<parent>${GPU}</parent>`);
    await expect(client.call('nodeDeviceDestroy', { name })).rejects.toThrow('is not active');

    await client.call('nodeDeviceSetAutostart', { name, autostart: 1 });
    expect(await client.call('nodeDeviceGetAutostart', { name })).toEqual({ autostart: 1 });
    await client.call('nodeDeviceCreate', { name, flags: 0 });
    expect(await client.call('nodeDeviceIsActive', { name })).toEqual({ active: 1 });
    expect(await client.call('nodeDeviceIsPersistent', { name })).toEqual({ persistent: 1 });

    const update = (ask: Ask, flags: number) =>
      client.call('nodeDeviceUpdate', { name, xmlDesc: document(ask), flags });
    await expect(update({}, 0)).rejects.toThrow(/^67: .*while it is there/);
    await expect(update({ more: `<uuid>${UUID.replace('7', '8')}</uuid>` }, 2)).rejects.toThrow(
      /uuid mismatch/,
    );
    await update({ type: 'i915-GVTg_V5_4' }, 2);
    expect(kept()).toEqual({ mdev_type: 'i915-GVTg_V5_4', start: 'auto', attrs: [] });

    await client.call('nodeDeviceUndefine', { name, flags: 0 });
    expect(await client.call('nodeDeviceIsPersistent', { name })).toEqual({ persistent: 0 });
    await client.call('nodeDeviceDestroy', { name });
    expect(await names(0)).not.toContainEqual(dev);
  });

  it('that is marked starts with the daemon, once in a life of the host; a broken file keeps no other back', async () => {
    const { rig, tree } = await open();
    const parent = join(rig.directory, 'mdevctl.d', ADDRESS);
    mkdirSync(parent, { recursive: true });
    const store = (uuid: string, content: unknown) =>
      writeFileSync(join(parent, uuid), JSON.stringify(content));
    store(UUID, { mdev_type: 'i915-GVTg_V5_8', start: 'auto' });
    store(UUID.replace('7', '8'), { mdev_type: 'i915-GVTg_V5_8', start: 'manual' });
    store(UUID.replace('7', '9'), { mdev_type: 'no-such', start: 'auto' });
    store(UUID.replace('7', 'a'), { mdev_type: '../x', start: 'auto' });
    const files = hostFiles(tree.root);
    const daemon = () =>
      makeNodeDevices(rig.events, { files, directory: rig.directory, write: kernel(tree) }).mediated;
    const create = `/sys/devices/pci0000:00/${ADDRESS}/mdev_supported_types/i915-GVTg_V5_8/create ${UUID}`;
    daemon().autostart();
    expect(tree.writes).toEqual([create]);
    const device = rig.engine.nodeDevices.find(NAME);
    daemon().end(device);
    daemon().autostart();
    expect(tree.writes).toEqual([create, `${BUS}/${UUID}/remove 1`]);
  });
});
