/** Bandwidth limits as lines for tc. */
import { expect, it } from 'vitest';
import { bandwidthLines } from '../../../src/net/links/traffic-control.ts';

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
