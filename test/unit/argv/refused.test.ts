/** What argv building refuses, by its path: what cannot be honoured, and what the binary lacks. */
import { describe, expect, test } from 'vitest';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { renderArgs } from '../../../src/drivers/qemu/argv/render.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { complete, context } from '../../golden/argv/cases.ts';
import { build, capabilities, disk, document, findings, type Parts } from './build-rig.ts';

describe('what cannot be honoured is named by its path', () => {
  const refused: readonly (readonly [string, Parts, string])[] = [
    ['a Xen-only feature', { features: '<viridian/>' }, 'features.viridian'],
    ['a hidden KVM option under TCG', { features: "<kvm><poll-control state='on'/></kvm>" }, 'features'],
    ['host-passthrough under TCG', { top: "<cpu mode='host-passthrough'/>" }, 'cpu.mode'],
    ['more CPUs than the machine type takes', { top: '<vcpu>9999</vcpu>' }, 'vcpu'],
    [
      'a topology that does not add up',
      { top: "<vcpu>3</vcpu><cpu><topology sockets='1' cores='2' threads='1'/></cpu>" },
      'cpu.topology',
    ],
    ['a partition', { top: '<resource><partition>/a</partition></resource>' }, 'resource.partition'],
    [
      'a share of the cache',
      {
        top: "<cputune><cachetune vcpus='0'><cache id='0' level='3' type='both' size='3' unit='MiB'/></cachetune></cputune>",
      },
      'cputune.cachetune',
    ],
    ['a security label', { top: "<seclabel type='dynamic' model='selinux' relabel='yes'/>" }, 'seclabel[0]'],
    ['an initrd without a kernel', { os: '<initrd>/boot/initrd</initrd>' }, 'os.initrd'],
    [
      'an rtc policy that QEMU lacks',
      { top: "<clock offset='utc'><timer name='rtc' tickpolicy='merge'/></clock>" },
      'clock.timer',
    ],
    [
      'an encrypted disk without its secret',
      {
        devices: disk(
          "<source file='/a'><encryption format='luks'/></source><target dev='vda' bus='virtio'/>",
        ),
      },
      'devices.disk[0].source.encryption.secret',
    ],
    [
      'native AIO with a cache',
      {
        devices: disk(
          "<driver name='qemu' type='raw' io='native'/><source file='/a'/><target dev='vda' bus='virtio'/>",
        ),
      },
      'devices.disk[0].source',
    ],
    [
      'a read-only SATA disk',
      { devices: disk("<source file='/a'/><target dev='sda' bus='sata'/><readonly/>") },
      'devices.disk[0].readonly',
    ],
    [
      'a disk with an unknown thread',
      {
        devices: disk(
          "<driver name='qemu' iothread='9'/><source file='/a'/><target dev='vda' bus='virtio'/>",
        ),
      },
      'devices.disk[0].driver.iothread',
    ],
    [
      'a backing store under raw',
      {
        devices: disk(
          "<driver name='qemu' type='raw'/><source file='/a'/><backingStore type='file'><format type='raw'/><source file='/b'/></backingStore><target dev='vda' bus='virtio'/>",
        ),
      },
      'devices.disk[0].source',
    ],
    [
      'a volume that nobody resolved',
      {
        devices: disk(
          "<source pool='p' volume='v'/><target dev='vda' bus='virtio'/>",
          "type='volume' device='disk'",
        ),
      },
      'devices.disk[0].source',
    ],
    [
      'a bandwidth limit',
      {
        devices:
          "<interface type='user'><bandwidth><inbound average='1'/></bandwidth><model type='virtio'/></interface>",
      },
      'devices.interface[0].bandwidth',
    ],
    [
      'a script for a link',
      {
        devices:
          "<interface type='ethernet'><script path='/etc/qemu-ifup'/><model type='virtio'/></interface>",
      },
      'devices.interface[0].script',
    ],
    [
      'a script without a tap of its own',
      {
        devices:
          "<interface type='bridge'><source bridge='br0'/><downscript path='/bin/true'/><model type='virtio'/></interface>",
      },
      'devices.interface[0].downscript',
    ],
    [
      'VLANs without a bridge',
      {
        devices:
          "<interface type='direct'><source dev='eth0'/><vlan><tag id='3'/></vlan><model type='virtio'/></interface>",
      },
      'devices.interface[0].vlan',
    ],
    [
      'a virtual port',
      {
        devices:
          "<interface type='bridge'><source bridge='br0'/><virtualport type='openvswitch'/><model type='virtio'/></interface>",
      },
      'devices.interface[0].virtualport',
    ],
    [
      'trust in a card that tells no filter',
      {
        devices:
          "<interface type='direct' trustGuestRxFilters='yes'><source dev='eth0'/><model type='e1000'/></interface>",
      },
      'devices.interface[0].trustGuestRxFilters',
    ],
    [
      'a card that is none',
      { devices: "<interface type='user'><model type='isa-serial'/></interface>" },
      'devices.interface[0].model',
    ],
    [
      'a forward of all ports by SLIRP',
      { devices: "<interface type='user'><portForward proto='tcp'/><model type='virtio'/></interface>" },
      'devices.interface[0].portForward[0]',
    ],
    [
      'a filter on a card that has no tap',
      {
        devices:
          "<interface type='user'><filterref filter='clean-traffic'/><model type='virtio'/></interface>",
      },
      'devices.interface[0].filterref',
    ],
    ['a window on the daemon', { devices: "<graphics type='sdl'/>" }, 'devices.graphics[0].type'],
    ['spice with TLS', { devices: "<graphics type='spice' tlsPort='5999'/>" }, 'devices.graphics[0].tlsPort'],
    [
      'a channel of spice without spice',
      { devices: "<channel type='spicevmc'><target type='virtio'/></channel>" },
      'devices.channel[0]',
    ],
    [
      '3D without OpenGL',
      { devices: "<video><model type='virtio'><acceleration accel3d='yes'/></model></video>" },
      'devices.video[0].model.acceleration',
    ],
    [
      'two watchdogs with two minds',
      { devices: "<watchdog model='ib700' action='reset'/><watchdog model='i6300esb' action='pause'/>" },
      'devices.watchdog',
    ],
  ];

  test.each(refused)('%s', (_title, parts, path) => {
    const { code, problems } = findings(() => build(parts));
    expect(code).toBe('definition.unsupported');
    expect(problems.map((problem) => problem.slice(0, problem.indexOf(': ')))).toContain(path);
  });

  test('tells all findings at once', () => {
    const { problems } = findings(() =>
      build({ features: '<viridian/><privnet/>', devices: "<graphics type='sdl'/>" }),
    );
    expect(problems).toHaveLength(3);
  });

  test('refuses the qemu namespace unless the administrator allows it', () => {
    const top = "<qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>";
    const { problems } = findings(() => build({ top }, capabilities, { allowCommandLinePassthrough: false }));
    expect(problems[0]).toMatch(/^qemu:commandline: is not allowed here/);
    expect(renderArgs(build({ top }))).toContain('-foo');
  });

  test('takes the directory for temporary files that libguestfs sets, and nothing beside it', () => {
    const withEnv = (env: string) => {
      const top = `<qemu:commandline>${env}</qemu:commandline>`;
      return () => build({ top }, capabilities, { allowCommandLinePassthrough: false });
    };
    const tmp = "<qemu:env name='TMPDIR' value='/var/tmp'/>";
    expect(withEnv(tmp)().environment).toMatchObject({ TMPDIR: '/var/tmp' });
    for (const env of [
      `${tmp}<qemu:env name='LD_PRELOAD' value='/x.so'/>`,
      `${tmp}<qemu:arg value='-s'/>`,
      "<qemu:env name='TMPDIR' value='here'/>",
    ])
      expect(findings(withEnv(env)).problems[0]).toMatch(/^qemu:commandline: is not allowed here/);
  });

  test('calls a missing alias a bug, not a fault of the definition', () => {
    const definition = complete(document({ devices: "<input type='tablet' bus='usb'/>" }), capabilities);
    const { alias: _alias, ...input } = definition.devices.inputs[0] ?? { type: 'tablet' as const };
    const nameless = { ...definition, devices: { ...definition.devices, inputs: [input] } };
    expect(() => buildCommand(nameless, capabilities, context)).toThrow(/has no alias/);
  });
});

describe('what the binary lacks', () => {
  const without = (...devices: string[]): QemuCapabilities => ({
    ...capabilities,
    devices: capabilities.devices.filter((device) => !devices.includes(device)),
  });

  test('is named with the version, every device of it', () => {
    const devices = "<input type='tablet' bus='usb'/><watchdog model='i6300esb' action='reset'/>";
    const { code, problems } = findings(() => build({ devices }, without('usb-tablet', 'i6300esb')));
    expect(code).toBe('qemu.lacks');
    expect(problems).toEqual([
      expect.stringMatching(/^devices\.input\[0\]: QEMU 7\.2\.\d+ .* has no device 'usb-tablet'$/),
      expect.stringMatching(/^devices\.watchdog\[0\]: QEMU 7\.2\.\d+ .* has no device 'i6300esb'$/),
    ]);
  });

  test('is an unknown CPU model or machine type, too', () => {
    const cpu = "<cpu mode='custom' match='exact'><model>NoSuchCpu</model></cpu>";
    expect(findings(() => build({ top: cpu })).problems[0]).toContain(`CPU model 'NoSuchCpu'`);
  });

  test('is the sandbox where it was left out of the build', () => {
    const { problems } = findings(() => build({}, { ...capabilities, sandbox: false }));
    expect(problems[0]).toContain('seccomp sandbox');
    expect(renderArgs(build({}, { ...capabilities, sandbox: false }, { sandbox: false }))).not.toContain(
      '-sandbox',
    );
  });
});
