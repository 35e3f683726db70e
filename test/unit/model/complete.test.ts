/** Defaults, addresses and aliases: their rules one by one, and the properties that hold for any definition. */
import { describe, expect, test } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { assignAddresses } from '../../../src/model/domain/addresses/assign.ts';
import { diskIndex } from '../../../src/model/domain/addresses/drive.ts';
import { assignAliases } from '../../../src/model/domain/aliases.ts';
import { applyDefaults } from '../../../src/model/domain/defaults.ts';
import { type DomainDef, formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { testFacts } from './facts.ts';

const xml = (devices: string, machine = 'pc'): string =>
  `<domain type='qemu'><name>n</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><memory>65536</memory>
   <os><type arch='x86_64' machine='${machine}'>hvm</type></os><devices>${devices}</devices></domain>`;
const parse = (text: string): DomainDef => parseDomain(text, { mode: 'strict' }).definition;
const complete = (text: string): DomainDef => assignAddresses(applyDefaults(parse(text), testFacts()));
const pci = (bus: number, slot: number, fn = 0): string =>
  `<address type='pci' bus='${bus}' slot='${slot}' function='${fn}'/>`;
const disk = (dev: string, address = ''): string =>
  `<disk><source file='/d/${dev}'/><target dev='${dev}'/>${address}</disk>`;

function refusal(text: string): string {
  try {
    complete(text);
    return 'accepted';
  } catch (error) {
    return isVirtError(error) ? `${error.code}: ${error.reason}` : String(error);
  }
}

describe('defaults', () => {
  test('leave the argument alone', () => {
    const definition = parse(xml(disk('vda')));
    const before = structuredClone(definition);
    assignAliases(assignAddresses(applyDefaults(definition, testFacts())));
    expect(definition).toEqual(before);
  });

  test('take architecture, machine and emulator from the host', () => {
    const bare = parse(
      "<domain type='qemu'><name>n</name><memory>1</memory><os><type>hvm</type></os></domain>",
    );
    const { os, devices, uuid } = applyDefaults(bare, testFacts());
    expect(os.type).toEqual({ kind: 'hvm', arch: 'x86_64', machine: 'pc-i440fx-7.2' });
    expect(devices.emulator).toBe('/usr/bin/qemu-system-x86_64');
    expect(uuid).toBe('00000000-0000-4000-8000-000000000001');
  });

  test('say which QEMU or machine type is missing', () => {
    const without = (facts: Parameters<typeof testFacts>[0]) => () =>
      applyDefaults(parse(xml('')), testFacts(facts));
    expect(without({ emulatorFor: () => undefined })).toThrow(/no QEMU for x86_64/);
    expect(without({ canonicalMachine: () => undefined })).toThrow(/no machine type 'pc'/);
  });

  test('name the CPU that QEMU would take', () => {
    const cpuFor = (name: string) => applyDefaults(parse(xml('')), testFacts({ defaultCpu: () => name })).cpu;
    expect(cpuFor('qemu64')).toMatchObject({ mode: 'custom', model: { name: 'qemu64', fallback: 'forbid' } });
    expect(cpuFor('host')).toMatchObject({ mode: 'host-passthrough' });
    expect(cpuFor('max')).toMatchObject({ mode: 'maximum' });
  });

  test('make the first console a mirror of the first serial port, either way round', () => {
    for (const devices of [
      "<serial type='pty'/>",
      "<console type='pty'/>",
      "<serial type='pty'/><console type='file'><source path='/x'/></console>",
    ]) {
      const { serials, consoles } = complete(xml(devices)).devices;
      expect(serials.map((one) => [one.source.type, one.target?.type])).toEqual([['pty', 'isa-serial']]);
      expect(consoles.map((one) => [one.source.type, one.target?.type])).toEqual([['pty', 'serial']]);
    }
  });

  test('put IDE names on SATA where there is no IDE', () => {
    expect(complete(xml(disk('hda'), 'q35')).devices.disks[0]?.target.bus).toBe('sata');
    expect(complete(xml(disk('hda'))).devices.disks[0]?.target.bus).toBe('ide');
  });
});

describe('libvirt’s choices', () => {
  const rootPorts = (definition: DomainDef): number =>
    definition.devices.controllers.filter(({ model }) => model === 'pcie-root-port').length;

  test('the SCSI and USB controllers are ones that the emulator has', () => {
    const models = (facts: ReturnType<typeof testFacts>): unknown =>
      assignAddresses(applyDefaults(parse(xml(disk('sda'))), facts), facts)
        .devices.controllers.filter(({ type }) => type === 'scsi' || type === 'usb')
        .map(({ model }) => model);
    expect(models(testFacts())).toEqual(['piix3-uhci', 'lsilogic']);
    const lacking = testFacts({ hasDevice: (name) => name !== 'lsi53c895a' && name !== 'piix3-usb-uhci' });
    expect(models(lacking)).toEqual(['qemu-xhci', 'virtio-scsi']);
  });

  test('a SCSI bus is narrow: the eighth disk is on the next controller', () => {
    const disks = complete(xml(['sda', 'sdg', 'sdh'].map((dev) => disk(dev)).join(''))).devices.disks;
    expect(disks.map(({ address }) => address)).toMatchObject([
      { controller: 0, unit: 0 },
      { controller: 0, unit: 6 },
      { controller: 1, unit: 0 },
    ]);
  });

  test('companions of a USB 2.0 controller without a number belong to the one before', () => {
    const controller = (model: string): string => `<controller type='usb' model='${model}'/>`;
    const names = ['ich9-ehci1', 'ich9-uhci1', 'ich9-uhci2', 'ich9-uhci3'];
    const found = complete(xml(names.map(controller).join(''))).devices.controllers;
    expect(found.filter(({ type }) => type === 'usb').map(({ index }) => index)).toEqual([0, 0, 0, 0]);
  });

  test('a spare root port comes with the first definition alone', () => {
    const nic = "<interface type='user'><model type='virtio'/></interface>";
    const first = complete(xml(nic, 'q35'));
    const grown = parse(formatDomain(first).replace('</devices>', '<vsock/></devices>'));
    const again = assignAddresses(applyDefaults(grown, testFacts()));
    expect([rootPorts(first), rootPorts(again)]).toEqual([4, 4]);
  });

  test('disks of a bus are in the order of their names', () => {
    const { disks } = complete(xml(['vdc', 'hda', 'vda', 'vdb'].map((dev) => disk(dev)).join(''))).devices;
    expect(disks.map(({ target }) => target.dev)).toEqual(['vda', 'vdb', 'vdc', 'hda']);
  });

  test('an empty drive is of type file, video memory a power of two, a server’s address open', () => {
    const { disks, videos, graphics } = complete(
      xml(`<disk type='block' device='cdrom'><target dev='hda'/></disk>
        <graphics type='spice' autoport='yes' tlsPort='-1'/><video><model type='vga' vram='9216'/></video>`),
    ).devices;
    expect(disks[0]?.source.type).toBe('file');
    expect(videos[0]?.model?.vramKiB).toBe(16_384);
    expect(graphics).toMatchObject([{ type: 'spice', autoport: true, listens: [{ type: 'address' }] }]);
    expect(graphics[0]).not.toHaveProperty('tlsPort');
  });

  test.each([
    ["autoport='no'", [{ type: 'none' }]],
    ["autoport='no' listen='127.0.0.1'", [{ type: 'none' }]],
    ["autoport='no' port='5930'", [{ type: 'address' }]],
    ["autoport='yes'", [{ type: 'address' }]],
  ])('let SPICE listen where it has a port: %s', (attributes, listens) => {
    const { graphics } = complete(xml(`<graphics type='spice' ${attributes}/>`)).devices;
    expect(graphics).toMatchObject([{ listens }]);
  });

  test('NUMA distances hold both ways', () => {
    const text = xml('').replace(
      '<os>',
      `<vcpu>2</vcpu><cpu><numa><cell id='0' cpus='0' memory='32768'><distances><sibling id='0' value='10'/>
        <sibling id='1' value='21'/></distances></cell><cell id='1' cpus='1' memory='32768'/></numa></cpu><os>`,
    );
    expect(complete(text).cpu?.numa?.cells[1]?.distances).toEqual([
      { id: 0, value: 21 },
      { id: 1, value: 10 },
    ]);
  });
});

describe('addresses', () => {
  test('count disks by their letters', () => {
    expect(['vda', 'vdz', 'vdaa', 'sdb1', 'hdc'].map(diskIndex)).toEqual([0, 25, 26, 1, 2]);
    expect(diskIndex('vd1')).toBeUndefined();
  });

  test('clash on PCI: both places are told', () => {
    const card = (address: string): string => `<interface type='user'>${address}</interface>`;
    expect(refusal(xml(card(pci(0, 5)) + card(pci(0, 5))))).toBe(
      'xml.invalid: devices.interfaces[1].address: PCI address 0000:00:05.0 is in use by devices.interfaces[0]',
    );
    expect(refusal(xml(card(pci(0, 1))))).toContain('in use by the ISA bridge');
    expect(refusal(xml(card("<address type='pci' domain='1' bus='0' slot='5'/>")))).toContain('PCI domain 1');
    expect(
      refusal(xml(`<controller type='pci' index='1' model='pcie-root-port'/>${card(pci(1, 3))}`, 'q35')),
    ).toContain('slot 3 is out of range on PCI bus 1');
  });

  test('clash on drives, USB and virtio-serial', () => {
    const drive = "<address type='drive' unit='0'/>";
    expect(refusal(xml(disk('sda', drive) + disk('sdb', drive)))).toContain(
      'drive address is in use by devices.disks[0]',
    );
    expect(refusal(xml(disk('sda', "<address type='drive' unit='1'/>") + disk('sdb')))).toContain(
      "'sdb' means",
    );
    const tablet = "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1'/></input>";
    expect(refusal(xml(tablet + tablet))).toContain('USB port 0:1 is in use');
    const channel =
      "<channel type='null'><target type='virtio' name='a'/><address type='virtio-serial' port='1'/></channel>";
    expect(refusal(xml(channel + channel))).toContain('virtio-serial port 0:1');
  });

  test('of the chipset’s own controllers cannot be changed', () => {
    expect(refusal(xml(`<controller type='ide' index='0'>${pci(0, 9)}</controller>`))).toContain(
      '0000:00:01.1',
    );
    expect(refusal(xml(`<controller type='sata' index='0'>${pci(0, 9)}</controller>`, 'q35'))).toContain(
      '0000:00:1f.2',
    );
  });

  test('a bridge is never put behind itself', () => {
    expect(
      refusal(xml(`<controller type='pci' index='1' model='pci-bridge'>${pci(1, 2)}</controller>`)),
    ).toContain('behind itself');
  });

  test('an added device moves no other', () => {
    const stored = complete(
      xml(disk('vda') + "<interface type='user'><model type='virtio'/></interface>", 'q35'),
    );
    const grown = structuredClone(stored);
    grown.devices.rngs.push({ model: 'virtio', backend: { model: 'random' } });
    const again = assignAddresses(applyDefaults(grown, testFacts()));
    expect(again.devices.disks).toEqual(stored.devices.disks);
    expect(again.devices.interfaces).toEqual(stored.devices.interfaces);
    expect(again.devices.controllers.slice(0, stored.devices.controllers.length)).toEqual(
      stored.devices.controllers,
    );
    expect(again.devices.rngs[0]?.address?.type).toBe('pci');
  });

  test('many USB devices get hubs', () => {
    const tablets = "<input type='tablet' bus='usb'/>".repeat(20);
    const { hubs, inputs } = complete(xml(tablets)).devices;
    expect(hubs.length).toBe(3);
    const ports = inputs.flatMap(({ address }) =>
      address?.type === 'usb' ? [`${address.bus}:${address.port}`] : [],
    );
    expect(new Set(ports).size).toBe(20);
  });

  test.each(['pc', 'q35'])('absurd counts on %s end soon, with a reason', (machine) => {
    const cards = "<interface type='user'><model type='virtio'/></interface>".repeat(12_000);
    const started = performance.now();
    const reason = refusal(xml(cards, machine));
    expect(reason).toContain('xml.invalid');
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});

describe('aliases', () => {
  test('are libvirt’s, and the user’s stay', () => {
    const devices = `${disk('vda')}${disk('hda')}${disk('sda')}<interface type='user'><alias name='ua-lan'/></interface>
      <interface type='user'/><serial type='pty'/><input type='tablet' bus='usb'/><vsock/>
      <channel type='null'><target type='virtio' name='a'/></channel>`;
    const named = assignAliases(complete(xml(devices))).devices;
    expect(named.disks.map(({ alias }) => alias)).toEqual(['virtio-disk0', 'ide0-0-0', 'scsi0-0-0']);
    expect(named.interfaces.map(({ alias }) => alias)).toEqual(['ua-lan', 'net0']);
    expect([named.serials[0]?.alias, named.consoles[0]?.alias, named.channels[0]?.alias]).toEqual([
      'serial0',
      'serial0',
      'channel0',
    ]);
    expect(named.controllers.map(({ alias }) => alias)).toEqual(
      expect.arrayContaining(['usb', 'pci.0', 'ide', 'scsi0', 'virtio-serial0']),
    );
    expect(named.memballoon?.alias).toBe('balloon0');
  });

  test('of q35 name what is on board', () => {
    const named = assignAliases(
      complete(xml(disk('sda').replace("dev='sda'", "dev='sda' bus='sata'"), 'q35')),
    ).devices;
    expect(named.disks[0]?.alias).toBe('sata0-0-0');
    const aliases = named.controllers.map(({ alias }) => alias);
    expect(aliases).toEqual(expect.arrayContaining(['pcie.0', 'ide', 'usb', 'pci.1']));
  });
});

/** Devices to draw from; indices make their names unique. */
const pool: readonly ((i: number) => string)[] = [
  (i) => disk(`vd${String.fromCharCode(97 + i)}`),
  (i) => `<disk><source file='/d/${i}'/><target dev='sd${String.fromCharCode(97 + i)}' bus='scsi'/></disk>`,
  (i) => `<disk><source file='/d/${i}'/><target dev='sd${String.fromCharCode(97 + i)}' bus='usb'/></disk>`,
  () => "<interface type='user'/>",
  () => "<interface type='user'><model type='virtio'/></interface>",
  () => "<interface type='user'><model type='e1000e'/></interface>",
  () => "<sound model='ich6'/>",
  () => "<input type='tablet' bus='usb'/>",
  () => "<input type='keyboard' bus='virtio'/>",
  () => "<serial type='pty'/>",
  () => "<serial type='null'><target type='pci-serial'/></serial>",
  (i) => `<channel type='null'><target type='virtio' name='c${i}'/></channel>`,
  () => "<redirdev bus='usb' type='null'/>",
  () => "<rng model='virtio'><backend model='random'/></rng>",
  () => "<video><model type='virtio'/></video>",
  () => "<controller type='pci' model='pcie-root-port'/>",
  () => "<controller type='scsi' model='virtio-scsi'/>",
  (i) => `<hostdev type='pci'><source><address bus='${i + 1}' slot='0'/></source></hostdev>`,
];

describe('any definition', () => {
  test('is complete after one pass: a second changes nothing, and no address is given twice', () => {
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
    for (let round = 0; round < 120; round++) {
      const machine = round % 2 === 0 ? 'pc' : 'q35';
      const usable = machine === 'pc' ? pool.filter((make) => !make(0).includes('pcie-root-port')) : pool;
      const devices = Array.from({ length: random(24) }, (_, i) => usable[random(usable.length)]?.(i) ?? '');
      const stored = complete(xml(devices.join(''), machine));
      expect(complete(formatDomain(stored, { inactive: true }))).toEqual(stored);
      const text = formatDomain(stored);
      const places = text.match(/<address type='(pci|usb)' [^>]*bus='[^>]*>/g) ?? [];
      const plain = places.map((place) => place.replace(" multifunction='on'", ''));
      expect(new Set(plain).size).toBe(plain.length);
    }
  });
});
