/** Methods about checkpoints of domains. */
import * as z from 'zod';
import { domainRef, timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

const name = z.string().min(1).max(200).describe('Name of the checkpoint.');
const target = { domain: domainRef, checkpoint: name };

const checkpoint = z
  .object({
    name,
    description: z.string().nullable(),
    parent: name.nullable().describe('The checkpoint before it.'),
    children: z.array(name),
    current: z.boolean().describe('Whether it is the newest of its line.'),
    createdAt: timestamp,
    disks: z.array(
      z.object({
        target: z.string().describe('`vda`'),
        noted: z.boolean().describe('Whether what is written to it is noted.'),
      }),
    ),
  })
  .meta({ id: 'Checkpoint', description: 'A moment since which it is known what was written to disks.' });

const workErrors = [
  'domain.not-found',
  'domain.busy',
  'domain.inactive',
  'domain.state',
  'definition.unsupported',
  'request.invalid',
  'file.no-space',
  'file.failed',
  'qmp.failed',
  'qmp.closed',
  'qmp.timeout',
] as const;

export const checkpointMethods = [
  method({
    name: 'checkpoint.create',
    since,
    summary: 'Makes a checkpoint of a running domain.',
    description:
      'From then on it is noted in the qcow2 images of its disks what is written, so that a backup can take just that.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        name: name.optional().describe('Its name; the time in seconds when not given.'),
        description: z.string().max(65_536).optional(),
        disks: z
          .array(z.string().min(1).max(1024))
          .max(1000)
          .optional()
          .describe('Targets of the disks; when not given, all that can be written.'),
        quiesce: z
          .boolean()
          .default(false)
          .describe('Have the guest agent freeze the file systems meanwhile.'),
      }),
    result: () => checkpoint,
    errors: ['checkpoint.exists', 'agent.missing', 'agent.unresponsive', ...workErrors],
  }),
  method({
    name: 'checkpoint.list',
    since,
    summary: 'Lists the checkpoints of a domain, each after its parent.',
    access: 'query',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ checkpoints: z.array(checkpoint), current: name.nullable() }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'checkpoint.sizes',
    since,
    summary: 'Tells how much was written since a checkpoint.',
    description: 'In bytes by disk; disks of which it is not known are left out.',
    access: 'modify',
    params: () => z.strictObject(target),
    result: () => z.object({ disks: z.record(z.string(), z.int()) }),
    errors: ['checkpoint.not-found', ...workErrors],
  }),
  method({
    name: 'checkpoint.xml',
    since,
    summary: "Shows a checkpoint as libvirt's document.",
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'checkpoint.not-found'],
  }),
  method({
    name: 'checkpoint.define',
    since,
    summary: 'Remembers a checkpoint that was made earlier, from its document.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        xml: z.string().min(1).max(4_194_304),
        validate: z.boolean().default(false).describe('Look whether its bitmaps are in the images.'),
      }),
    result: () => checkpoint,
    errors: ['checkpoint.inconsistent', 'xml.malformed', 'xml.invalid', ...workErrors],
  }),
  method({
    name: 'checkpoint.delete',
    since,
    summary: 'Deletes checkpoints.',
    description: 'What they noted goes; the disks stay as they are. Children of what goes get its parent.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        scope: z
          .enum(['one', 'with-children', 'children-only'])
          .default('one')
          .describe('It alone, it with all below it, or only all below it.'),
        metadataOnly: z
          .boolean()
          .default(false)
          .describe('Only forget it; what is noted stays in the images.'),
      }),
    result: () => z.object({ deleted: z.array(name) }),
    errors: ['checkpoint.not-found', ...workErrors],
  }),
] as const;
