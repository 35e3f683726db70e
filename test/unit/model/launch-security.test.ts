/** `<launchSecurity>`: what is read, what is printed, and what is wrong with it. */
import { describe, expect, it } from 'vitest';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { sevKind } from '../../../src/model/domain/launch-security.ts';
import { launchSecurityProblems } from '../../../src/model/domain/validate/launch-security.ts';

const bytes = (count: number): string => Buffer.alloc(count, 7).toString('base64');

function parsed(security: string) {
  const xml = `<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>${security}</domain>`;
  return parseDomain(xml, { mode: 'strict' }).definition;
}

/** The element as it is printed. */
const printed = (security: string): string =>
  /<launchSecurity.*<\/launchSecurity>/s.exec(formatDomain(parsed(security)))?.[0] ?? '';

const sev = (policy: string): string =>
  `<launchSecurity type='sev'><policy>${policy}</policy></launchSecurity>`;

describe('AMD SEV', () => {
  it.each([
    ['0x0001', '0x0001'],
    ['1', '0x0001'],
    // Base 16 with or without 0x, as libvirt reads it.
    ['10', '0x0010'],
    ['0X3f', '0x003f'],
    ['ffffffff', '0xffffffff'],
  ])('reads the policy %s in base 16', (given, told) => {
    expect(printed(sev(given))).toContain(`<policy>${told}</policy>`);
  });

  it.each(['', '0x', '1ffffffff', '-1', '0x1g'])('refuses the policy "%s"', (given) => {
    expect(() => parsed(sev(given))).toThrow(/launchSecurity\.policy/);
  });

  it('is of three generations', () => {
    expect(sevKind(parsed(sev('0x0001')).launchSecurity)).toBe('sev');
    expect(sevKind(parsed(sev('0x0005')).launchSecurity)).toBe('sev-es');
    expect(sevKind(parsed(snp('')).launchSecurity)).toBe('sev-snp');
    expect(sevKind(parsed(`<launchSecurity type='s390-pv'/>`).launchSecurity)).toBeUndefined();
    expect(sevKind(parsed('').launchSecurity)).toBeUndefined();
  });
});

const snp = (parts: string): string =>
  `<launchSecurity type='sev-snp'><policy>0x00030000</policy>${parts}</launchSecurity>`;

describe('SEV-SNP', () => {
  it('is printed as it was read', () => {
    const whole = `<launchSecurity type='sev-snp' kernelHashes='yes' authorKey='yes' vcek='no'>
    <cbitpos>51</cbitpos>
    <reducedPhysBits>1</reducedPhysBits>
    <policy>0x00030000</policy>
    <guestVisibleWorkarounds>${bytes(16)}</guestVisibleWorkarounds>
    <idBlock>${bytes(96)}</idBlock>
    <idAuth>${bytes(4096)}</idAuth>
    <hostData>${bytes(32)}</hostData>
  </launchSecurity>`;
    expect(printed(whole)).toBe(whole);
    expect(launchSecurityProblems(parsed(whole))).toEqual([]);
  });

  it.each([
    ['guestVisibleWorkarounds', 16],
    ['hostData', 32],
  ])('has a %s of %i bytes', (name, length) => {
    const wrong = snp(`<${name}>${bytes(length - 1)}</${name}>`);
    expect(launchSecurityProblems(parsed(wrong))).toEqual([
      { path: `launchSecurity.${name}`, message: `has ${length - 1} bytes; ${length} are needed` },
    ]);
  });

  it('has an identity that is signed, or none', () => {
    expect(launchSecurityProblems(parsed(snp(`<idBlock>${bytes(96)}</idBlock>`)))).toMatchObject([
      { path: 'launchSecurity.idAuth' },
    ]);
  });
});
