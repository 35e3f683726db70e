import { expect, it } from 'vitest';
import { parseUserNetwork } from '../../../src/drivers/qemu/user-network.ts';

const heading = '  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n';
const answer = (...lines: string[]) =>
  `Hub -1 (hostnet0):\r\n${heading}${lines.map((line) => `  ${line}\r\n`).join('')}`;
const forward = 'TCP[HOST_FORWARD]   3       127.0.0.1 23222       10.0.2.15    22     0     0';

it.each([
  ['nothing', [], []],
  ['a forward, which is there before the guest is', [forward], []],
  [
    'a connection that the guest began',
    [forward, 'TCP[ESTABLISHED]   4       10.0.2.15 40000       192.0.2.1    80     0     0'],
    ['10.0.2.15'],
  ],
  [
    'a question to the name server',
    ['UDP[236 sec]        5       10.0.2.16 40000       10.0.2.3    53     0     0'],
    ['10.0.2.16'],
  ],
  [
    'a forwarded connection that the guest has not taken',
    [forward, 'TCP[SYN_SENT]       6       127.0.0.1 23222       10.0.2.15    22     0     0'],
    [],
  ],
  [
    'a forwarded connection that the guest has taken',
    [forward, 'TCP[ESTABLISHED]    6       127.0.0.1 23222       10.0.2.15    22     0     0'],
    ['10.0.2.15'],
  ],
  [
    'an IPv6 address read as IPv4',
    ['TCP[ESTABLISHED]    6         0.0.0.0  4000       10.0.2.15    22     0     0'],
    [],
  ],
  ['noise', ['TCP[', 'x y z', '[]  1 2 3 4'], []],
])('of %s the guest is read', (_what, lines, addresses) => {
  expect(parseUserNetwork(answer(...lines))).toEqual(
    addresses.map((address) => ({ alias: 'net0', address })),
  );
});

it('tells interfaces apart', () => {
  const line = 'UDP[236 sec]        5       10.0.2.15 40000       10.0.2.3    53     0     0';
  const text = answer(line) + answer(line.replace('10.0.2.15', '10.0.3.7')).replace('hostnet0', 'hostua-x');
  expect(parseUserNetwork(text)).toEqual([
    { alias: 'net0', address: '10.0.2.15' },
    { alias: 'ua-x', address: '10.0.3.7' },
  ]);
});
