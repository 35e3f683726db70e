import { describe, expect, it } from 'vitest';
import { completeAliases } from '../../../src/model/domain/aliases.ts';
import {
  addDevice,
  allDevices,
  formatDevices,
  parseDevice,
  parseDevices,
  removeDevice,
} from '../../../src/model/domain/device-list.ts';
import { findByWord, findLike } from '../../../src/model/domain/device-match.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';

const nic = (mac: string, more = '') =>
  `<interface type='user'><mac address='${mac}'/><model type='virtio'/>${more}</interface>`;
const rng = "<rng model='virtio'><backend model='builtin'/><alias name='ua-r'/></rng>";
const domain = completeAliases(
  parseDomain(
    `<domain type='qemu'><name>d</name><memory>65536</memory><os><type machine='pc'>hvm</type></os><devices>
      <disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>
      <disk type='file'><source file='/b'/><target dev='vdb' bus='virtio'/></disk>
      ${nic('52:54:00:00:00:01')}${nic('52:54:00:00:00:02')}${rng}
      <hostdev type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>
    </devices></domain>`,
    { mode: 'strict' },
  ).definition,
);
const device = (xml: string) => parseDevice(xml, { mode: 'strict' });
const aliasOf = (one: { readonly device: object }) => (one.device as { alias?: string }).alias;

describe('one device', () => {
  it('is read by its element, and what is none is refused by name', () => {
    expect(device(rng)).toMatchObject({ family: 'rngs', element: 'rng' });
    expect(device("<vsock model='virtio'><cid auto='yes'/></vsock>")).toMatchObject({ family: 'vsock' });
    expect(() => device('<disc/>')).toThrow(expect.objectContaining({ code: 'definition.unsupported' }));
    expect(() => device('<emulator/>')).toThrow(expect.objectContaining({ code: 'definition.unsupported' }));
  });

  it('comes and goes, one of a kind only once', () => {
    const vsock = device("<vsock model='virtio'/>");
    const more = addDevice(domain, vsock);
    expect(() => addDevice(more, vsock)).toThrow(expect.objectContaining({ code: 'definition.unsupported' }));
    expect(removeDevice(more, vsock)).toEqual({
      ...domain,
      devices: { ...domain.devices, vsock: undefined },
    });
  });

  it('written and read again is the same, its alias included', () => {
    const parts = allDevices(domain.devices).filter(({ family }) => family !== 'memballoon');
    expect(parseDevices(formatDevices(parts))).toEqual(parts);
  });
});

describe('the device that is meant', () => {
  it('is found by target, MAC address, alias, or by what it is', () => {
    expect(
      aliasOf(findLike(domain, device("<disk type='file'><source file='/x'/><target dev='vdb'/></disk>"))),
    ).toBe('virtio-disk1');
    expect(aliasOf(findLike(domain, device(nic('52:54:00:00:00:02'))))).toBe('net1');
    expect(aliasOf(findLike(domain, device("<rng model='virtio'><backend model='builtin'/></rng>")))).toBe(
      'ua-r',
    );
    expect(
      aliasOf(
        findLike(
          domain,
          device("<hostdev type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>"),
        ),
      ),
    ).toBe('hostdev0');
    for (const [word, alias] of [
      ['vda', 'virtio-disk0'],
      ['52:54:00:00:00:01', 'net0'],
      ['net1', 'net1'],
      ['ua-r', 'ua-r'],
    ])
      expect(aliasOf(findByWord(domain, word as string))).toBe(alias);
  });

  it('is refused when nothing fits, or more than one does', () => {
    const missing = expect.objectContaining({ code: 'domain.no-device' });
    expect(() => findLike(domain, device(nic('52:54:00:00:00:03')))).toThrow(missing);
    expect(() => findLike(domain, device("<interface type='user'/>"))).toThrow(/2 of its devices fit/);
    expect(() => findLike(domain, device("<rng model='virtio'><backend model='random'/></rng>"))).toThrow(
      missing,
    );
    expect(() => findByWord(domain, 'vdz')).toThrow(missing);
  });
});

describe('aliases of a running guest', () => {
  it('stay with their devices, and new ones are free', () => {
    const [, second] = domain.devices.interfaces;
    const { alias: _alias, ...fresh } = second as NonNullable<typeof second>;
    const interfaces = second === undefined ? [] : [second, fresh];
    const { devices } = completeAliases({ ...domain, devices: { ...domain.devices, interfaces } });
    expect(devices.interfaces.map(({ alias }) => alias)).toEqual(['net1', 'net0']);
  });
});
