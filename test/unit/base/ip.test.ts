/** IP addresses: text both ways, subnets, counting. */
import { describe, expect, it } from 'vitest';
import {
  contains,
  countOf,
  formatIp,
  formatSubnet,
  type IpAddress,
  lastOf,
  offsetIp,
  overlaps,
  parseIp,
  parseSubnet,
  prefixOfMask,
} from '../../../src/base/ip.ts';

const ip = (text: string): IpAddress => {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
};
const subnet = (text: string) => {
  const found = parseSubnet(text);
  if (found === undefined) throw new Error(`${text} is no subnet`);
  return found;
};

describe('an address', () => {
  it.each([
    ['192.168.122.1', '192.168.122.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0::0:1', 'fd00::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ])('%s is printed as %s', (text, canonical) => {
    expect(formatIp(ip(text))).toBe(canonical);
  });

  it.each([
    ...['', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.4 ', '1.2.3.-4', '0x1.2.3.4'],
    ...[':', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '12345::', 'fe80::1%eth0', '::1.2.3'],
    ...['1:2:3:4:5:6:7:8::', '::1\n', ':1:2:3:4:5:6:7', '1.2.3.4::', 'g::', 'a'.repeat(60)],
  ])('%j is none', (text) => {
    expect(parseIp(text)).toBeUndefined();
  });

  it('is counted over byte borders', () => {
    expect(formatIp(offsetIp(ip('192.168.1.250'), 10))).toBe('192.168.2.4');
    expect(formatIp(offsetIp(ip('fd00::ffff'), 1))).toBe('fd00::1:0');
    expect(countOf(ip('192.168.122.2'), ip('192.168.122.254'))).toBe(253);
    expect(countOf(ip('10.0.0.250'), ip('10.0.1.4'))).toBe(11);
    expect(countOf(ip('fd00::1'), ip('fd00::1'))).toBe(1);
    expect(countOf(ip('10.0.0.9'), ip('10.0.0.2'))).toBeLessThan(1);
  });
});

describe('a subnet', () => {
  it('has a first and a last address', () => {
    expect(formatSubnet(subnet('192.168.122.77/23'))).toBe('192.168.122.0/23');
    expect(formatIp(lastOf(subnet('192.168.122.77/23')))).toBe('192.168.123.255');
    expect(formatIp(lastOf(subnet('fd00::/64')))).toBe('fd00::ffff:ffff:ffff:ffff');
  });

  it('contains its own addresses, and overlaps with what shares one', () => {
    expect(contains(subnet('10.1.0.0/16'), ip('10.1.255.255'))).toBe(true);
    expect(contains(subnet('10.1.0.0/16'), ip('10.2.0.0'))).toBe(false);
    expect(contains(subnet('0.0.0.0/0'), ip('::1'))).toBe(false);
    expect(overlaps(subnet('10.0.0.0/8'), subnet('10.200.0.0/30'))).toBe(true);
    expect(overlaps(subnet('192.168.122.0/25'), subnet('192.168.122.128/25'))).toBe(false);
  });

  it.each([
    ['255.255.255.0', 24],
    ['0.0.0.0', 0],
    ['255.255.255.255', 32],
    ['255.0.255.0', undefined],
    ['0.255.0.0', undefined],
  ])('mask %s has prefix %s', (mask, prefix) => {
    expect(prefixOfMask(ip(mask))).toBe(prefix);
  });

  it.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0/8/8', '/8'])(
    '%j is none',
    (text) => {
      expect(parseSubnet(text)).toBeUndefined();
    },
  );
});
