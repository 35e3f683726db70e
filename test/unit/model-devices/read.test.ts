/** Reading devices: what is refused, with its path, and what a document means. */
import { describe, expect, test } from 'vitest';
import { authOf, encryptionOf, isEmptySource } from '../../../src/model/domain/devices/disk.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { define, documentOf, paths, refusals } from './documents.ts';

const disk = (inner: string, attrs = "type='file'"): string =>
  `<disk ${attrs}>${inner}<target dev='vda' bus='virtio'/></disk>`;
const nic = (inner: string, attrs = "type='user'"): string => `<interface ${attrs}>${inner}</interface>`;

describe('strict reading', () => {
  const refused: readonly (readonly [string, string, string])[] = [
    [
      'a file attribute on a block disk',
      disk("<source file='/a'/>", "type='block'"),
      'devices.disk[0].source.@file',
    ],
    ['an unknown element', disk('<frobnicate/>'), 'devices.disk[0].frobnicate'],
    ['an unknown attribute', disk("<driver name='qemu' turbo='on'/>"), 'devices.disk[0].driver.@turbo'],
    ['an unknown device', '<lightbulb/>', 'devices.lightbulb'],
    [
      'a source for a type that has none',
      nic("<source dev='x'/>", "type='null'"),
      'devices.interface[0].source',
    ],
  ];
  test.each(refused)('refuses %s', (_what, devices, path) => {
    expect(paths(refusals(devices))).toEqual([path]);
    expect(paths(refusals(devices, 'lenient'))).toEqual([]);
  });

  test('lists what a lenient reader dropped', () => {
    const xml = documentOf({ devices: disk('<frobnicate/>') });
    expect(parseDomain(xml, { mode: 'lenient' }).dropped).toEqual(['devices.disk[0].frobnicate']);
  });

  test('reports every problem at once', () => {
    const devices = `${disk("<driver cache='hot'/>")}${nic("<mac address='x'/>")}<input type='lever'/>`;
    expect(paths(refusals(devices))).toEqual([
      'devices.disk[0].driver.cache',
      'devices.interface[0].mac.address',
      'devices.input[0].type',
    ]);
  });
});

describe('hostile input', () => {
  const long = 'a'.repeat(5000);
  const refused: readonly (readonly [string, string, string])[] = [
    ['a path that climbs', disk("<source file='/srv/../etc/shadow'/>"), 'devices.disk[0].source.file'],
    ['a relative path', disk("<source file='images/a'/>"), 'devices.disk[0].source.file'],
    ['a new line in a path', disk("<source file='/a&#10;b'/>"), 'devices.disk[0].source.file'],
    ['an endless path', disk(`<source file='/${long}'/>`), 'devices.disk[0].source.file'],
    ['a comma in a serial number', disk('<serial>x,readonly=off</serial>'), 'devices.disk[0].serial'],
    [
      'a target that is a path',
      "<disk type='file'><target dev='../vda'/></disk>",
      'devices.disk[0].target.dev',
    ],
    ['an option in an alias', disk("<alias name='a,id=b'/>"), 'devices.disk[0].alias.name'],
    ['an option in a card model', nic("<model type='virtio,id=x'/>"), 'devices.interface[0].model.type'],
    ['a slash and dots as a tap', nic("<target dev='a b'/>"), 'devices.interface[0].target.dev'],
    ['a multicast MAC', nic("<mac address='01:00:5e:00:00:01'/>"), 'devices.interface[0].mac.address'],
    [
      'a negative port',
      nic("<portForward proto='tcp'><range start='-1'/></portForward>"),
      'devices.interface[0].portForward[0].range[0].start',
    ],
    [
      'a host name with options',
      disk("<source protocol='nbd'><host name='h,x=y'/></source>", "type='network'"),
      'devices.disk[0].source.host[0].name',
    ],
    ['a number with a tail', disk("<driver queues='4x'/>"), 'devices.disk[0].driver.queues'],
    [
      'a number beyond 2^53',
      disk('<iotune><total_iops_sec>99999999999999999999</total_iops_sec></iotune>'),
      'devices.disk[0].iotune.total_iops_sec',
    ],
    [
      'a size beyond 2^53',
      "<memory model='dimm'><target><size unit='EiB'>9999</size></target></memory>",
      'devices.memory[0].target.size',
    ],
    [
      'an unknown unit',
      "<memory model='dimm'><target><size unit='parsec'>1</size></target></memory>",
      'devices.memory[0].target.size',
    ],
    ['a PCI slot that is none', disk("<address type='pci' slot='0x20'/>"), 'devices.disk[0].address.slot'],
    ['an address type that is none', disk("<address type='constructor'/>"), 'devices.disk[0].address.type'],
    ['a device type that is none', nic('', "type='__proto__'"), 'devices.interface[0].type'],
    [
      'a cookie with a line break',
      disk(
        "<source protocol='http' name='x'><host name='h'/><cookies><cookie name='a'>x&#13;&#10;y</cookie></cookies></source>",
        "type='network'",
      ),
      'devices.disk[0].source.cookies.cookie[0]',
    ],
    [
      'a keymap that is a path',
      "<graphics type='vnc' keymap='../../etc/passwd'/>",
      'devices.graphics[0].keymap',
    ],
    [
      'a listen address with options',
      "<graphics type='vnc' listen='0.0.0.0,password=off'/>",
      'devices.graphics[0].listen',
    ],
    [
      'a certificate with a comma',
      "<smartcard mode='host-certificates'><certificate>a,b</certificate></smartcard>",
      'devices.smartcard[0].certificate[0]',
    ],
    ['a shared memory name with a slash', "<shmem name='../x'/>", 'devices.shmem[0].name'],
  ];
  test.each(refused)('refuses %s', (_what, devices, path) => {
    expect(paths(refusals(devices, 'lenient'))).toContain(path);
  });

  test('stops at a number of children', () => {
    expect(paths(refusals(`<rng model='virtio'><backend model='builtin'/></rng>`.repeat(17_000)))).toEqual([
      'devices.rng',
    ]);
  });

  test('survives a chain as deep as a document may be', () => {
    const depth = 80;
    const chain = `${"<backingStore type='file'><format type='raw'/><source file='/b'/>".repeat(depth)}${'</backingStore>'.repeat(depth)}`;
    const definition = define({ devices: disk(`<source file='/a'/>${chain}`) });
    expect(formatDomain(definition).split('<backingStore').length - 1).toBe(depth);
  });
});

describe('parts that exclude each other', () => {
  const refused: readonly (readonly [string, string, string])[] = [
    [
      'total and read limits',
      disk('<iotune><total_bytes_sec>1</total_bytes_sec><read_bytes_sec>1</read_bytes_sec></iotune>'),
      'devices.disk[0].iotune',
    ],
    [
      'cookies of an NBD disk',
      disk(
        "<source protocol='nbd'><host name='h'/><cookies><cookie name='a'>b</cookie></cookies></source>",
        "type='network'",
      ),
      'devices.disk[0].source.cookies',
    ],
    [
      'two hosts of an HTTP disk',
      disk("<source protocol='http' name='x'><host name='a'/><host name='b'/></source>", "type='network'"),
      'devices.disk[0].source.host',
    ],
    ['raw I/O of a disk that is no LUN', disk('', "type='file' rawio='yes'"), 'devices.disk[0].rawio'],
    ['a LUN in a file', disk("<source file='/a'/>", "type='file' device='lun'"), 'devices.disk[0].type'],
    [
      "a controller with another type's model",
      "<controller type='usb' model='virtio-scsi'/>",
      'devices.controller[0].model',
    ],
    ['ports of a SATA controller', "<controller type='sata' ports='3'/>", 'devices.controller[0].ports'],
    [
      'managed of a bridge',
      nic("<source bridge='b'/>", "type='bridge' managed='yes'"),
      'devices.interface[0].managed',
    ],
    ['queues of VFIO', nic("<driver name='vfio' queues='2'/>"), 'devices.interface[0].driver.queues'],
    [
      'a transient half without its other',
      nic("<teaming type='transient'/>"),
      'devices.interface[0].teaming.persistent',
    ],
    [
      'pages of a file',
      "<memory model='nvdimm'><source><path>/a</path><pagesize>4</pagesize></source><target><size>1024</size></target></memory>",
      'devices.memory[0].source.pageSizeKiB',
    ],
    [
      'a model of a PCI device',
      "<hostdev type='pci' model='vfio-pci'><source><address bus='1'/></source></hostdev>",
      'devices.hostdev[0].model',
    ],
    ['a USB device without a name', "<hostdev type='usb'><source/></hostdev>", 'devices.hostdev[0].source'],
    [
      'a listen attribute that contradicts',
      "<graphics type='vnc' listen='1.2.3.4'><listen type='address' address='127.0.0.1'/></graphics>",
      'devices.graphics[0].listen',
    ],
  ];
  test.each(refused)('refuses %s', (_what, devices, path) => {
    expect(paths(refusals(devices))).toContain(path);
  });
});

describe('what a document means', () => {
  test('reads credentials and encryption from disk or source', () => {
    const secret = "<secret type='iscsi' usage='u'/>";
    const iscsi = (inner: string, outer: string): string =>
      disk(`${outer}<source protocol='iscsi' name='iqn'><host name='h'/>${inner}</source>`, "type='network'");
    const auth = `<auth username='me'>${secret}</auth>`;
    for (const devices of [iscsi(auth, ''), iscsi('', auth)]) {
      const [found] = define({ devices }).devices.disks;
      expect(found && authOf(found)).toEqual({ username: 'me', secret: { type: 'iscsi', usage: 'u' } });
    }
    const [plain] = define({ devices: disk("<encryption format='luks'/>") }).devices.disks;
    expect(plain && encryptionOf(plain)).toEqual({ format: 'luks', secrets: [] });
  });

  test('knows an empty drive', () => {
    const { disks } = define({ devices: disk('') + disk("<source file='/a'/>") }).devices;
    expect(disks.map((one) => isEmptySource(one.source))).toEqual([true, false]);
  });

  test('takes port -1, or none, for automatic', () => {
    const { graphics } = define({
      devices:
        "<graphics type='vnc' port='-1'/><graphics type='vnc'/><graphics type='vnc' port='5900'/><graphics type='spice' tlsPort='5901'/>",
    }).devices;
    expect(graphics.map((one) => 'autoport' in one && one.autoport)).toEqual([true, true, false, false]);
  });

  test('takes an empty <backingStore/> for the end of the chain', () => {
    const { disks } = define({ devices: disk('<backingStore/>') + disk('') }).devices;
    expect(disks.map((one) => one.backingStore)).toEqual([null, undefined]);
  });

  test('takes a limit of 0 for none', () => {
    const { disks } = define({
      devices: disk('<iotune><total_bytes_sec>0</total_bytes_sec></iotune>'),
    }).devices;
    expect(disks[0]?.iotune).toEqual({});
  });

  test('tells a wish for PCI from an address', () => {
    const { disks } = define({
      devices: disk("<address type='pci'/>") + disk("<address type='pci' slot='3'/>"),
    }).devices;
    expect(disks.map((one) => one.address)).toEqual([
      { type: 'pci' },
      { type: 'pci', domain: 0, bus: 0, slot: 3, function: 0 },
    ]);
  });
});

describe('what is written', () => {
  const graphics = "<graphics type='vnc' port='5905' autoport='yes' passwd='geheim'/>";

  test('shows a password only when secrets are wanted', () => {
    const definition = define({ devices: graphics });
    expect(formatDomain(definition)).not.toContain('geheim');
    expect(formatDomain(definition, { inactive: true })).not.toContain('geheim');
    expect(formatDomain(definition, { secure: true })).toContain("passwd='geheim'");
  });

  test('keeps a chosen port to the running domain', () => {
    const definition = define({ devices: graphics });
    expect(formatDomain(definition)).toContain("port='5905' autoport='yes'");
    expect(formatDomain(definition, { inactive: true })).toContain("port='-1' autoport='yes'");
  });

  test('keeps aliases that the user gave, and only those', () => {
    const definition = define({
      devices: disk("<alias name='virtio-disk0'/>") + disk("<alias name='ua-data'/>"),
    });
    const text = formatDomain(definition, { inactive: true });
    expect(text).toContain("<alias name='ua-data'/>");
    expect(text).not.toContain('virtio-disk0');
  });

  test('keeps a tap that the user named, and drops one that was made', () => {
    const definition = define({ devices: nic("<target dev='vnet7'/>") + nic("<target dev='web0'/>") });
    const text = formatDomain(definition, { inactive: true });
    expect(text).toContain("<target dev='web0'/>");
    expect(text).not.toContain('vnet7');
    expect(formatDomain(definition)).toContain('vnet7');
  });
});
