/** What a guest's driver wants to receive: QEMU's answer, with the guest's wishes in it, made small and plain. */
import { describe, expect, it } from 'vitest';
import { receiveFilterOf } from '../../../src/drivers/qemu/receive-filter.ts';

type Answer = Parameters<typeof receiveFilterOf>[0];

/** QEMU's answer about a card that wants its own frames alone. */
const commandResult = (more: Partial<Answer>): Answer => ({
  name: 'net0',
  promiscuous: false,
  multicast: 'normal',
  'multicast-overflow': false,
  'unicast-overflow': false,
  'main-mac': '52:54:00:00:00:01',
  'unicast-table': [],
  'multicast-table': [],
  ...more,
});

describe('the receive filter of a card', () => {
  it('is its address and its groups', () => {
    const answer = commandResult({ 'multicast-table': ['33:33:00:00:00:FB', '52:54:00:00:00:07'] });
    expect(receiveFilterOf(answer)).toEqual({
      mac: '52:54:00:00:00:01',
      multicast: ['33:33:00:00:00:fb'],
      isAllMulticast: false,
      isPromiscuous: false,
    });
  });

  it.each([
    [{ promiscuous: true }, { isPromiscuous: true }],
    [{ 'unicast-table': ['52:54:00:00:00:08'] }, { isPromiscuous: true }],
    [{ 'unicast-overflow': true }, { isPromiscuous: true }],
    [{ multicast: 'all' as const }, { isAllMulticast: true, multicast: [] }],
    [{ multicast: 'none' as const, 'multicast-table': ['33:33:00:00:00:fb'] }, { multicast: [] }],
    [{ 'multicast-overflow': true }, { isAllMulticast: true }],
    [
      {
        'multicast-table': Array.from(
          { length: 200 },
          (_, i) => `33:33:00:00:00:${i.toString(16).padStart(2, '0')}`,
        ),
      },
      { isAllMulticast: true },
    ],
  ])('with %j is %j', (more, wanted) => {
    expect(receiveFilterOf(commandResult(more))).toMatchObject(wanted);
  });
});
