/** What SEV-SNP's firmware takes: fields of fixed lengths (AMD 56860, SNP_LAUNCH_START and SNP_LAUNCH_FINISH). */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';

/** Bytes behind the base64 text of each. */
const lengths = {
  guestVisibleWorkarounds: 16,
  idBlock: 96,
  idAuth: 4096,
  hostData: 32,
} as const;

export function launchSecurityProblems({ launchSecurity: security }: DomainDef): Problem[] {
  if (security?.type !== 'sev-snp') return [];
  const problems: Problem[] = [];
  for (const [name, bytes] of Object.entries(lengths) as [keyof typeof lengths, number][]) {
    const text = security[name];
    const found = text === undefined ? bytes : Buffer.from(text, 'base64').length;
    if (found !== bytes)
      problems.push({ path: `launchSecurity.${name}`, message: `has ${found} bytes; ${bytes} are needed` });
  }
  if ((security.idBlock === undefined) !== (security.idAuth === undefined))
    problems.push({
      path: 'launchSecurity.idAuth',
      message: 'goes with idBlock: both are given, or neither',
    });
  return problems;
}
