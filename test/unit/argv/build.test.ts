/** What argv building takes from capabilities, and that it is pure. */
import { describe, expect, test } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { renderArgs } from '../../../src/drivers/qemu/argv/render.ts';
import type { QemuCommand } from '../../../src/drivers/qemu/argv/types.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { caseNames, complete, context, readCase, recorded } from '../../golden/argv/cases.ts';
import { build, capabilities, disk, findings } from './build-rig.ts';

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
