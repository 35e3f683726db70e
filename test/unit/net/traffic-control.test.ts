/** Bandwidth limits as lines for tc; groups that a device receives. */
import { expect, it } from 'vitest';
import { groupsOf } from '../../../src/net/links/receive-filter.ts';
import { bandwidthLines, linesAgain, macvtapBandwidthLines } from '../../../src/net/links/traffic-control.ts';

it('shapes what goes to guests and polices what comes from them', () => {
  const lines = bandwidthLines('virbr0', {
    inbound: { averageKBps: 1000, peakKBps: 5000, burstKiB: 1024 },
    outbound: { averageKBps: 128 },
  });
  expect(lines).toEqual([
    'qdisc replace dev virbr0 root handle 1: htb default 1',
    'class replace dev virbr0 parent 1: classid 1:1 htb rate 1000kbps ceil 5000kbps burst 1024kb',
    'qdisc replace dev virbr0 clsact',
    'filter replace dev virbr0 ingress protocol all prio 1 handle 1 matchall action police rate 128kbps burst 128kb mtu 64kb drop',
  ]);
});

it('leaves the shaper that is there, and takes the policer away before the new one', () => {
  const lines = bandwidthLines('virbr0', { inbound: { averageKBps: 10 }, outbound: { averageKBps: 20 } });
  const [root, shape, place, police] = lines;
  expect(linesAgain('virbr0', lines, { isShaped: false, isPoliced: false })).toEqual(lines);
  expect(linesAgain('virbr0', lines, { isShaped: true, isPoliced: false })).toEqual([shape, place, police]);
  const remove = 'filter del dev virbr0 ingress prio 1';
  expect(linesAgain('virbr0', lines, { isShaped: false, isPoliced: true })).toEqual([
    ...[root, shape, place],
    ...[remove, police],
  ]);
});

it('turns the directions round for a macvtap, which looks the way of its guest', () => {
  expect(
    macvtapBandwidthLines('macvtap0', { inbound: { averageKBps: 10 }, outbound: { averageKBps: 20 } }),
  ).toEqual([
    'qdisc replace dev macvtap0 root handle 1: htb default 1',
    'class replace dev macvtap0 parent 1: classid 1:1 htb rate 20kbps',
    'qdisc replace dev macvtap0 clsact',
    'filter replace dev macvtap0 ingress protocol all prio 1 handle 1 matchall action police rate 10kbps burst 64kb mtu 64kb drop',
  ]);
});

it('tells groups that were joined by hand from those of the kernel', () => {
  const text = [
    '5    macvtap0        2     0     01005e000001',
    '6    macvtap1        2     0     01005e000001',
    '6    macvtap1        2     1     3333ffa3d13c',
    '',
  ].join('\n');
  expect([...groupsOf(text, 'macvtap1')]).toEqual([
    ['01:00:5e:00:00:01', false],
    ['33:33:ff:a3:d1:3c', true],
  ]);
});
