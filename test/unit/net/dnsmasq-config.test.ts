/** dnsmasq's files out of plans: the parts that golden cases can't hold. */
import { describe, expect, it } from 'vitest';
import {
  buildDnsmasqConfig,
  buildHostsFile,
  buildNamesFile,
  needsDnsmasq,
  reverseZone,
} from '../../../src/net/dnsmasq/config.ts';
import { natPlan } from '../../support/net-lab/lab.ts';

describe('the host files', () => {
  it.each(['a\nb', 'a,b', 'a b', 'a#b', ''])('refuse the name %j', (name) => {
    const plan = { ...natPlan, dns: { ...natPlan.dns, hosts: [{ address: '10.0.0.1', names: [name] }] } };
    expect(() => buildNamesFile(plan)).toThrow(/cannot be written/);
    const [subnet] = natPlan.subnets;
    const dhcp = { ranges: [], hosts: [{ mac: '52:54:00:00:00:01', name }] };
    expect(() => buildHostsFile({ ...natPlan, subnets: subnet ? [{ ...subnet, dhcp }] : [] })).toThrow(
      /cannot be written/,
    );
  });
});

describe('a directory that dnsmasq cannot enter', () => {
  it('puts reservations and names into the configuration', () => {
    const files = { config: '/c', hosts: '/h', names: '/n', leases: '/l', pid: '/p', isShared: false };
    const lines = buildDnsmasqConfig(natPlan, files, 'nobody').map(({ key, parts }) =>
      [key, ...parts].join(' '),
    );
    expect(lines).toContain('dhcp-host 52:54:00:00:00:11 192.168.150.11 reserved');
    expect(lines).toContain('host-record gateway gateway.lab.test 192.168.150.1');
    expect(lines.join()).not.toMatch(/dhcp-hostsfile|addn-hosts/);
  });
});

describe('reverseZone', () => {
  it('is cut to whole labels', () => {
    expect(reverseZone({ family: 4, address: '192.168.122.1', prefix: 24 })).toBe('122.168.192.in-addr.arpa');
    expect(reverseZone({ family: 4, address: '10.20.30.1', prefix: 20 })).toBe('20.10.in-addr.arpa');
    expect(reverseZone({ family: 6, address: 'fd00:1::1', prefix: 32 })).toBe('1.0.0.0.0.0.d.f.ip6.arpa');
  });
});

describe('needsDnsmasq', () => {
  it('is for networks that serve something', () => {
    const silent = { ...natPlan.dns, isEnabled: false };
    const [subnet] = natPlan.subnets;
    const bare = subnet
      ? [{ family: 4 as const, address: subnet.address, prefix: 24, isLocalPtr: false }]
      : [];
    expect(needsDnsmasq(natPlan)).toBe(true);
    expect(needsDnsmasq({ ...natPlan, subnets: [] })).toBe(false);
    expect(needsDnsmasq({ ...natPlan, dns: silent, subnets: bare })).toBe(false);
    expect(needsDnsmasq({ ...natPlan, subnets: bare })).toBe(true);
  });
});
