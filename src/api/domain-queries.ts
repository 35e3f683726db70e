/** Methods that look at domains. */
import * as z from 'zod';
import { metadataQuery } from './documents.ts';
import {
  addressSource,
  domainDetails,
  domainRef,
  domainState,
  domainSummary,
  guestInterface,
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
    params: () =>
      z.strictObject({
        active: z.boolean().optional().describe('Only domains that run, or only those that do not.'),
        persistent: z.boolean().optional().describe('Only domains with a stored definition, or without.'),
        autostart: z.boolean().optional().describe('Only domains that start with the daemon, or do not.'),
        saved: z.boolean().optional().describe('Only domains of which a saved state is kept, or is not.'),
        state: domainState.optional().describe('Only domains in this state.'),
      }),
    result: () => z.object({ domains: z.array(domainSummary), quarantined: z.array(quarantined) }),
    errors: [],
  }),
  method({
    name: 'domain.get',
    since: '0.1.0',
    summary: 'Shows one domain in detail.',
    description: 'Never waits for a job; a running domain is described as it runs.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => domainDetails,
    errors: ['domain.not-found', 'domain.quarantined'],
  }),
  method({
    name: 'domain.xml',
    since: '0.1.0',
    summary: "Gives the definition as libvirt's domain XML.",
    access: 'query',
    raises: { secure: 'secret' },
    params: () =>
      z.strictObject({
        ...target,
        inactive: z.boolean().default(false).describe('The stored definition, not the running one.'),
        secure: z.boolean().default(false).describe('With passwords. Needs a read-write connection.'),
        migratable: z
          .boolean()
          .default(false)
          .describe(
            'In the form another host takes for a migration: of a running domain the running definition, without ids, aliases, chosen ports and controllers that every host adds by itself.',
          ),
      }),
    result: () => z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'domain.quarantined', 'access.read-only'],
  }),
  method({
    name: 'domain.log',
    since: '0.1.0',
    summary: "Gives the end of QEMU's own log of a domain, or of what its serial console printed.",
    access: 'query',
    params: () =>
      z.strictObject({
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
    result: () => z.object({ text: z.string() }),
    errors: ['domain.not-found', 'domain.no-device', 'file.failed'],
  }),
  method({
    name: 'domain.wait',
    since: '0.1.0',
    summary: 'Waits until a domain is in a state, or its guest shows a sign of life.',
    description:
      '`address`: the guest has an address that was told or seen since it was started. `agent`: its guest agent answers. `ssh`: an SSH server shows its banner at the address of the guest, or behind a forward of the host to its port 22. Returns at once when it is so. A domain that is not running may be started meanwhile; one that disappears ends the wait with `domain.not-found`. `operation.timeout` tells what was still missing. The wait ends when the client goes away.',
    access: 'query',
    // Both reach into the guest: CVE-2019-3886 was a read-only client that had the agent asked.
    raises: { until: { values: ['agent', 'ssh'], access: 'modify' } },
    params: () =>
      z.strictObject({
        ...target,
        until: z
          .enum([...domainState.options, 'address', 'agent', 'ssh'])
          .describe('The state, or the sign of life, waited for.'),
        timeoutMs: z
          .int()
          .min(0)
          .max(86_400_000)
          .default(60_000)
          .describe('How long at most, in milliseconds.'),
      }),
    result: () =>
      z.object({
        ...domainSummary.shape,
        reached: z
          .object({ address: z.string(), port: z.int().nullable() })
          .nullable()
          .describe('The address that was found, or where its SSH server answers; null for other goals.'),
      }),
    errors: ['domain.not-found', 'operation.timeout', 'agent.missing', 'access.read-only'],
  }),
  method({
    name: 'domain.addresses',
    since: '0.1.0',
    summary: 'Tells the addresses of a running guest, from everybody who knows one.',
    description:
      'Sources: `lease`, the DHCP server of its network; `agent`, the guest agent; `arp`, the neighbour table of the host (ARP and IPv6 neighbour discovery); `user`, connections that are open on a user network. Without `sources`, a card on a user network of QEMU of which nobody knows an address has the one that its DHCP gives first (10.0.2.15), marked `assumed` and not confirmed. A guest can claim any address: nothing vouches for what only it tells. A source that has nothing to say is named with the reason; when it is the only one that was asked for, that is the error. A read-only connection may not have the agent asked, and gets the other three. Takes up to ten seconds when the agent hangs.',
    access: 'query',
    raises: { sources: { values: ['agent'], access: 'modify' } },
    params: () =>
      z.strictObject({
        ...target,
        sources: z.array(addressSource).min(1).max(4).optional().describe('Only these; all when not given.'),
      }),
    result: () =>
      z.object({
        interfaces: z.array(guestInterface),
        silent: z
          .array(z.object({ source: addressSource, reason: z.string() }))
          .describe('Sources that could not be asked.'),
      }),
    errors: [
      'domain.not-found',
      'domain.inactive',
      'agent.missing',
      'agent.unresponsive',
      'operation.failed',
      'link.failed',
      'access.read-only',
    ],
  }),
  method({
    name: 'domain.job',
    since: '0.1.0',
    summary: 'Tells which job holds a domain now.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ job: job.nullable() }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.get-metadata',
    since: '0.1.0',
    summary: 'Gives the metadata element of one namespace.',
    access: 'query',
    params: () =>
      z.strictObject({
        ...target,
        ...metadataQuery,
      }),
    result: () => z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'domain.no-metadata'],
  }),
  method({
    name: 'domain.port-forward.list',
    since: '0.1.0',
    summary: 'Lists the port forwards into a domain.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ portForwards: z.array(portForward) }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'domain.command-line',
    since: '0.1.0',
    summary: 'Shows the QEMU command line a domain is started with.',
    description: 'For display: descriptors in it have meaning for the started process only.',
    access: 'secret',
    params: () => z.strictObject(target),
    result: () => z.object({ argv: z.array(z.string()) }),
    errors: ['domain.not-found', 'definition.unsupported', 'qemu.missing', 'qemu.lacks', 'kvm.unusable'],
  }),
] as const;
