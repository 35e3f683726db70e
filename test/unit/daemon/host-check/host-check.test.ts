/** The check of the host as a whole: all of it passes on a healthy one. What each part tells of is beside this file. */
import { describe, expect, it } from 'vitest';
import { findVersion, installHint, isAtLeast } from '../../../../src/daemon/host-check/check.ts';
import { runChecks } from '../../../../src/daemon/host-check/host-check.ts';
import { recordedFiles } from '../../../support/recorded-files.ts';
import { check, contextOf } from './healthy-host.ts';

describe('a healthy host', () => {
  it('passes every check', async () => {
    const checks = await runChecks(contextOf({}));
    expect(checks.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
  });

  it('shows versions', async () => {
    expect((await check('qemu')).detail).toBe('/usr/bin/qemu-system-x86_64 7.2.22');
    expect((await check('dnsmasq')).detail).toBe('/usr/bin/dnsmasq 2.90');
  });
});

describe('helpers', () => {
  it('compares versions by their numbers', () => {
    expect(isAtLeast('10.0.13', '6.2')).toBe(true);
    expect(isAtLeast('6.2', '6.2')).toBe(true);
    expect(isAtLeast('6.1.9', '6.2')).toBe(false);
  });

  it('finds a version among words', () => {
    expect(findVersion('swtpm version 0.7.1, Copyright')).toBe('0.7.1');
    expect(findVersion('nothing')).toBeUndefined();
  });

  it('names a command only where it is sure of it', () => {
    const files = recordedFiles({ files: { '/etc/os-release': 'ID=fedora\n' } });
    expect(installHint(files, 'swtpm')).toContain("Debian's 'swtpm'");
    const ubuntu = recordedFiles({ files: { '/etc/os-release': 'ID=ubuntu\nID_LIKE=debian\n' } });
    expect(installHint(ubuntu, 'swtpm')).toBe('apt-get install swtpm');
  });
});

it('tells that doors without a lock are a problem, and where they are', async () => {
  const checks = await runChecks(contextOf({ context: { unprotectedAddresses: ['10.0.0.1:16509'] } }));
  const found = checks.find(({ id }) => id === 'tcp-without-protection');
  expect(found?.status).toBe('problem');
  expect(found?.detail).toContain('whoever reaches 10.0.0.1:16509 by qemu+tcp:// may do what root may');
});
