/** Plans for plugging a device into a running guest, from recorded capabilities. */
import { describe, expect, it } from 'vitest';
import { placeDevice } from '../../../../src/drivers/qemu/hotplug/place.ts';
import { whyNot } from '../../../../src/drivers/qemu/hotplug/refused.ts';
import {
  type LivePlan,
  planDevice,
  type RealDescriptors,
  withDescriptors,
} from '../../../../src/drivers/qemu/hotplug/steps.ts';
import {
  addDevice,
  aliasOfDevice,
  type OneDevice,
  parseDevice,
} from '../../../../src/model/domain/device-list.ts';
import type { DomainDef } from '../../../../src/model/domain/domain.ts';
import { complete, context, recorded } from '../../../golden/argv/cases.ts';
import { testFacts } from '../../model/facts.ts';

const capabilities = recorded('7.2');
const facts = testFacts({ hasDevice: (name) => capabilities.devices.includes(name) });

function guest(machine: string, devices = '', more = ''): DomainDef {
  return complete(
    `<domain type='qemu'><name>g</name><memory unit='MiB'>64</memory>${more}
      <os><type arch='x86_64' machine='${machine}'>hvm</type><boot dev='hd'/></os><devices>${devices}</devices></domain>`,
    capabilities,
  );
}

const device = (xml: string): OneDevice => parseDevice(xml, { mode: 'strict' });
const place = (live: DomainDef, xml: string) => placeDevice(live, device(xml), facts, 'attach it');

/** The plan of the device itself. */
function plan(live: DomainDef, xml: string): LivePlan {
  const { after, parts } = place(live, xml);
  const own = parts.at(-1);
  if (own === undefined) throw new Error('nothing is new');
  return planDevice(after, own, { capabilities, context, firstSet: 5 });
}

const names = ({ steps }: LivePlan) => steps.map(({ execute }) => execute);
const disk = (file: string, dev: string) =>
  `<disk type='file'><driver name='qemu' type='raw'/><source file='${file}'/><backingStore/><target dev='${dev}'/></disk>`;

describe('a plan', () => {
  it('makes what is behind a device first, and says how each part is taken back', () => {
    const { steps, command } = plan(guest('pc'), disk('/srv/d.img', 'vdb'));
    expect(steps.map(({ execute, undo }) => [execute, undo?.execute])).toEqual([
      ['blockdev-add', 'blockdev-del'],
      ['blockdev-add', 'blockdev-del'],
      ['device_add', 'device_del'],
    ]);
    expect(steps.at(-1)?.arguments).toMatchObject({ driver: 'virtio-blk-pci', id: 'virtio-disk1' });
    expect(command.fds).toMatchObject([{ kind: 'file', path: '/srv/d.img', set: 5 }]);
  });

  it('plugs SCSI devices of the host, with a controller where there is none', () => {
    const scsi = (more = '') =>
      `<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host2'/><address bus='0' target='0' unit='1'/></source>${more}</hostdev>`;
    const { parts } = place(guest('q35'), scsi());
    expect(parts.map(({ element, device: one }) => [element, 'model' in one ? one.model : ''])).toEqual([
      ['controller', 'virtio-scsi'],
      ['hostdev', ''],
    ]);
    const { steps } = plan(guest('q35'), scsi('<shareable/>'));
    expect(steps).toMatchObject([
      {
        execute: 'blockdev-add',
        arguments: { driver: 'host_device', filename: '/dev/sg3' },
        undo: { execute: 'blockdev-del', arguments: { 'node-name': 'libvirt-hostdev0-backend' } },
      },
      {
        execute: 'device_add',
        arguments: { driver: 'scsi-generic', drive: 'libvirt-hostdev0-backend', 'share-rw': true },
      },
    ]);
  });

  it('plugs a virtual function as a network card', () => {
    const nic = `<interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:01'/><source><address type='pci' domain='0' bus='1' slot='16' function='4'/></source></interface>`;
    const { steps, command } = plan(guest('q35'), nic);
    expect(steps).toMatchObject([
      {
        execute: 'device_add',
        arguments: { driver: 'vfio-pci', host: '0000:01:10.4', id: 'hostdev0' },
        undo: { execute: 'device_del' },
      },
    ]);
    expect(command.fds).toEqual([]);
  });

  it('plugs a vhost-scsi target by a descriptor', () => {
    const target = `<hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>`;
    const { steps, command } = plan(guest('q35'), target);
    expect(steps).toMatchObject([{ arguments: { driver: 'vhost-scsi-pci', wwpn: 'naa.5123456789abcde0' } }]);
    expect(command.fds).toMatchObject([{ kind: 'vhost-scsi' }]);
    const real: RealDescriptors = { nameOf: () => 'vireo-1', numberOf: () => 9 };
    expect(withDescriptors(steps[0]?.arguments ?? {}, real)).toMatchObject({ vhostfd: 'vireo-1' });
  });

  it('plugs PCI and mediated devices of the host, but no boot framebuffer', () => {
    const card = `<hostdev mode='subsystem' type='pci' managed='yes'><source><address bus='3' slot='0' function='1'/></source></hostdev>`;
    const { steps } = plan(guest('q35'), card);
    expect(steps.map(({ execute, undo }) => [execute, undo?.execute])).toEqual([
      ['device_add', 'device_del'],
    ]);
    expect(steps[0]?.arguments).toMatchObject({ driver: 'vfio-pci', host: '0000:03:00.1', id: 'hostdev0' });
    const mdev = (more: string) =>
      `<hostdev mode='subsystem' type='mdev' model='vfio-pci' ${more}><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>`;
    expect(plan(guest('pc'), mdev('')).steps[0]?.arguments).toMatchObject({
      sysfsdev: '/sys/bus/mdev/devices/c2177883-f1bb-47f0-914d-32a22e3a8804',
    });
    expect(whyNot(device(card))).toBeUndefined();
    expect(whyNot(device(mdev('')))).toBeUndefined();
    expect(whyNot(device(mdev("display='on' ramfb='on'")))).toMatch(
      /framebuffer is there from the start only/,
    );
  });

  it('gives no boot index of <os>: that is for the devices of the start', () => {
    const front = plan(guest('pc'), disk('/srv/d.img', 'vda')).steps.at(-1);
    expect(front?.arguments['bootindex']).toBeUndefined();
  });

  it('makes back ends of character devices as chardev-add takes them', () => {
    const [back] = plan(
      guest('pc'),
      "<channel type='unix'><target type='virtio' name='a.b'/></channel>",
    ).steps;
    expect(back).toMatchObject({
      execute: 'chardev-add',
      arguments: { id: 'charchannel0', backend: { type: 'socket', data: { server: true, wait: false } } },
      undo: { execute: 'chardev-remove', arguments: { id: 'charchannel0' } },
    });
    const tcp =
      "<serial type='tcp'><source mode='connect' host='::1' service='77'/><target type='pci-serial'/></serial>";
    expect(plan(guest('pc'), tcp).steps[0]?.arguments).toMatchObject({
      backend: { data: { addr: { type: 'inet', data: { host: '::1', port: '77' } } } },
    });
  });

  it('sets what a watchdog does by a command of its own', () => {
    const watchdog = plan(guest('pc'), "<watchdog model='i6300esb' action='poweroff'/>");
    expect(names(watchdog)).toEqual(['device_add', 'set-action']);
  });

  it('is refused where QEMU has no command for it', () => {
    for (const [xml, reason] of [
      ['<video/>', /video: such a device/],
      ["<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>", /floppy drive on bus fdc/],
      ["<serial type='pty'/>", /isa-serial is on the board/],
      ["<filesystem><source dir='/srv'/><target dir='x'/></filesystem>", /9p/],
      ["<watchdog model='ib700' action='reset'/>", /ib700 is on the board/],
    ] as const)
      expect(() => plan(guest('q35'), xml)).toThrow(
        expect.objectContaining({ code: 'definition.unsupported', reason: expect.stringMatching(reason) }),
      );
  });
});

describe('a place', () => {
  const ports = "<controller type='pci' model='pcie-root-port'/>".repeat(6);

  it('on PCI Express is a root port that is free, and there is none without', () => {
    const rng = "<rng model='virtio'><backend model='builtin'/></rng>";
    let live = guest('q35', ports);
    const buses: unknown[] = [];
    const attach = () => {
      const { after, parts } = place(live, rng);
      const own = parts.at(-1);
      if (own === undefined) throw new Error('nothing is new');
      buses.push('address' in own.device && typeof own.device.address === 'object' && own.device.address);
      live = addDevice(live, own);
      expect(after.devices.rngs).toEqual(live.devices.rngs);
    };
    expect(() => {
      for (let count = 0; count < 10; count++) attach();
    }).toThrow(/no free PCI slot/);
    expect(buses.length).toBeGreaterThan(2);
    expect(new Set(buses.map((address) => JSON.stringify(address))).size).toBe(buses.length);
  });

  it('of a SCSI disk brings a controller that takes disks while the guest runs', () => {
    const { parts } = place(
      guest('pc'),
      disk('/srv/d.img', 'sda').replace("dev='sda'", "dev='sda' bus='scsi'"),
    );
    expect(parts.map(({ element }) => element)).toEqual(['controller', 'disk']);
    expect(parts[0]?.device).toMatchObject({ type: 'scsi', model: 'virtio-scsi', alias: 'scsi0' });
  });

  it('is found whatever the order in which defaults put the disks', () => {
    const scsi = (dev: string) => disk(`/srv/${dev}`, dev).replace(`dev='${dev}'`, `dev='${dev}' bus='scsi'`);
    const controller = "<controller type='scsi' model='virtio-scsi'/>";
    const { parts } = place(guest('pc', controller + scsi('sda') + disk('/srv/vda', 'vda')), scsi('sdb'));
    expect(parts.map((one) => aliasOfDevice(one))).toEqual(['scsi0-0-0-1']);
  });

  it('leaves all other devices as they are, and names are used once', () => {
    const nic = "<interface type='user'><model type='virtio'/></interface>";
    const named = (last: number) => nic.replace('<model', `<mac address='52:54:00:00:01:0${last}'/><model`);
    const live = guest('pc', named(1) + named(2) + named(3));
    const [, ...rest] = live.devices.interfaces;
    const without = { ...live, devices: { ...live.devices, interfaces: rest } };
    const { after } = place(without, nic);
    expect(after.devices.interfaces.map(({ alias }) => alias)).toEqual(['net1', 'net2', 'net0']);
    expect(after.devices.interfaces.slice(0, 2)).toEqual(rest);
  });

  it('of a memory module makes the memory more', () => {
    const cells =
      "<maxMemory slots='2' unit='MiB'>512</maxMemory><cpu><numa><cell id='0' memory='65536'/></numa></cpu>";
    const live = guest('pc', '', cells);
    const dimm = "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>";
    const { after, parts } = place(live, dimm);
    expect(after.memory.sizeKiB).toBe(live.memory.sizeKiB + 128 * 1024);
    expect(parts.at(-1)?.device).toMatchObject({ alias: 'dimm0', address: { type: 'dimm', slot: 0 } });
  });
});

describe('descriptors in arguments', () => {
  const real: RealDescriptors = { nameOf: (fd) => `fd-${fd}`, numberOf: () => 42 };

  it('stand where QEMU reads descriptors, and nowhere else', () => {
    const given = {
      fds: '10000000:10000001',
      'mem-path': '/proc/self/fd/10000002',
      addr: { type: 'fd', data: { str: '10000003' } },
      serial: '10000000',
      size: 10_000_000,
    };
    expect(withDescriptors(given, real)).toEqual({
      fds: 'fd-10000000:fd-10000001',
      'mem-path': '/proc/self/fd/42',
      addr: { type: 'fd', data: { str: 'fd-10000003' } },
      serial: '10000000',
      size: 10_000_000,
    });
  });
});
