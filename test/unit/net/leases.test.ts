/** Lease files: what dnsmasq writes, and what a guest may have put into it. */
import { describe, expect, it } from 'vitest';
import { diffLeases, formatLeaseStatus, parseLeases, validLeases } from '../../../src/net/dnsmasq/leases.ts';
import { natPlan } from '../../support/net-lab/lab.ts';
import { random } from '../../support/random.ts';

const text = `1795293334 52:54:00:00:00:12 192.168.150.152 two 01:52:54:00:00:00:12
0 52:54:00:00:00:13 192.168.150.153 * *
duid 00:01:00:01:2c:aa:bb:cc:52:54:00:aa:bb:01
1795293400 4660 fd00::100 six 00:03:00:01:52:54:00:00:00:14
`;

describe('parseLeases', () => {
  it('reads both families', () => {
    expect(parseLeases(text, natPlan)).toEqual({
      serverDuid: '00:01:00:01:2c:aa:bb:cc:52:54:00:aa:bb:01',
      leases: [
        {
          family: 4,
          address: '192.168.150.152',
          prefix: 24,
          mac: '52:54:00:00:00:12',
          clientId: '01:52:54:00:00:00:12',
          hostName: 'two',
          expiresAt: 1795293334,
        },
        { family: 4, address: '192.168.150.153', prefix: 24, mac: '52:54:00:00:00:13' },
        {
          family: 6,
          address: 'fd00::100',
          prefix: 128,
          iaid: '4660',
          hostName: 'six',
          clientId: '00:03:00:01:52:54:00:00:00:14',
          expiresAt: 1795293400,
        },
      ],
    });
  });

  it('shows control characters of a guest as text', () => {
    const [lease] = parseLeases('1 52:54:00:00:00:12 10.0.0.1 a\u001b[2Jb *', natPlan).leases;
    expect(lease?.hostName).toBe('a\\x1b[2Jb');
  });

  it('takes every beginning of a file, and noise, for what it is', () => {
    for (let end = 0; end <= text.length; end++)
      expect(parseLeases(text.slice(0, end), natPlan).leases.length).toBeLessThanOrEqual(3);
    const next = random(7);
    for (let round = 0; round < 300; round++) {
      const noise = Array.from({ length: 80 }, () => String.fromCharCode(Math.floor(next() * 128)));
      expect(() => parseLeases(noise.join(''), natPlan)).not.toThrow();
    }
  });
});

describe('validLeases', () => {
  it('leaves out what has expired', () => {
    const { leases } = parseLeases(text, natPlan);
    expect(validLeases(leases, 1795293399_000).map(({ address }) => address)).toEqual([
      '192.168.150.153',
      'fd00::100',
    ]);
  });
});

describe('formatLeaseStatus', () => {
  it('has the keys that libnss_libvirt reads', () => {
    expect(JSON.parse(formatLeaseStatus(parseLeases(text, natPlan)))).toEqual([
      {
        'ip-address': '192.168.150.152',
        'mac-address': '52:54:00:00:00:12',
        hostname: 'two',
        'client-id': '01:52:54:00:00:00:12',
        'expiry-time': 1795293334,
      },
      { 'ip-address': '192.168.150.153', 'mac-address': '52:54:00:00:00:13', 'expiry-time': 0 },
      {
        iaid: '4660',
        'ip-address': 'fd00::100',
        hostname: 'six',
        'client-duid': '00:03:00:01:52:54:00:00:00:14',
        'server-duid': '00:01:00:01:2c:aa:bb:cc:52:54:00:aa:bb:01',
        'expiry-time': 1795293400,
      },
    ]);
  });
});

describe('diffLeases', () => {
  const { leases } = parseLeases(text, natPlan);
  const [two, three, six] = leases;
  if (two === undefined || three === undefined || six === undefined) throw new Error('three leases');

  it('tells what was added, renewed and removed', () => {
    expect(diffLeases([], [two])).toEqual([{ action: 'added', lease: two }]);
    expect(diffLeases([two, three], [two])).toEqual([{ action: 'removed', lease: three }]);
    const renewed = { ...six, expiresAt: 1795297000 };
    expect(diffLeases([six, two], [two, renewed])).toEqual([{ action: 'renewed', lease: renewed }]);
    const renamed = { ...two, hostName: 'zwei' };
    expect(diffLeases([two], [renamed])).toEqual([{ action: 'renewed', lease: renamed }]);
    expect(diffLeases(leases, leases)).toEqual([]);
  });

  it('takes an address that goes to another guest for two changes, the end of the first before the second', () => {
    const other = { ...two, mac: '52:54:00:00:00:99' };
    expect(diffLeases([two], [other])).toEqual([
      { action: 'removed', lease: two },
      { action: 'added', lease: other },
    ]);
  });
});
