/** Events of domains: what becomes of a definition, and of its guest as a whole. */
import * as z from 'zod';
import { domainIdentity } from '../domain-objects.ts';
import { event } from '../method.ts';
import { quarantinedFile } from './quarantined-file.ts';

const since = '0.1.0';
const domain = { domain: domainIdentity };
const reason = z.string().describe("Why, in libvirt's words.");

export const domainEvents = [
  event({
    name: 'domain.defined',
    since,
    summary: 'A definition was stored.',
    payload: () =>
      z.object({
        ...domain,
        isNew: z.boolean(),
        fromSnapshot: z
          .boolean()
          .describe('The domain returned to a snapshot, and has the definition of that time.'),
      }),
  }),
  event({
    name: 'domain.undefined',
    since,
    summary: 'A stored definition was forgotten.',
    payload: () => z.object(domain),
  }),
  event({
    name: 'domain.renamed',
    since,
    summary: 'A domain has another name.',
    payload: () => z.object({ ...domain, previousName: z.string() }),
  }),
  event({
    name: 'domain.started',
    since,
    summary: 'A guest runs.',
    payload: () => z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.suspended',
    since,
    summary: 'The virtual CPUs were stopped.',
    payload: () => z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.resumed',
    since,
    summary: 'The virtual CPUs go on.',
    payload: () => z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.shutdown',
    since,
    summary: 'The guest finished its shutdown; QEMU is about to end.',
    payload: () => z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.stopped',
    since,
    summary: 'QEMU has ended.',
    payload: () => z.object({ ...domain, reason }),
  }),
  event({
    name: 'domain.crashed',
    since,
    summary: 'The guest panicked, or QEMU ended by itself.',
    payload: () =>
      z.object({
        ...domain,
        reason: z
          .string()
          .describe(
            '`panicked`: its kernel did, and on_crash decides. `crash-loaded`: it did, and its kernel for crashes (kdump) runs now. `crashed`: QEMU ended.',
          ),
        detail: z.string().describe("The end of QEMU's log, or empty."),
      }),
  }),
  event({
    name: 'domain.rebooted',
    since,
    summary: 'The guest was reset.',
    payload: () => z.object({ ...domain, byGuest: z.boolean() }),
  }),
  event({
    name: 'domain.metadata-changed',
    since,
    summary: 'Title, description or metadata changed.',
    payload: () =>
      z.object({
        ...domain,
        what: z.enum(['title', 'description', 'metadata']),
        uri: z.string().nullable().describe('Namespace of the metadata.'),
      }),
  }),
  event({
    name: 'domain.quarantined',
    since,
    summary: 'A stored definition could not be read and was put aside.',
    payload: () => quarantinedFile,
  }),
] as const;
