import { describe, expect, it } from 'vitest';
import { attribute, nestedAttribute, numberAttribute, textAttribute } from '../../../src/base/netlink.ts';
import { listHostInterfaces, parseInterface } from '../../../src/net/links/host-interfaces.ts';

/** A message of RTM_NEWLINK: struct ifinfomsg and attributes. */
function link(hardware: number, flags: number, ...attributes: Buffer[]): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt16LE(hardware, 2);
  header.writeInt32LE(9, 4);
  header.writeUInt32LE(flags, 8);
  return Buffer.concat([header, ...attributes]);
}

const mac = attribute(1, Buffer.from([2, 0, 0, 0, 0, 0xfe]));
const kind = (word: string, ...data: Buffer[]) =>
  nestedAttribute(18, [textAttribute(1, word), ...(data.length > 0 ? [nestedAttribute(2, data)] : [])]);

describe('an interface of the host', () => {
  it('is read with state, MTU, master and what is below', () => {
    const vlan = numberAttribute(1, 12, 2);
    const body = link(
      1,
      0x1,
      mac,
      textAttribute(3, 'eth0.12'),
      numberAttribute(4, 1400),
      numberAttribute(5, 2),
      numberAttribute(10, 3),
      numberAttribute(16, 6, 1),
      kind('vlan', vlan),
    );
    expect(parseInterface(body)).toEqual({
      index: 9,
      name: 'eth0.12',
      type: 'vlan',
      isUp: true,
      state: 'up',
      mac: '02:00:00:00:00:fe',
      mtu: 1400,
      masterIndex: 3,
      parentIndex: 2,
      vlanId: 12,
    });
  });

  it.each([
    [1, undefined, 'ethernet'],
    [772, undefined, 'loopback'],
    [1, 'tun', 'tap'],
    [0xfffe, 'tun', 'tun'],
    [1, 'macvtap', 'macvtap'],
    [1, 'bridge', 'bridge'],
    [0xfffe, undefined, 'other'],
  ])('of hardware %i and kind %s is of type %s', (hardware, word, type) => {
    const parsed = parseInterface(link(hardware, 0, ...(word === undefined ? [] : [kind(word)])));
    expect(parsed).toMatchObject({ type, isUp: false, state: 'unknown' });
  });

  it('has no parent that is in another namespace', () => {
    const parsed = parseInterface(link(1, 0, numberAttribute(5, 2), numberAttribute(37, 0)));
    expect(parsed.parentIndex).toBeUndefined();
  });
});

it('the interfaces of this host are listed without rights, loopback among them', () => {
  const loopback = listHostInterfaces().find(({ type }) => type === 'loopback');
  expect(loopback).toMatchObject({ name: 'lo', mac: undefined, master: undefined });
});
