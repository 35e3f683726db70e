/** Checks of a whole definition that need no QEMU. */
import { describe, expect, test } from 'vitest';
import { sessionProblems } from '../../../src/model/domain/validate/session.ts';
import { validateDomain } from '../../../src/model/domain/validate/validate.ts';
import { define, type Parts } from './documents.ts';

const found = (parts: Parts): string[] =>
  validateDomain(define(parts)).map(({ path, message }) => `${path}: ${message}`);
const disk = (dev: string, inner = '', attrs = '', target = ''): string =>
  `<disk type='file' ${attrs}><source file='/srv/${dev}.img'/><target dev='${dev}' ${target}/>${inner}</disk>`;
const nic = (mac: string, inner = ''): string =>
  `<interface type='user'><mac address='${mac}'/>${inner}</interface>`;
const forward = (ranges: string, attrs = "proto='tcp'"): string =>
  `<portForward ${attrs}>${ranges}</portForward>`;

test('finds nothing wrong with a plain definition', () => {
  expect(found({ devices: disk('vda') + disk('vdb') + nic('52:54:00:00:00:01') })).toEqual([]);
});

describe('disks', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    [
      'a name twice',
      disk('vda') + disk('vda'),
      "devices.disk[1].target.dev: 'vda' is taken by devices.disk[0].target.dev",
    ],
    [
      'a CD-ROM on virtio',
      disk('vda', '', "device='cdrom'", "bus='virtio'"),
      'devices.disk[0].target.bus: a CD-ROM cannot sit on virtio; use sata, scsi, ide or usb',
    ],
    [
      'a floppy on SATA',
      disk('fda', '', "device='floppy'", "bus='sata'"),
      'devices.disk[0].target.bus: a floppy needs the bus fdc',
    ],
    [
      'a disk on fdc',
      disk('fda', '', '', "bus='fdc'"),
      'devices.disk[0].target.bus: the bus fdc is for floppies only',
    ],
    [
      'a disk without image',
      "<disk type='file'><target dev='vda'/></disk>",
      'devices.disk[0].source: is missing; only CD-ROM and floppy drives may be empty',
    ],
    [
      'native I/O with a cache',
      disk('vda', "<driver io='native' cache='writeback'/>"),
      "devices.disk[0].driver.io: 'native' needs cache 'none' or 'directsync'",
    ],
    [
      'an odd block size',
      disk('vda', "<blockio logical_block_size='1000'/>"),
      'devices.disk[0].blockio.logical_block_size: is not a power of two from 512 to 2 MiB',
    ],
    [
      'an IO thread that is none',
      disk('vda', "<driver iothread='3'/>", '', "bus='virtio'"),
      'devices.disk[0].driver.iothread: there is no IO thread 3',
    ],
  ];
  test.each(cases)('finds %s', (_what, devices, expected) => {
    expect(found({ devices })).toEqual([expected]);
  });

  test('takes an empty CD-ROM drive', () => {
    expect(
      found({ devices: "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>" }),
    ).toEqual([]);
  });

  test('knows IO threads by count and by id', () => {
    const devices =
      disk('vda', "<driver iothread='1'/>", '', "bus='virtio'") +
      disk('vdb', "<driver iothread='7'/>", '', "bus='virtio'");
    const rest = "<iothreads>2</iothreads><iothreadids><iothread id='7'/></iothreadids>";
    expect(found({ devices, rest })).toEqual([]);
  });
});

describe('boot order', () => {
  test('finds a place taken twice', () => {
    const devices = disk('vda', "<boot order='1'/>") + nic('52:54:00:00:00:01', "<boot order='1'/>");
    expect(found({ devices })).toEqual([
      'devices.interface[0].boot.order: boot order 1 is taken by devices.disk[0].boot.order',
    ]);
  });

  test('finds order by device beside order by kind', () => {
    const devices = disk('vda', "<boot order='1'/>");
    expect(found({ devices, os: "<boot dev='hd'/>" })[0]).toMatch(
      /^os\.boot: .*devices\.disk\[0\].* exclude each other$/,
    );
  });

  test('finds a command line without a kernel', () => {
    expect(found({ os: '<cmdline>quiet</cmdline>' })).toEqual(['os.cmdline: needs <kernel>']);
  });
});

describe('network cards', () => {
  test('finds a MAC twice, but not in a team', () => {
    expect(found({ devices: nic('52:54:00:00:00:01') + nic('52:54:00:00:00:01') })).toHaveLength(1);
    const team =
      nic('52:54:00:00:00:01', "<teaming type='persistent'/><alias name='ua-a'/>") +
      nic('52:54:00:00:00:01', "<teaming type='transient' persistent='ua-a'/>");
    expect(found({ devices: team })).toEqual([]);
  });

  test('finds the other half of a team missing', () => {
    const devices = nic('52:54:00:00:00:01', "<teaming type='transient' persistent='ua-gone'/>");
    expect(found({ devices })[0]).toContain("has the alias 'ua-gone'");
  });

  test('finds forwards that collide, and ports that run over', () => {
    const devices = nic('52:54:00:00:00:01', forward("<range start='80'/><range start='70' end='90'/>"));
    expect(found({ devices })).toEqual([
      'devices.interface[0].portForward[0].range[1]: tcp port 80 of the host is forwarded by devices.interface[0].portForward[0].range[0]',
    ]);
    const over = nic('52:54:00:00:00:01', forward("<range start='80' end='90' to='65530'/>"));
    expect(found({ devices: over })[0]).toContain('runs past port 65535');
  });

  test('takes the same port for another protocol or address, and left-out ports', () => {
    const devices = nic(
      '52:54:00:00:00:01',
      forward("<range start='80'/>") +
        forward("<range start='80'/>", "proto='udp'") +
        forward("<range start='80'/>", "proto='tcp' address='127.0.0.1'") +
        forward("<range start='79' end='81'/><range start='80' exclude='yes'/>"),
    );
    expect(found({ devices })).toEqual([]);
  });

  test('refuses to count absurd ranges', () => {
    const devices = nic('52:54:00:00:00:01', forward("<range start='1' end='65535'/>"));
    expect(found({ devices })[0]).toMatch(/ports are forwarded, more than 2048$/);
  });

  test('finds forwards on a card that has none', () => {
    const devices = `<interface type='bridge'><source bridge='b'/>${forward("<range start='80'/>")}</interface>`;
    expect(found({ devices })).toEqual(['devices.interface[0].portForward: needs type user, not bridge']);
  });

  test('finds names of links, VLANs and limits that cannot be', () => {
    const onBridge = (inner: string) => `<interface type='bridge'><source bridge='br0'/>${inner}</interface>`;
    const devices = [
      "<target dev='a-name-too-long-for-linux'/>",
      "<target dev='..'/>",
      "<target dev='a/b'/>",
      "<vlan><tag id='0'/></vlan>",
      "<bandwidth><inbound average='5' peak='4'/><outbound floor='3'/></bandwidth>",
    ]
      .map(onBridge)
      .join('');
    expect(found({ devices }).map((problem) => problem.split(': ')[0])).toEqual([
      'devices.interface[0].target.dev',
      'devices.interface[1].target.dev',
      'devices.interface[2].target.dev',
      'devices.interface[3].vlan.tag[0].id',
      'devices.interface[4].bandwidth.inbound.peak',
      'devices.interface[4].bandwidth.outbound.floor',
    ]);
  });
});

describe('addresses and names', () => {
  const at = (slot: string, rest = ''): string =>
    `<address type='pci' bus='0' slot='${slot}' function='0' ${rest}/>`;

  test('finds two devices at one place', () => {
    const devices = disk('vda', at('3')) + nic('52:54:00:00:00:01', at('3'));
    expect(found({ devices })).toEqual([
      'devices.interface[0].address: PCI 0000:00:03.0 is taken by devices.disk[0].address',
    ]);
  });

  test('tells drives of different buses apart', () => {
    const drive = "<address type='drive' controller='0' bus='0' target='0' unit='0'/>";
    expect(
      found({ devices: disk('sda', drive, '', "bus='sata'") + disk('sdb', drive, '', "bus='scsi'") }),
    ).toEqual([]);
    expect(
      found({ devices: disk('sda', drive, '', "bus='sata'") + disk('sdb', drive, '', "bus='sata'") }),
    ).toHaveLength(1);
  });

  test('finds a shared slot whose first function hides the others', () => {
    const devices =
      disk('vda', at('3', "multifunction='off'")) +
      disk('vdb', "<address type='pci' bus='0' slot='3' function='1'/>");
    expect(found({ devices })[0]).toContain("function 0 needs multifunction='on'");
  });

  test('finds an alias twice, but lets a console be its serial port', () => {
    const serial = "<serial type='pty'><alias name='serial0'/></serial>";
    expect(found({ devices: `${serial}<console type='pty'><alias name='serial0'/></console>` })).toEqual([]);
    expect(found({ devices: `${serial}${disk('vda', "<alias name='serial0'/>")}` })).toHaveLength(1);
  });

  test('finds controllers of one index, but not USB companions', () => {
    const two = "<controller type='scsi' index='0'/><controller type='scsi' index='0'/>";
    expect(found({ devices: two })).toHaveLength(1);
    const companions =
      "<controller type='usb' index='0' model='ich9-ehci1'/><controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>";
    expect(found({ devices: companions })).toEqual([]);
  });
});

describe('memory and CPUs', () => {
  const numa = (cells: string): string => `<cpu><numa>${cells}</numa></cpu>`;

  test('finds sizes that contradict each other', () => {
    expect(found({ rest: "<currentMemory unit='KiB'>2097152</currentMemory>" })).toEqual([
      'currentMemory: is more than memory (1048576 KiB)',
    ]);
    expect(found({ rest: "<maxMemory slots='1' unit='KiB'>1024</maxMemory>" })).toEqual([
      'maxMemory: is less than memory (1048576 KiB)',
    ]);
    expect(found({ memory: "<memory unit='KiB'>100</memory>" })).toEqual(['memory: is less than 1 MiB']);
  });

  test('finds NUMA cells that do not add up, or share a CPU', () => {
    const cells = "<cell id='0' cpus='0-1' memory='262144'/><cell id='1' cpus='1-3' memory='262144'/>";
    const problems = found({ rest: numa(cells) });
    expect(problems).toContain('cpu.numa.cell[1].cpus: CPU 1 is in cell 0 already');
    expect(problems.some((text) => text.includes('the NUMA cells hold 524288 KiB'))).toBe(true);
  });

  test('counts memory devices in, or not', () => {
    const devices =
      "<memory model='dimm'><target><size unit='KiB'>524288</size><node>0</node></target></memory>";
    const rest = `<maxMemory slots='2' unit='KiB'>4194304</maxMemory>${numa("<cell id='0' cpus='0-3' memory='524288'/>")}`;
    expect(found({ devices, rest })).toEqual([]);
    expect(found({ devices, rest, memory: "<memory unit='KiB'>524288</memory>" })).toEqual([]);
  });

  test('finds memory devices without room', () => {
    const devices =
      "<memory model='dimm'><target><size unit='KiB'>524288</size><node>3</node></target></memory>";
    expect(found({ devices })).toEqual([
      'devices.memory[0].target.node: 3 is no NUMA cell of the guest',
      'devices.memory[0]: memory devices need <maxMemory>',
    ]);
  });

  test('finds memory whose sizes are not whole blocks', () => {
    const target = (size: number, block: number, requested: number) =>
      `<memory model='virtio-mem'><target><size unit='KiB'>${size}</size><block unit='KiB'>${block}</block><requested unit='KiB'>${requested}</requested></target></memory>`;
    const problems = (...sizes: [number, number, number]) =>
      found({ devices: target(...sizes) }).filter((problem) => problem.includes('.target.'));
    expect(problems(8192, 2048, 4096)).toEqual([]);
    expect(problems(9216, 3072, 0)).toEqual(['devices.memory[0].target.block: is no power of two']);
    expect(problems(8193, 2048, 1024)).toEqual([
      'devices.memory[0].target.size: is not a whole number of blocks',
      'devices.memory[0].target.requested: is not a whole number of blocks',
    ]);
  });

  test('finds a topology and pins that do not fit', () => {
    expect(found({ rest: "<cpu><topology sockets='1' cores='3' threads='1'/></cpu>" })).toEqual([
      'cpu.topology: makes 3 CPUs, but vcpu is 4',
    ]);
    expect(found({ rest: "<cputune><vcpupin vcpu='9' cpuset='0'/></cputune>" })).toEqual([
      'cputune.vcpupin[0].vcpu: 9 is not one of the 4 vCPUs',
    ]);
    expect(found({ vcpu: "<vcpu current='5'>4</vcpu>" })).toEqual(['vcpu.current: is more than the 4 vCPUs']);
  });
});

describe('a CPU', () => {
  const cpu = (attributes: string, inner = '') =>
    found({ rest: `<cpu mode='custom' ${attributes}><model>qemu64</model>${inner}</cpu>` });

  test('is refused what goes with other modes', () => {
    expect(cpu(`migratable='on'`)).toEqual([
      'cpu.migratable: goes with the modes host-passthrough and maximum',
    ]);
    expect(cpu('', `<cache mode='passthrough'/>`)).toEqual([
      `cpu.cache.mode: 'passthrough' goes with the modes host-passthrough and maximum`,
    ]);
    expect(cpu('', `<cache level='3' mode='disable'/>`)).toEqual([
      `cpu.cache.level: goes with mode 'emulate'`,
    ]);
    expect(cpu('', `<cache level='3' mode='emulate'/>`)).toEqual([]);
  });

  test('has a feature once', () => {
    const twice = `<feature policy='require' name='aes'/><feature policy='disable' name='aes'/>`;
    expect(cpu('', twice)).toEqual([`cpu.feature[1]: 'aes' is given twice`]);
  });

  test('has a size of addresses, or the host’s', () => {
    expect(cpu('', `<maxphysaddr mode='emulate' bits='42'/>`)).toEqual([]);
    expect(cpu('', `<maxphysaddr mode='passthrough' limit='39'/>`)).toEqual([]);
    expect(cpu('', `<maxphysaddr mode='emulate' limit='39'/>`)).toEqual([
      `cpu.maxphysaddr.bits: is needed with mode 'emulate'`,
      `cpu.maxphysaddr.limit: goes with mode 'passthrough'`,
    ]);
    expect(cpu('', `<maxphysaddr mode='passthrough' bits='42'/>`)).toHaveLength(1);
  });
});

describe('other devices', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'two displays of a kind',
      "<graphics type='vnc'/><graphics type='vnc'/>",
      /one display of type vnc at most/,
    ],
    [
      'two TPMs',
      "<tpm><backend type='emulator'/></tpm><tpm><backend type='emulator'/></tpm>",
      /one TPM at most/,
    ],
    ['two watchdogs', "<watchdog model='i6300esb'/><watchdog model='ib700'/>", /one watchdog at most/],
    ['a lease', "<lease><key>k</key><target path='/l'/></lease>", /need a lock manager/],
    [
      'an audio backend that is none',
      "<sound model='ich9'><audio id='4'/></sound>",
      /there is no <audio id='4'>/,
    ],
    ['SPICE audio alone', "<audio id='1' type='spice'/>", /audio\[0\]\.type: needs <graphics type='spice'>/],
    [
      'a host device given twice',
      "<hostdev type='pci'><source><address bus='1'/></source></hostdev>".repeat(2),
      /PCI device 0000:01:00\.0 is given to/,
    ],
    [
      "'none' beside a card",
      "<video><model type='none'/></video><video><model type='vga'/></video>",
      /'none' cannot stand beside/,
    ],
    [
      'a long mount tag',
      `<filesystem type='mount'><source dir='/s'/><target dir='${'t'.repeat(33)}'/></filesystem>`,
      /longer than 32 bytes/,
    ],
    [
      'an odd shared memory',
      "<shmem name='s'><model type='ivshmem-plain'/><size unit='M'>3</size></shmem>",
      /power of two/,
    ],
  ];
  test.each(cases)('finds %s', (_what, devices, expected) => {
    expect(found({ devices }).join('\n')).toMatch(expected);
  });
});

describe('text that did not come through our reader', () => {
  test('finds control characters anywhere, with the path', () => {
    const definition = define({ devices: disk('vda'), os: '<kernel>/k</kernel>' });
    definition.os.cmdline = 'quiet\u0000root=/dev/sda';
    const [first] = definition.devices.disks;
    if (first) first.serial = 'a\nb';
    expect(validateDomain(definition).map((problem) => problem.path)).toEqual([
      'os.cmdline',
      'devices.disks[0].serial',
    ]);
  });

  test('lets a description have lines', () => {
    expect(found({ rest: '<description>one\ntwo</description>' })).toEqual([]);
  });
});

describe('session mode', () => {
  const session = (devices: string): string[] =>
    sessionProblems(define({ devices })).map(({ path, message }) => `${path}: ${message}`);

  test('tells of a virtual network first', () => {
    const devices =
      "<interface type='direct'><source dev='eth0'/></interface><interface type='network'><source network='default'/></interface>";
    const [first, second] = session(devices);
    expect(first).toMatch(/^devices\.interface\[1\]\.type: network 'default' .*qemu:\/\/\/system/);
    expect(second).toMatch(/^devices\.interface\[0\]\.type: a macvtap device on 'eth0'/);
  });

  test('lets user networking, a bridge and a tap made beforehand pass', () => {
    const devices =
      "<interface type='user'/><interface type='bridge'><source bridge='br0'/></interface><interface type='ethernet'><target dev='tap0' managed='no'/></interface>";
    expect(session(devices)).toEqual([]);
  });

  const refused: readonly (readonly [string, string])[] = [
    ["<hostdev type='pci'><source><address bus='1'/></source></hostdev>", 'devices.hostdev[0].type'],
    ["<interface type='ethernet'/>", 'devices.interface[0].type'],
    ["<graphics type='vnc'><listen type='network' network='n'/></graphics>", 'devices.graphics[0].listen'],
    [
      "<disk type='nvme'><source type='pci' namespace='1'><address bus='1'/></source><target dev='vda'/></disk>",
      'devices.disk[0]',
    ],
  ];
  test.each(refused)('refuses %s', (devices, path) => {
    expect(session(devices).map((text) => text.split(':')[0])).toEqual([path]);
  });
});
