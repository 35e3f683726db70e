/** Names of certificates against the list of those that are let in. */
import { describe, expect, it } from 'vitest';
import { distinguishedNames, isAllowed } from '../../../src/daemon/frontends/libvirt/tls.ts';

describe('names of TLS clients', () => {
  it('are read in both orders that people write them in', () => {
    expect(distinguishedNames({ subject: 'C=GB\nO=Example\nCN=ann' })).toEqual([
      'CN=ann,O=Example,C=GB',
      'C=GB,O=Example,CN=ann',
    ]);
    expect(distinguishedNames({ subject: '' })).toEqual(['', '']);
  });

  it.each([
    ['CN=ann,O=Example', 'CN=ann,O=Example', true],
    ['CN=ann,O=Example', 'CN=*,O=Example', true],
    ['CN=ann,O=Example', '*', true],
    ['CN=ann,O=Example', 'CN=ann', false],
    ['CN=joann,O=Example', 'CN=ann,O=Example', false],
    ['CN=ann,O=Example,C=GB', 'CN=ann,O=Example', false],
    ['CN=a.n,O=Example', 'CN=a.n,O=Example', true],
    ['CN=axn,O=Example', 'CN=a.n,O=Example', false],
    ['CN=ann', 'CN=(ann', false],
    ['CN=[a]', 'CN=[a]', true],
  ])('%s against %s is %s', (name, pattern, expected) => {
    expect(isAllowed(name, [pattern])).toBe(expected);
  });

  it('fit nothing when the list is empty', () => {
    expect(isAllowed('CN=ann', [])).toBe(false);
  });
});
