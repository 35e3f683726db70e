/**
 * `<launchSecurity>`: guests whose memory their host cannot read (libvirt docs, formatdomain, Launch Security). AMD SEV,
 * SEV-ES (bit 2 of SEV's policy) and SEV-SNP; s390-pv is mapped, and refused by the driver.
 */
import {
  attr,
  BadValue,
  child,
  childText,
  type Infer,
  object,
  required,
  type Scalar,
  variants,
} from '../../base/xml/codec.ts';
import { matching, uint, yesNo } from '../../base/xml/scalars.ts';

const uint32 = uint({ max: 2 ** 32 - 1 });
const base64 = matching(/^[A-Za-z0-9+/=\s]{1,65536}$/, 'base64 text');

/** A number that is written in base 16 with or without `0x`, as libvirt reads a policy: `10` is sixteen. */
function policyOf(digits: number, maxDigits: number): Scalar<number> {
  const shape = new RegExp(`^(0[xX])?0*([0-9a-fA-F]{1,${maxDigits}})$`);
  return {
    parse(text) {
      const match = shape.exec(text);
      if (match === null) throw new BadValue(`'${text.slice(0, 40)}' is no policy: hexadecimal, 0x0001`);
      return Number.parseInt(match[2] ?? '', 16);
    },
    format: (value) => `0x${value.toString(16).padStart(digits, '0')}`,
  };
}

/** What both kinds have; where the encryption bit is and what it takes are the processor's, and filled in at the start. */
const common = {
  kernelHashes: attr('kernelHashes', yesNo),
  cbitpos: childText('cbitpos', uint32),
  reducedPhysBits: childText('reducedPhysBits', uint32),
};

const sev = object({
  ...common,
  policy: required(childText('policy', policyOf(4, 8)), 'policy'),
  handle: childText('handle', uint32),
  dhCert: childText('dhCert', base64),
  session: childText('session', base64),
});

/** The policy has 64 bits, of which those above 25 must be zero (AMD 56860, SEV-SNP ABI: guest policy): 13 digits will do. */
const sevSnp = object({
  kernelHashes: common.kernelHashes,
  authorKey: attr('authorKey', yesNo),
  vcek: attr('vcek', yesNo),
  cbitpos: common.cbitpos,
  reducedPhysBits: common.reducedPhysBits,
  policy: required(childText('policy', policyOf(8, 13)), 'policy'),
  guestVisibleWorkarounds: childText('guestVisibleWorkarounds', base64),
  idBlock: childText('idBlock', base64),
  idAuth: childText('idAuth', base64),
  hostData: childText('hostData', base64),
});

const launchSecurityCodec = variants('type', { sev, 'sev-snp': sevSnp, 's390-pv': object({}) });

export type LaunchSecurity = Infer<typeof launchSecurityCodec>;
/** The kinds of AMD. */
export type SevSecurity = Extract<LaunchSecurity, { readonly type: 'sev' | 'sev-snp' }>;

export const launchSecurity = child('launchSecurity', launchSecurityCodec);

/** Bit 2 of SEV's policy: registers are encrypted too (AMD 55766, SEV API: guest policy, ES). */
const POLICY_ES = 4;

export type SevKind = 'sev' | 'sev-es' | 'sev-snp';

/** Which of AMD's three generations a definition asks for; undefined for none of them. */
export function sevKind(security: LaunchSecurity | undefined): SevKind | undefined {
  if (security?.type === 'sev-snp') return 'sev-snp';
  if (security?.type !== 'sev') return undefined;
  return (security.policy & POLICY_ES) === 0 ? 'sev' : 'sev-es';
}
