/** dnsmasq's file syntax: what is written is what is read, and nothing else gets in. */
import { describe, expect, it } from 'vitest';
import { formatDnsmasq, parseDnsmasq } from '../../../src/net/dnsmasq/config-file.ts';

const txt = (value: string) => [{ key: 'txt-record' as const, parts: ['name', value] }];

describe('formatDnsmasq', () => {
  it.each([
    'plain',
    'with, comma',
    'a "quote" and a \\ backslash',
    '# no comment',
    'a #b',
    ' spaces around ',
    'dhcp-script=/bin/sh',
    '',
    'ümläut',
  ])('keeps the value %j', (value) => {
    const text = formatDnsmasq(txt(value));
    expect(parseDnsmasq(text)).toEqual(txt(value));
    expect(text.split('\n')).toHaveLength(4);
  });

  it.each(['a\ndhcp-script=/bin/sh', 'a\rb', 'a\0b', 'a\u0085b', 'a\u2028b', '\u007f'])(
    'refuses the value %j',
    (value) => {
      expect(() => formatDnsmasq(txt(value))).toThrow(/control character/);
    },
  );

  it('refuses a line that dnsmasq would read as two', () => {
    expect(() => formatDnsmasq(txt('x'.repeat(1100)))).toThrow(/longer than 1023 bytes/);
    expect(() => formatDnsmasq(txt('ü'.repeat(600)))).toThrow(/longer than 1023 bytes/);
  });

  it('checks what an administrator lets through, too', () => {
    expect(formatDnsmasq([], ['cname=a,b'])).toMatch(/\ncname=a,b\n$/);
    expect(() => formatDnsmasq([], ['a=b\nc=d'])).toThrow(/control character/);
  });
});

describe('parseDnsmasq', () => {
  it('knows the keys that are written here, and no others', () => {
    expect(() => parseDnsmasq('dhcp-script=/bin/sh')).toThrow(/none of the keys/);
    expect(() => parseDnsmasq('conf-file=/x')).toThrow(/none of the keys/);
  });

  it('refuses a quote that is not closed', () => {
    expect(() => parseDnsmasq('txt-record=a,"b')).toThrow(/not closed/);
  });
});
