/** What argv building refuses, what it takes from capabilities, and that it is pure. */
import { describe, expect, test } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { renderArgs } from '../../../src/drivers/qemu/argv/render.ts';
import type { BuildContext, QemuCommand } from '../../../src/drivers/qemu/argv/types.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { caseNames, complete, context, readCase, recorded } from '../../golden/argv/cases.ts';

const capabilities = recorded('7.2');

interface Parts {
  readonly type?: 'kvm' | 'qemu';
  readonly machine?: string;
  readonly top?: string;
  readonly os?: string;
  readonly features?: string;
  readonly devices?: string;
  readonly name?: string;
}

function document({
  type = 'qemu',
  machine = 'q35',
  top = '',
  os = '',
  features = '',
  devices = '',
  name = 'a',
}: Parts) {
  return `<domain type='${type}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <name>${name}</name><uuid>11111111-2222-4333-8444-000000000099</uuid><memory unit='MiB'>128</memory>
    <os><type arch='x86_64' machine='${machine}'>hvm</type>${os}</os><features><acpi/>${features}</features>
    ${top}<devices>${devices}</devices></domain>`;
}

function build(
  parts: Parts,
  caps: QemuCapabilities = capabilities,
  extra: Partial<BuildContext> = {},
): QemuCommand {
  return buildCommand(complete(document(parts), capabilities), caps, { ...context, ...extra });
}

/** The findings of a build that must fail: `path: message`. */
function findings(run: () => unknown): { code: string; problems: string[] } {
  try {
    run();
  } catch (error) {
    if (!isVirtError(error)) throw error;
    const problems = error.details?.problems as { path: string; message: string }[];
    return { code: error.code, problems: problems.map(({ path, message }) => `${path}: ${message}`) };
  }
  throw new Error('the build went through');
}

const disk = (body: string, attributes = "type='file' device='disk'") => `<disk ${attributes}>${body}</disk>`;

describe('what cannot be honoured is named by its path', () => {
  const refused: readonly (readonly [string, Parts, string])[] = [
    ['a Xen-only feature', { features: '<viridian/>' }, 'features.viridian'],
    ['a hidden KVM option under TCG', { features: "<kvm><poll-control state='on'/></kvm>" }, 'features'],
    ['host-passthrough under TCG', { top: "<cpu mode='host-passthrough'/>" }, 'cpu.mode'],
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

describe('differences between versions', () => {
  const nic =
    "<interface type='user'><mac address='52:54:00:00:00:01'/><portForward proto='tcp'><range start='80'/><range start='443'/></portForward><model type='virtio'/></interface>";

  test('a binary before JSON network back ends gets pairs, a list as the same key again', () => {
    const older = { ...capabilities, netdevs: capabilities.netdevs.filter((type) => type !== 'stream') };
    expect(renderArgs(build({ devices: nic }, older))).toContain(
      'user,hostfwd=tcp::80-:80,hostfwd=tcp::443-:443,id=hostnet0',
    );
  });

  test('a reconnecting client counts milliseconds where QEMU does', () => {
    const devices =
      "<channel type='tcp'><source mode='connect' host='h' service='1'><reconnect enabled='yes' timeout='2'/></source><target type='virtio' name='x'/></channel>";
    const newer = {
      ...capabilities,
      options: {
        ...capabilities.options,
        chardev: [...(capabilities.options.chardev ?? []), 'reconnect-ms'],
      },
    };
    const chardev = (caps: QemuCapabilities) =>
      renderArgs(build({ devices }, caps)).find((word) => word.includes('id=charchannel0'));
    expect(chardev(capabilities)).toMatch(/,reconnect=2$/);
    expect(chardev(newer)).toMatch(/,reconnect-ms=2000$/);
  });

  test('QEMU 10 takes the same documents but for what its build lacks', () => {
    const ten = recorded('10');
    const built = caseNames.filter((name) => {
      try {
        return buildCommand(complete(readCase(name), ten), ten, context).args.length > 0;
      } catch (error) {
        expect(isVirtError(error, 'qemu.lacks')).toBe(true);
        return false;
      }
    });
    expect(built.length).toBeGreaterThan(caseNames.length / 2);
  });
});

describe('building', () => {
  test('changes nothing of what it is given', () => {
    const definition = complete(readCase('q35-kvm-linux'), capabilities);
    const before = structuredClone(definition);
    buildCommand(definition, capabilities, context);
    expect(definition).toEqual(before);
  });

  test('gives every descriptor a number of its own, from 3 up', () => {
    for (const name of caseNames) {
      const { fds } = buildCommand(complete(readCase(name), capabilities), capabilities, context);
      const numbers = fds.flatMap((need) =>
        need.kind === 'file' && need.roFd !== undefined ? [need.fd, need.roFd] : [need.fd],
      );
      expect(numbers.sort((a, b) => a - b)).toEqual(numbers.map((_number, index) => index + 3));
    }
  });

  test('marks an image whose backing file the definition leaves open, and no other', () => {
    const qcow2 = (chain: string) =>
      disk(`<driver name='qemu' type='qcow2'/><source file='/a'/>${chain}<target dev='vda' bus='virtio'/>`);
    const marks = (chain: string) =>
      build({ devices: qcow2(chain) }).fds.map((need) =>
        need.kind === 'file' ? need.unknownBacking : undefined,
      );
    expect(marks('')).toContain('qcow2');
    expect(marks('<backingStore/>')).not.toContain('qcow2');
  });

  test('never says a password', () => {
    const command = buildCommand(complete(readCase('q35-kvm-linux'), capabilities), capabilities, context);
    expect(JSON.stringify(command)).not.toContain('secret');
    expect(renderArgs(command)).toContain('[::1]:1,share=allow-exclusive,password=on');
  });

  test('reads the secret of a disk from a descriptor', () => {
    const encryption = (secret: string, format = 'luks') =>
      disk(
        `<source file='/a'><encryption format='${format}'>${secret}</encryption></source><target dev='vda' bus='virtio'/>`,
      );
    const secret = "<secret type='passphrase' usage='/a'/>";
    const { fds, args } = build({ devices: encryption(secret) });
    const need = fds.find(({ kind }) => kind === 'secret');
    expect(need).toMatchObject({
      reference: { type: 'volume', usage: '/a' },
      purpose: 'devices.disk[0].source.encryption.secret',
    });
    const object = args.find(
      ({ flag, value }) => flag === '-object' && JSON.stringify(value).includes('secret0'),
    );
    expect(object?.value).toEqual({
      json: {
        'qom-type': 'secret',
        id: 'libvirt-1-format-luks-secret0',
        file: `/proc/self/fd/${need?.fd}`,
      },
    });
    for (const [devices, path] of [
      [encryption(secret, 'luks2'), 'devices.disk[0].source.encryption.format'],
      [encryption(secret + secret), 'devices.disk[0].source.encryption.secret'],
      [encryption("<secret type='passphrase'/>"), 'devices.disk[0].source.encryption.secret'],
      [encryption(`${secret}<cipher name='aes' size='256'/>`), 'devices.disk[0].source.encryption.cipher'],
    ] as const)
      expect(() => build({ devices })).toThrow(
        expect.objectContaining({
          details: { problems: expect.arrayContaining([expect.objectContaining({ path })]) },
        }),
      );
  });

  test('lets no path of the definition into argv when the daemon opens it', () => {
    const command = buildCommand(complete(readCase('disk-buses'), capabilities), capabilities, context);
    expect(renderArgs(command).filter((word) => word.includes('/img/'))).toEqual([]);
  });

  test('keeps a hostile name inside its option', () => {
    const words = renderArgs(build({ name: 'x,process=evil,debug-threads=off' }));
    expect(words).toContain('guest=x,,process=evil,,debug-threads=off,debug-threads=on');
  });
});

describe('cards on sockets', () => {
  const nic = (type: string, body: string) =>
    `<interface type='${type}'>${body}<mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>`;
  const netdev = (command: QemuCommand): unknown => {
    const words = renderArgs(command);
    return JSON.parse(words[words.indexOf('-netdev') + 1] ?? '') as unknown;
  };
  const problems = (devices: string) => findings(() => build({ devices })).problems;

  test('keep a segment on the host, and let other groups go their way', () => {
    const group = (address: string) =>
      build({ devices: nic('mcast', `<source address='${address}' port='12345'/>`) });
    expect(netdev(group('239.255.118.7'))).toEqual({
      type: 'socket',
      mcast: '239.255.118.7:12345',
      localaddr: '127.0.0.1',
      id: 'hostnet0',
    });
    expect(netdev(group('230.0.0.1'))).toEqual({ type: 'socket', mcast: '230.0.0.1:12345', id: 'hostnet0' });
  });

  test('take multicast groups for groups, and IPv4 only', () => {
    expect(problems(nic('mcast', "<source address='10.0.0.1' port='1'/>"))).toEqual([
      'devices.interface[0].source.address: 10.0.0.1 is no multicast address (224.0.0.0/4)',
    ]);
    expect(problems(nic('client', "<source address='::1' port='1'/>"))).toEqual([
      'devices.interface[0].source.address: QEMU takes IPv4 here only',
    ]);
    expect(
      problems(nic('udp', "<source address='10.0.0.1' port='1'><local address='::1' port='2'/></source>")),
    ).toEqual(['devices.interface[0].source.local.address: QEMU takes IPv4 here only']);
  });

  test('give passt one half of a socket pair, and its options in words that every version understands', () => {
    const command = build({
      devices: nic(
        'user',
        `<source dev='eth0'/><backend type='passt' logFile='/var/log/p.log'/><mtu size='9000'/>
         <ip family='ipv4' address='10.9.0.7' prefix='20'/>
         <portForward proto='udp' address='127.0.0.1'><range start='53' to='5353'/></portForward>`,
      ),
    });
    const [helper] = command.helpers;
    expect(helper).toMatchObject({
      kind: 'passt',
      alias: 'net0',
      interfaceIndex: 0,
      logFile: '/var/log/p.log',
    });
    expect(helper).toHaveProperty('args', [
      ...['--interface', 'eth0', '--mtu', '9000', '--address', '10.9.0.7', '--netmask', '255.255.240.0'],
      ...['--udp-ports', '127.0.0.1/53:5353'],
    ]);
    const need = command.fds.find(({ kind }) => kind === 'passt');
    expect(helper).toHaveProperty('fd', need?.fd);
    expect(netdev(command)).toEqual({
      type: 'stream',
      addr: { type: 'fd', str: String(need?.fd) },
      server: false,
      id: 'hostnet0',
    });
  });

  test('say what an old QEMU lacks for passt', () => {
    const old = { ...capabilities, netdevs: capabilities.netdevs.filter((name) => name !== 'stream') };
    const devices = nic('user', "<backend type='passt'/>");
    expect(findings(() => build({ devices }, old))).toMatchObject({
      code: 'qemu.lacks',
      problems: [expect.stringContaining('devices.interface[0]: QEMU 7.2') as unknown],
    });
  });
});
