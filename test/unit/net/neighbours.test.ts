import { describe, expect, it } from 'vitest';
import { attribute } from '../../../src/base/netlink.ts';
import { parseNeighbour } from '../../../src/net/links/neighbours.ts';

const reachable = 0x02;

function entry(options: { family?: number; state?: number; address?: number[]; mac?: number[] }): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt8(options.family ?? 2, 0);
  header.writeInt32LE(7, 4);
  header.writeUInt16LE(options.state ?? reachable, 8);
  const info = Buffer.alloc(16);
  info.writeUInt32LE(150, 0);
  return Buffer.concat([
    header,
    attribute(1, Buffer.from(options.address ?? [192, 168, 122, 9])),
    ...(options.mac === undefined ? [] : [attribute(2, Buffer.from(options.mac))]),
    attribute(3, info),
  ]);
}

const mac = [0x52, 0x54, 0, 1, 2, 0xab];

describe('a neighbour', () => {
  it('is read with its link and how long ago it answered', () => {
    expect(parseNeighbour(entry({ mac }))).toEqual([
      { family: 4, address: '192.168.122.9', mac: '52:54:00:01:02:ab', linkIndex: 7, confirmedAgoMs: 1500 },
    ]);
    const six = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    expect(parseNeighbour(entry({ family: 10, address: six, mac }))[0]?.address).toBe('fe80::1');
  });

  it.each([
    ['that nobody answered to', entry({ mac, state: 0x20 })],
    ['that is being asked for', entry({ state: 0x01 })],
    ['for multicast', entry({ mac, state: 0x40 })],
    ['without hardware', entry({})],
    ['of a bridge', entry({ mac, family: 7 })],
    ['with an address of the wrong length', entry({ mac, address: [1, 2, 3] })],
    ['that is cut off', entry({ mac }).subarray(0, 14)],
    ['that is empty', Buffer.alloc(0)],
  ])('%s is left out', (_what, body) => {
    expect(parseNeighbour(body)).toEqual([]);
  });
});
