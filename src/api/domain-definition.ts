/** Methods that store, change or forget definitions of domains. */
import * as z from 'zod';
import { dropped, metadataChange, strict } from './documents.ts';
import { domainRef, domainSummary, newDomainName, portForward, xmlDocument } from './domain-objects.ts';
import { domainSpec, portForwardSpec } from './domain-spec.ts';
import { method } from './method.ts';
import { trashed } from './pool-objects.ts';
import { undoable } from './undo.ts';

const target = { domain: domainRef };
const text = (max: number) => z.string().max(max).nullable();

/** What can be wrong with a definition that somebody brings. */
const definitionErrors = [
  'xml.malformed',
  'xml.invalid',
  'definition.unsupported',
  'kvm.unusable',
  'qemu.missing',
  'qemu.lacks',
  'network.session',
  'access.denied',
  'link.failed',
  'program.missing',
] as const;
/** What can go wrong when a guest is started. */
const startErrors = [
  'domain.start-failed',
  'network.inactive',
  'file.not-found',
  'file.denied',
  'qmp.timeout',
] as const;

/** What can go wrong when a cloud image is wanted. */
const imageErrors = [
  'image.not-found',
  'image.unsafe',
  'download.failed',
  'download.checksum',
  'pool.not-found',
  'pool.inactive',
  'volume.exists',
] as const;

export const domainDefinitionMethods = [
  method({
    name: 'domain.define',
    since: '0.1.0',
    summary: "Stores a definition given as libvirt's domain XML, or replaces one.",
    description:
      'The answer comes when the definition is safely on disk. A running domain keeps running as it is; the new definition counts from its next start.',
    access: 'modify',
    params: () =>
      z.strictObject({
        xml: xmlDocument.describe('The document.'),
        strict,
        startAfter: z.boolean().default(false).describe('Start the domain when it is stored.'),
      }),
    result: () =>
      z.object({
        domain: domainSummary,
        dropped,
        warnings: z
          .array(z.string())
          .describe('What the definition names and nobody knows: networks and port groups.'),
      }),
    errors: [...definitionErrors, 'domain.exists', 'domain.busy', 'file.no-space', ...startErrors],
  }),
  method({
    name: 'domain.plan',
    since: '0.1.0',
    summary: 'Tells what a new definition would change, and when, without storing it.',
    description:
      'Compares the document, completed as domain.define would, with the stored definition. Each difference can be made in the running guest now, counts from its next start, or is refused.',
    access: 'modify',
    params: () => z.strictObject({ xml: xmlDocument.describe('The document.'), strict }),
    result: () =>
      z.object({
        name: z.string(),
        uuid: z
          .string()
          .nullable()
          .describe('Of the domain whose definition it would replace; null for a new one.'),
        active: z.boolean().describe('Whether that domain runs.'),
        changes: z.array(
          z.object({
            path: z.string().describe('What differs, as errors name it: devices.disk[vdb].driver.cache.'),
            when: z.enum(['now', 'next-start', 'never']),
            before: z
              .string()
              .nullable()
              .describe('An attribute, text, or an element as XML; passwords are ***.'),
            after: z.string().nullable(),
            how: z.string().describe('Now: the command for it. Else: why not now.'),
          }),
        ),
        dropped,
      }),
    errors: ['xml.malformed', 'xml.invalid', 'qemu.missing', 'program.missing'],
  }),
  method({
    name: 'domain.undefine',
    since: '0.1.0',
    summary: 'Forgets the stored definition.',
    description: 'A running domain becomes transient: it runs on and is gone when it stops.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        nvram: z
          .enum(['keep', 'remove'])
          .optional()
          .describe('What happens to its firmware variables. Must be told when it has any.'),
        tpm: z
          .enum(['keep', 'remove'])
          .optional()
          .describe(
            'What happens to the state of its emulated TPM, which holds keys. Left out: it goes, unless the definition says `persistent_state`. While the guest runs this waits for its end.',
          ),
        managedSave: z
          .enum(['remove'])
          .optional()
          .describe('Also give up its saved state. Without it, a domain that has one is not forgotten.'),
        forgetSnapshots: z
          .boolean()
          .default(false)
          .describe(
            'Forget its snapshots and checkpoints too; their data in images stays. Left out, a domain that has any is refused.',
          ),
        removeStorage: z
          .boolean()
          .default(false)
          .describe('Delete its disks that are volumes of pools, into the trash; it must be shut off.'),
      }),
    result: () =>
      z.object({
        removed: z
          .array(z.object({ pool: z.string(), volume: z.string(), trash: trashed.nullable() }))
          .describe('Volumes that were deleted.'),
        kept: z
          .array(z.object({ path: z.string(), reason: z.string() }))
          .describe('With `removeStorage`: disks that were left alone, and why.'),
        undo: undoable
          .nullable()
          .describe("Takes it back ('undo.restore'); null where the daemon keeps nothing."),
      }),
    errors: [
      'domain.not-found',
      'domain.transient',
      'domain.busy',
      'domain.active',
      'saved-state.exists',
      'domain.state',
      'operation.failed',
    ],
  }),
  method({
    name: 'domain.create',
    since: '0.1.0',
    summary: 'Makes a new domain from a short description.',
    description:
      'Fills in what a good modern guest has. Warnings tell what could be better, for example emulation where KVM is not usable.',
    access: 'path',
    params: () =>
      z.strictObject({
        ...domainSpec,
        start: z.boolean().default(false).describe('Start it at once.'),
        paused: z.boolean().default(false).describe('When it is started, leave the virtual CPUs stopped.'),
        transient: z
          .boolean()
          .default(false)
          .describe('Store no definition; it starts at once and is gone when it stops.'),
        autostart: z.boolean().default(false).describe('Start it with the daemon.'),
        autodestroy: z.boolean().default(false).describe('Destroy it when this connection closes.'),
      }),
    result: () =>
      z.object({
        domain: domainSummary,
        warnings: z.array(z.string()),
        login: z.string().nullable().describe('Who may log in, for a domain from a cloud image.'),
      }),
    errors: [
      'request.invalid',
      ...definitionErrors,
      'domain.exists',
      'file.no-space',
      'file.exists',
      'program.failed',
      ...imageErrors,
      ...startErrors,
    ],
  }),
  method({
    name: 'domain.create-xml',
    since: '0.1.0',
    summary: 'Starts a transient domain from domain XML.',
    description: 'Nothing is stored; when it stops it is gone.',
    access: 'modify',
    params: () =>
      z.strictObject({
        xml: xmlDocument.describe('The document.'),
        strict,
        paused: z.boolean().default(false).describe('Leave the virtual CPUs stopped.'),
        autodestroy: z.boolean().default(false).describe('Destroy it when this connection closes.'),
      }),
    result: () =>
      z.object({
        domain: domainSummary,
        dropped,
      }),
    errors: [
      ...definitionErrors,
      'domain.exists',
      'domain.active',
      'domain.busy',
      'file.no-space',
      ...startErrors,
    ],
  }),
  method({
    name: 'domain.set-autostart',
    since: '0.1.0',
    summary: 'Sets whether a domain is started with the daemon.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        autostart: z.boolean(),
        once: z
          .boolean()
          .default(false)
          .describe('Only the next time that the host starts; the lasting mark stays as it is.'),
      }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.transient', 'domain.busy'],
  }),
  method({
    name: 'domain.set-lifecycle-action',
    since: '0.1.0',
    summary: 'Sets what happens when the guest powers off, reboots or crashes.',
    description:
      'Of a running guest, of the stored definition, or of both: wherever the domain is, unless `live` or `stored` say otherwise.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        event: z.enum(['poweroff', 'reboot', 'crash']),
        action: z
          .enum(['destroy', 'restart', 'rename-restart', 'preserve', 'coredump-destroy', 'coredump-restart'])
          .describe("In libvirt's words; those that are not supported are refused."),
        live: z.boolean().optional(),
        stored: z.boolean().optional(),
      }),
    result: () => z.object({}),
    errors: [
      'domain.not-found',
      'domain.inactive',
      'domain.transient',
      'domain.busy',
      'definition.unsupported',
      'request.invalid',
      'qmp.failed',
    ],
  }),
  method({
    name: 'domain.rename',
    since: '0.1.0',
    summary: 'Gives a domain that is shut off another name.',
    access: 'modify',
    params: () => z.strictObject({ ...target, name: newDomainName }),
    result: () => domainSummary,
    errors: ['domain.not-found', 'domain.exists', 'domain.active', 'domain.transient', 'domain.busy'],
  }),
  method({
    name: 'domain.set-title',
    since: '0.1.0',
    summary: 'Sets or removes the title, one line of text.',
    access: 'modify',
    params: () => z.strictObject({ ...target, title: text(255).describe('Null removes it.') }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.busy', 'request.invalid'],
  }),
  method({
    name: 'domain.set-description',
    since: '0.1.0',
    summary: 'Sets or removes the description.',
    access: 'modify',
    params: () => z.strictObject({ ...target, description: text(65_536).describe('Null removes it.') }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'domain.busy'],
  }),
  method({
    name: 'domain.set-metadata',
    since: '0.1.0',
    summary: 'Sets or removes the metadata element of one namespace.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        ...metadataChange,
      }),
    result: () => z.object({}),
    errors: [
      'domain.not-found',
      'domain.no-metadata',
      'domain.busy',
      'xml.malformed',
      'xml.invalid',
      'request.invalid',
    ],
  }),
  method({
    name: 'domain.port-forward.add',
    since: '0.1.0',
    summary: 'Leads a port of the host into a domain.',
    description: 'Changes the running guest at once and the stored definition of a persistent domain.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        interface: z
          .string()
          .max(64)
          .optional()
          .describe('Alias or MAC of the interface; the first one of type `user` when not given.'),
        ...portForwardSpec.shape,
      }),
    result: () => portForward,
    errors: ['domain.not-found', 'domain.no-device', 'forward.conflict', 'domain.busy', 'request.invalid'],
  }),
  method({
    name: 'domain.port-forward.remove',
    since: '0.1.0',
    summary: 'Takes a port forward away.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        interface: z.string().max(64).optional().describe('Alias or MAC of the interface.'),
        protocol: portForwardSpec.shape.protocol,
        hostAddress: portForwardSpec.shape.hostAddress,
        hostPort: portForwardSpec.shape.hostPort,
      }),
    result: () => z.object({}),
    errors: ['domain.not-found', 'forward.not-found', 'domain.busy'],
  }),
] as const;
