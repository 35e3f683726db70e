/** Methods around guests whose memory their host cannot read: attestation before the first instruction. */
import * as z from 'zod';
import { domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';
const base64 = z.base64().max(65_536);

export const domainLaunchSecurityMethods = [
  method({
    name: 'domain.launch-security',
    since,
    summary: 'Tells how the start of a guest with encrypted memory (AMD SEV) was measured.',
    description:
      "What the guest's owner needs to verify it: start it paused, compare the measurement (AMD's SEV API, LAUNCH_MEASURE), hand over a secret with `domain.set-launch-secret`, resume it.",
    access: 'query',
    params: () => z.strictObject({ domain: domainRef }),
    result: () =>
      z.object({
        kind: z
          .enum(['sev', 'sev-es', 'sev-snp'])
          .nullable()
          .describe('Null: the memory is open to the host; so are then all other members.'),
        state: z.string().nullable().describe("QEMU's word: `launch-secret` before it runs, `running`."),
        policy: z.int().nullable(),
        apiMajor: z.int().nullable(),
        apiMinor: z.int().nullable(),
        buildId: z.int().nullable(),
        measurement: z
          .string()
          .nullable()
          .describe('Base64; null for `sev-snp`, whose guests get reports from the processor themselves.'),
      }),
    errors: ['domain.not-found', 'domain.inactive', 'qmp.failed'],
  }),
  method({
    name: 'domain.set-launch-secret',
    since,
    summary: 'Puts a secret into the memory of a paused guest with AMD SEV or SEV-ES.',
    description:
      'Header and secret were made for this very guest from its measurement: to the host they are sealed. It must not have run yet.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        header: base64.describe('Packet header, base64.'),
        secret: base64.describe('Encrypted secret, base64.'),
        address: z
          .int()
          .min(0)
          .optional()
          .describe("Physical address in the guest; left out: where the guest's firmware wants it."),
      }),
    result: () => z.object({}),
    errors: [
      'domain.not-found',
      'domain.inactive',
      'domain.state',
      'domain.busy',
      'request.unsupported',
      'qmp.failed',
    ],
  }),
] as const;
