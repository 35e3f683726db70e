/** Methods that make clones of domains, and the templates that linked ones lie on. */
import * as z from 'zod';
import { domainIdentity, domainRef, domainSummary, newDomainName } from './domain-objects.ts';
import { method } from './method.ts';

export const domainCloneMethods = [
  method({
    name: 'domain.clone',
    since: '0.1.0',
    summary: 'Makes a domain like another one, with disks of its own.',
    description:
      'The source must be shut off. The clone has another uuid, generation id, MACs, names of disks and log files, and a copy of the firmware variables; its TPM starts empty unless it is to be copied. Disks that the source writes to are copied, or with `linked`, for a template, get an image on top; media and read-only or shared disks are used by both. Copies are jobs of their volumes. What is inside the guest (host name, machine id, SSH keys) is the same: prepare it before. When anything fails, nothing is left.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        name: newDomainName.describe('Name of the clone.'),
        linked: z
          .boolean()
          .optional()
          .describe(
            'Store only what differs from the template. Left out: so for templates, a full copy else.',
          ),
        pool: z
          .string()
          .min(1)
          .max(255)
          .optional()
          .describe("Pool for its disks; left out: where the source's are."),
        tpm: z
          .enum(['new', 'copy'])
          .default('new')
          .describe(
            "What its emulated TPM begins with: nothing (`new`), or a copy of the source's with all its keys (`copy`), for disks that only they open. Two domains with the same keys are one to whoever trusts them.",
          ),
        start: z.boolean().default(false).describe('Start it.'),
      }),
    result: () =>
      z.object({
        domain: domainSummary,
        linked: z.boolean(),
        disks: z.array(
          z.object({ target: z.string(), pool: z.string(), volume: z.string(), path: z.string() }),
        ),
        warnings: z.array(z.string()),
      }),
    errors: [
      'domain.not-found',
      'domain.active',
      'domain.transient',
      'domain.exists',
      'domain.state',
      'domain.busy',
      'definition.unsupported',
      'request.invalid',
      'pool.not-found',
      'pool.inactive',
      'volume.in-use',
      'volume.busy',
      'volume.exists',
      'file.no-space',
      'file.failed',
      'domain.start-failed',
    ],
  }),
  method({
    name: 'template.set',
    since: '0.1.0',
    summary: 'Makes a domain a template, or a domain like others again.',
    description:
      'A template does not start, so that its disks stay as they are below its linked clones. One that has such clones stays a template.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        template: z.boolean().default(true).describe('False: it is none any more.'),
      }),
    result: () => domainSummary,
    errors: [
      'domain.not-found',
      'domain.active',
      'domain.transient',
      'domain.busy',
      'saved-state.exists',
      'volume.in-use',
    ],
  }),
  method({
    name: 'template.list',
    since: '0.1.0',
    summary: 'Lists templates, with what lies on their disks.',
    access: 'query',
    params: () => z.strictObject({}),
    result: () =>
      z.object({
        templates: z.array(
          z.object({
            domain: domainIdentity,
            disks: z.array(z.string()).describe('Paths of its disks that are volumes.'),
            instances: z.array(z.string()).describe('Domains whose disks lie on them.'),
          }),
        ),
      }),
    errors: ['file.failed'],
  }),
] as const;
