/** Methods about secrets: passphrases and keys that definitions of disks and pools name by reference. */
import * as z from 'zod';
import { secretUsageTypes } from '../model/secret/secret.ts';
import { dropped, strict } from './documents.ts';
import { quarantined, xmlDocument } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

/** The longest value in base64: 65,536 bytes. */
const MAX_BASE64 = 87_384;

export const secretIdentity = z
  .object({
    uuid: z.guid(),
    usageType: z.enum(secretUsageTypes).nullable().describe('What kind of thing it is for.'),
    usage: z.string().nullable().describe('Which one: the name by which definitions refer to it.'),
  })
  .meta({ id: 'SecretIdentity', description: 'Names one secret.' });

export const secretRef = z.string().min(1).max(1100).meta({
  id: 'SecretRef',
  description:
    'Which secret: its uuid, or type and name of its usage (`ceph:client.admin`, `volume:/var/lib/a.img`).',
});

const secretSummary = z
  .object({
    ...secretIdentity.shape,
    description: z.string().nullable(),
    ephemeral: z.boolean().describe('Kept in memory only; gone with the daemon.'),
    private: z.boolean().describe('Its value is for guests and pools, and shown to nobody.'),
    hasValue: z.boolean(),
  })
  .meta({ id: 'SecretSummary', description: 'A secret, without its value.' });

const target = { secret: secretRef };
const changeErrors = ['secret.not-found', 'secret.busy', 'file.no-space'] as const;

export const secretMethods = [
  method({
    name: 'secret.list',
    since,
    summary: 'Lists the secrets, without their values.',
    description: 'Every filter that is given must hold.',
    access: 'query',
    params: () =>
      z.strictObject({
        ephemeral: z.boolean().optional().describe('Only secrets in memory, or only stored ones.'),
        private: z.boolean().optional().describe('Only private secrets, or only others.'),
      }),
    result: () => z.object({ secrets: z.array(secretSummary), quarantined: z.array(quarantined) }),
    errors: [],
  }),
  method({
    name: 'secret.get',
    since,
    summary: 'Shows one secret, without its value.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => secretSummary,
    errors: ['secret.not-found'],
  }),
  method({
    name: 'secret.xml',
    since,
    summary: "Gives the definition as libvirt's secret XML. It never holds the value.",
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ xml: z.string() }),
    errors: ['secret.not-found'],
  }),
  method({
    name: 'secret.define',
    since,
    summary: "Stores a definition from libvirt's secret XML.",
    description:
      'A uuid that is known means that secret, whose value stays; without uuid it is the one for the same use, or a new one. A private secret cannot be made public.',
    access: 'modify',
    params: () =>
      z.strictObject({
        xml: xmlDocument,
        strict,
      }),
    result: () =>
      z.object({
        secret: secretSummary,
        dropped,
      }),
    errors: [
      'xml.malformed',
      'xml.invalid',
      'secret.exists',
      'secret.private',
      'secret.busy',
      'file.no-space',
    ],
  }),
  method({
    name: 'secret.undefine',
    since,
    summary: 'Forgets a secret and its value. Running guests go on.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => secretIdentity,
    errors: changeErrors,
  }),
  method({
    name: 'secret.set-value',
    since,
    summary: 'Gives a secret its value, in place of the one it had.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        value: z
          .string()
          .max(MAX_BASE64)
          .regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, 'must be base64')
          .describe('In base64; at most 65,536 bytes.'),
      }),
    result: () => secretIdentity,
    errors: [...changeErrors, 'request.too-large'],
  }),
  method({
    name: 'secret.value',
    since,
    summary: 'Gives the value of a secret that is not private.',
    access: 'secret',
    params: () => z.strictObject(target),
    result: () => z.object({ value: z.string().describe('In base64.') }),
    errors: ['secret.not-found', 'secret.private', 'secret.no-value'],
  }),
] as const;
