/** Node devices: narrowed by capability, moved for guests, and watched through uevents. */
import { rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { parseUevent, type Uevent } from '../../../src/base/uevents.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import { hostFiles } from '../../../src/kvm/host-files.ts';
import { makeNodeDevices } from '../../support/node-devices.ts';
import { SysfsTree } from '../../support/sysfs-tree.ts';

let tree: SysfsTree;
beforeEach(() => {
  tree = new SysfsTree('server');
});
afterEach(() => tree.remove());

const bus = () => new EventBus(silentLogger);
const PCI = 'pci_0000_01_00_0';

describe('node devices', () => {
  it('are found by what they are, and by what they can besides', () => {
    const devices = makeNodeDevices(bus(), { files: hostFiles(tree.root) });
    const names = (...types: Parameters<typeof devices.list>[0] & string[]) =>
      devices.list(types).map(({ name }) => name);
    expect(names('mdev_types')).toEqual(['pci_0000_00_02_0']);
    expect(names('fc_host', 'system')).toEqual(['computer', 'scsi_host2']);
    expect(devices.list()).toHaveLength(devices.list([]).length);
    expect(devices.xml(devices.find(PCI))).toContain("<capability type='virt_functions' maxCount='7'>");
    expect(() => devices.find('pci_0000_09_00_0')).toThrow(
      expect.objectContaining({ code: 'node-device.not-found' }),
    );
  });

  it('on the PCI bus are moved by their address; others are not, and none in a session', async () => {
    const moved: string[] = [];
    const files = hostFiles(tree.root);
    const devices = makeNodeDevices(bus(), { files, moved });
    await devices.detach(PCI);
    await devices.reset(PCI);
    await devices.reattach(PCI);
    expect(moved).toEqual(['detach 0000:01:00.0', 'reset 0000:01:00.0', 'reattach 0000:01:00.0']);
    await expect(devices.detach('usb_1_2')).rejects.toMatchObject({ code: 'request.invalid' });
    await expect(devices.detach('pci_1')).rejects.toMatchObject({ code: 'node-device.not-found' });
    const session = makeNodeDevices(bus(), { files, moved, mode: 'session' });
    await expect(session.detach(PCI)).rejects.toMatchObject({ code: 'request.unsupported' });
    expect(moved).toHaveLength(3);
  });

  it('are not looked for while nobody is there to be told, and what happened then is told to nobody', async () => {
    const events = bus();
    const seen: string[] = [];
    events.subscribe((event) => void seen.push(event.event));
    const uevents: (Uevent[] | undefined)[] = [];
    const devices = makeNodeDevices(events, { files: hostFiles(tree.root), uevents });
    devices.start();
    onTestFinished(() => devices.stop());
    const vdpa = join(tree.root, 'sys/bus/vdpa/devices/vdpa0');
    const passed = () => new Promise((done) => setTimeout(done, 60));
    await passed();
    devices.setAudience(false);
    unlinkSync(vdpa);
    uevents.push([{ action: 'remove', path: '/devices/x', subsystem: 'vdpa' }]);
    await passed();
    expect([seen, uevents.length]).toEqual([[], 1]);
    devices.setAudience(true);
    await passed();
    expect([seen, uevents.length]).toEqual([[], 0]);
    symlinkSync('../../../devices/vdpa0', vdpa);
    uevents.push([{ action: 'add', path: '/devices/x', subsystem: 'vdpa' }]);
    await vi.waitFor(() => expect(seen).toEqual(['node-device.added']), { timeout: 10_000 });
  });

  it('that come, go and change are told, also when uevents were lost, and never without one', async () => {
    const events = bus();
    const seen: string[] = [];
    events.subscribe((event) => {
      if ('device' in event && typeof event.device === 'object')
        seen.push(`${event.event} ${event.device.name}`);
    });
    const uevents: (Uevent[] | undefined)[] = [];
    const devices = makeNodeDevices(events, { files: hostFiles(tree.root), uevents });
    devices.start();
    onTestFinished(() => devices.stop());
    const vdpa = join(tree.root, 'sys/bus/vdpa/devices/vdpa0');
    const passed = () => new Promise((done) => setTimeout(done, 60));
    await passed();
    unlinkSync(vdpa);
    await passed();
    expect(seen).toEqual([]);
    uevents.push([{ action: 'remove', path: '/devices/x', subsystem: 'vdpa' }]);
    await vi.waitFor(() => expect(seen).toEqual(['node-device.removed vdpa_vdpa0']), { timeout: 10_000 });
    symlinkSync('../../../devices/vdpa0', vdpa);
    uevents.push([{ action: 'add', path: '/devices/x', subsystem: 'cpu' }]);
    await passed();
    expect(seen).toHaveLength(1);
    uevents.push(undefined);
    await vi.waitFor(() => expect(seen).toContain('node-device.added vdpa_vdpa0'), { timeout: 10_000 });
    rmSync(join(tree.root, 'sys/devices/pci0000:00/0000:02:00.0/driver'));
    uevents.push([{ action: 'unbind', path: '/devices/x', subsystem: 'pci' }]);
    await vi.waitFor(() => expect(seen).toContain('node-device.changed pci_0000_02_00_0'), {
      timeout: 10_000,
    });
  });
});

describe('a uevent', () => {
  it('tells action, place and subsystem', () => {
    const text =
      'add@/devices/virtual/net/x0\0ACTION=add\0DEVPATH=/devices/virtual/net/x0\0SUBSYSTEM=net\0SEQNUM=7\0';
    expect(parseUevent(Buffer.from(text))).toEqual({
      action: 'add',
      path: '/devices/virtual/net/x0',
      subsystem: 'net',
    });
  });

  it.each(['', 'libudev\0\xfe\xed', 'add', 'add@/devices/x\0ACTION=add\0', '@\0SUBSYSTEM=a\0'])(
    '%j is none',
    (text) => {
      expect(parseUevent(Buffer.from(text, 'latin1'))).toBeUndefined();
    },
  );
});
