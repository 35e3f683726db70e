/** Methods that look at domains. */
import * as z from 'zod';
import {
  domainDetails,
  domainRef,
  domainState,
  domainSummary,
  job,
  portForward,
  quarantined,
} from './domain-objects.ts';
import { method } from './method.ts';

const target = { domain: domainRef };

export const domainQueries = [
  method({
    name: 'domain.list',
    since: '0.1.0',
    summary: 'Lists the domains, by name.',
    description: 'Every filter that is given must hold. Definitions that could not be read are named too.',
    access: 'query',
    params: z.strictObject({
      active: z.boolean().optional().describe('Only domains that run, or only those that do not.'),
      persistent: z.boolean().optional().describe('Only domains with a stored definition, or without.'),
      autostart: z.boolean().optional().describe('Only domains that start with the daemon, or do not.'),
      state: domainState.optional().describe('Only domains in this state.'),
    }),
    result: z.object({ domains: z.array(domainSummary), quarantined: z.array(quarantined) }),
    errors: [],
  }),
  method({
    name: 'domain.get',
    since: '0.1.0',
    summary: 'Shows one domain in detail.',
    description: 'Never waits for a job; a running domain is described as it runs.',
    access: 'query',
    params: z.strictObject(target),
    result: domainDetails,
    errors: ['domain.not-found', 'domain.quarantined'],
  }),
  method({
    name: 'domain.xml',
    since: '0.1.0',
    summary: "Gives the definition as libvirt's domain XML.",
    access: 'query',
    raises: { secure: 'secret' },
    params: z.strictObject({
      ...target,
      inactive: z.boolean().default(false).describe('The stored definition, not the running one.'),
      secure: z.boolean().default(false).describe('With passwords. Needs a read-write connection.'),
      migratable: z.boolean().default(false).describe('In the form another host takes for a migration.'),
    }),
    result: z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'domain.quarantined', 'access.read-only'],
  }),
  method({
    name: 'domain.log',
    since: '0.1.0',
    summary: "Gives the end of QEMU's own log of a domain, or of what its serial console printed.",
    access: 'query',
    params: z.strictObject({
      ...target,
      source: z
        .enum(['qemu', 'console'])
        .default('qemu')
        .describe(
          '`qemu`: messages of QEMU itself. `console`: output of the first serial device that has a log file.',
        ),
      maxBytes: z
        .int()
        .min(1)
        .max(2 * 1024 * 1024)
        .default(65_536)
        .describe('At most this many bytes from the end.'),
    }),
    result: z.object({ text: z.string() }),
    errors: ['domain.not-found', 'domain.no-device', 'file.failed'],
  }),
  method({
    name: 'domain.wait',
    since: '0.1.0',
    summary: 'Waits until a domain is in a state.',
    description:
      'Returns at once when it is. A domain that disappears while waiting ends the wait with `domain.not-found`.',
    access: 'query',
    params: z.strictObject({
      ...target,
      until: domainState.describe('The state waited for.'),
      timeoutMs: z
        .int()
        .min(0)
        .max(86_400_000)
        .default(60_000)
        .describe('How long at most, in milliseconds.'),
    }),
    result: domainSummary,
    errors: ['domain.not-found', 'operation.timeout'],
  }),
  method({
    name: 'domain.job',
    since: '0.1.0',
    summary: 'Tells which job holds a domain now.',
    access: 'query',
    params: z.strictObject(target),
    result: z.object({ job: job.nullable() }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.get-metadata',
    since: '0.1.0',
    summary: 'Gives the metadata element of one namespace.',
    access: 'query',
    params: z.strictObject({
      ...target,
      uri: z.string().min(1).max(4096).describe('Namespace of the element.'),
      inactive: z.boolean().default(false).describe('From the stored definition.'),
    }),
    result: z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'domain.no-metadata'],
  }),
  method({
    name: 'domain.port-forward.list',
    since: '0.1.0',
    summary: 'Lists the port forwards into a domain.',
    access: 'query',
    params: z.strictObject(target),
    result: z.object({ portForwards: z.array(portForward) }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.command-line',
    since: '0.1.0',
    summary: 'Shows the QEMU command line a domain is started with.',
    description: 'For display: descriptors in it have meaning for the started process only.',
    access: 'secret',
    params: z.strictObject(target),
    result: z.object({ argv: z.array(z.string()) }),
    errors: ['domain.not-found', 'definition.unsupported', 'qemu.missing', 'qemu.lacks', 'kvm.unusable'],
  }),
] as const;
