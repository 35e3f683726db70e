/** The guests that our own create verbs make. */
import { describe, expect, test } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { buildDomain, type DomainSpec } from '../../../src/model/domain/profile.ts';
import { segmentAddress } from '../../../src/model/domain/segment.ts';
import { sessionProblems } from '../../../src/model/domain/validate/session.ts';
import { validateDomain } from '../../../src/model/domain/validate/validate.ts';

const facts = { hostArch: 'x86_64', uid: 1000 };
const base: DomainSpec = { name: 'web', memoryBytes: 2 * 1024 ** 3, vcpus: 2, virtType: 'kvm', disks: [] };
const build = (spec: Partial<DomainSpec> = {}) => buildDomain({ ...base, ...spec }, facts);

function codeOf(spec: Partial<DomainSpec>): string | undefined {
  try {
    build(spec);
    return undefined;
  } catch (error) {
    return isVirtError(error) ? error.code : String(error);
  }
}

describe('a plain guest', () => {
  const definition = build({
    disks: [{ path: '/srv/web.qcow2', format: 'qcow2' }],
    cdrom: '/srv/debian.iso',
  });

  test('is q35 with virtio, a guest agent channel and a serial console', () => {
    const { devices, os, cpu } = definition;
    expect(os.type).toEqual({ arch: 'x86_64', machine: 'q35', kind: 'hvm' });
    expect(cpu?.mode).toBe('host-passthrough');
    expect(devices.interfaces.map(({ source, model }) => [source.type, model])).toEqual([['user', 'virtio']]);
    expect(devices.channels.map(({ target }) => target.type === 'virtio' && target.name)).toEqual([
      'org.qemu.guest_agent.0',
    ]);
    expect(devices.serials.map(({ source }) => source.type)).toEqual(['pty']);
    expect([devices.memballoon?.model, devices.rngs[0]?.model]).toEqual(['virtio', 'virtio']);
    expect([devices.graphics, devices.videos, devices.inputs]).toEqual([[], [], []]);
  });

  test('has places for fifteen devices more on PCI Express', () => {
    const ports = definition.devices.controllers.filter(({ model }) => model === 'pcie-root-port').length;
    // A disk, a card, its channel's controller, the balloon, the random numbers.
    expect(ports - 5).toBeGreaterThanOrEqual(15);
  });

  test('boots from the CD-ROM first, then from its disk', () => {
    const disks = definition.devices.disks.map(({ target, device, boot, readonly }) => [
      target.dev,
      target.bus,
      device,
      boot?.order,
      readonly,
    ]);
    expect(disks).toEqual([
      ['vda', 'virtio', 'disk', 2, undefined],
      ['sda', 'sata', 'cdrom', 1, true],
    ]);
  });

  test('has timers that keep it on time', () => {
    expect(definition.clock?.timers).toEqual([
      { name: 'rtc', tickpolicy: 'catchup' },
      { name: 'pit', tickpolicy: 'delay' },
      { name: 'hpet', present: false },
    ]);
  });

  test('has cards by passt and on segments', () => {
    const { interfaces } = build({
      networks: [
        {
          type: 'user',
          backend: 'passt',
          portForwards: [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 }],
        },
        { type: 'segment', source: 'lab' },
      ],
    }).devices;
    expect(interfaces[0]).toMatchObject({ source: { type: 'user' }, backend: { type: 'passt' } });
    expect(interfaces[0]?.portForwards).toHaveLength(1);
    expect(interfaces[1]?.source).toEqual({ type: 'mcast', ...segmentAddress('lab', 1000) });
    expect(codeOf({ networks: [{ type: 'segment', source: 'lab', backend: 'passt' }] })).toBe(
      'request.invalid',
    );
    expect(codeOf({ networks: [{ type: 'segment' }] })).toBe('request.invalid');
  });

  test('is a definition without problems that comes back as it was written', () => {
    expect(validateDomain(definition)).toEqual([]);
    expect(sessionProblems(definition)).toEqual([]);
    const text = formatDomain(definition);
    expect(formatDomain(parseDomain(text, { mode: 'strict' }).definition)).toBe(text);
    expect(parseDomain(text, { mode: 'strict' }).definition).toEqual(definition);
  });
});

test('uses all of TCG when there is no KVM', () => {
  const definition = build({ virtType: 'qemu' });
  expect([definition.type, definition.cpu?.mode]).toEqual(['qemu', 'maximum']);
});

test('adds a display with what it needs', () => {
  const vnc = build({ graphics: 'vnc' }).devices;
  expect(vnc.graphics).toEqual([
    { type: 'vnc', autoport: true, listens: [{ type: 'address', address: '127.0.0.1' }] },
  ]);
  expect(vnc.inputs).toEqual([{ type: 'tablet', bus: 'usb' }]);
  expect(vnc.videos[0]?.model?.type).toBe('virtio');
  const spice = build({ graphics: 'spice' }).devices;
  expect(spice.channels.map(({ source }) => source.type)).toEqual(['unix', 'spicevmc']);
  expect(validateDomain(build({ graphics: 'spice' }))).toEqual([]);
});

test('boots a kernel directly, and then nothing from disks', () => {
  const definition = build({
    kernel: '/boot/vmlinuz',
    initrd: '/boot/initrd',
    cmdline: 'console=ttyS0',
    disks: [{ path: '/srv/a.img', format: 'raw', readonly: true }],
    serialLogPath: '/var/log/a.log',
  });
  expect(definition.os).toMatchObject({
    kernel: '/boot/vmlinuz',
    initrd: '/boot/initrd',
    cmdline: 'console=ttyS0',
  });
  expect(definition.devices.disks[0]).toMatchObject({
    readonly: true,
    driver: { name: 'qemu', type: 'raw' },
  });
  expect(definition.devices.disks[0]?.boot).toBeUndefined();
  expect(definition.devices.serials[0]?.log).toEqual({ file: '/var/log/a.log', append: true });
});

test('boots from the network when there is nothing else', () => {
  expect(build().devices.interfaces[0]?.boot).toEqual({ order: 1 });
});

test('names disks by bus, on beyond z', () => {
  const disks = Array.from({ length: 28 }, (_, i) => ({ path: `/srv/${i}.img`, format: 'raw' }));
  const names = build({ disks: [...disks, { path: '/dev/vg0/a', format: 'raw', bus: 'scsi' }] }).devices
    .disks;
  expect(names.map((disk) => disk.target.dev).slice(24)).toEqual(['vdy', 'vdz', 'vdaa', 'vdab', 'sda']);
  expect(names.at(-1)?.source).toMatchObject({ type: 'block', dev: '/dev/vg0/a' });
});

test('gives SCSI disks a virtio controller', () => {
  const { controllers } = build({ disks: [{ path: '/srv/a.img', format: 'raw', bus: 'scsi' }] }).devices;
  expect(controllers).toContainEqual({ type: 'scsi', index: 0, model: 'virtio-scsi' });
});

test('gathers port forwards of one protocol and address', () => {
  const { interfaces } = build({
    networks: [
      {
        type: 'user',
        portForwards: [
          { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 },
          { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 8080 },
          { protocol: 'udp', hostPort: 53, guestPort: 53 },
        ],
      },
    ],
  }).devices;
  expect(interfaces[0]?.portForwards).toEqual([
    { protocol: 'tcp', address: '127.0.0.1', ranges: [{ start: 2222, to: 22 }, { start: 8080 }] },
    { protocol: 'udp', ranges: [{ start: 53 }] },
  ]);
});

test('builds boards of other machines and architectures', () => {
  expect(build({ machine: 'pc', cdrom: '/a.iso' }).devices.disks[0]?.target).toEqual({
    dev: 'hda',
    bus: 'ide',
  });
  const arm = build({ arch: 'aarch64', virtType: 'qemu', firmware: 'efi', graphics: 'vnc', cdrom: '/a.iso' });
  expect(arm.os).toMatchObject({ firmware: 'efi', type: { arch: 'aarch64', machine: 'virt' } });
  expect(arm.devices.disks[0]?.target.bus).toBe('scsi');
  expect(arm.devices.inputs.map((input) => input.type)).toEqual(['tablet', 'keyboard']);
  expect(arm.features).toEqual({ acpi: true });
  expect(arm.clock?.timers).toEqual([]);
});

describe('a description that contradicts itself', () => {
  const cases: readonly (readonly [string, Partial<DomainSpec>, string])[] = [
    ['a name that is a path', { name: '../x' }, 'request.invalid'],
    ['too little memory', { memoryBytes: 1000 }, 'request.invalid'],
    ['no CPU', { vcpus: 0 }, 'request.invalid'],
    ['a command line without a kernel', { cmdline: 'x' }, 'request.invalid'],
    ['an unknown architecture', { arch: 'pdp11' }, 'request.invalid'],
    ['a machine with an option', { machine: 'pc,usb=on' }, 'request.invalid'],
    ['a network without a name', { networks: [{ type: 'network' }] }, 'request.invalid'],
    [
      'forwards on a bridge',
      {
        networks: [
          { type: 'bridge', source: 'br0', portForwards: [{ protocol: 'tcp', hostPort: 1, guestPort: 1 }] },
        ],
      },
      'request.invalid',
    ],
    [
      'a forward to another address',
      {
        networks: [
          {
            type: 'user',
            portForwards: [{ protocol: 'tcp', hostPort: 1, guestPort: 1, guestAddress: '10.0.2.99' }],
          },
        ],
      },
      'definition.unsupported',
    ],
    ['a format without a word', { disks: [{ path: '/a.vhdx', format: 'vhdx' }] }, 'definition.unsupported'],
    [
      'a CD-ROM on virtio',
      { disks: [{ path: '/a.iso', format: 'raw', bus: 'virtio', deviceType: 'cdrom' }] },
      'request.invalid',
    ],
  ];
  test.each(cases)('refuses %s', (_what, spec, code) => {
    expect(codeOf(spec)).toBe(code);
  });
});
