/** Methods about snapshots of domains. */
import * as z from 'zod';
import { snapshotLocations, snapshotStates } from '../model/snapshot/snapshot.ts';
import { domainRef, timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

const name = z.string().min(1).max(240).describe('Name of the snapshot.');
const target = { domain: domainRef, snapshot: name };
const path = z.string().startsWith('/').max(4096);

const diskOfSnapshot = z
  .object({
    target: z.string().describe('`vda`'),
    location: z
      .enum(snapshotLocations)
      .describe('`internal`: inside its image; `external`: in a new image on top; `no`: it is left out.'),
    path: z.string().nullable().describe('The new image on top, where there is one.'),
  })
  .meta({ id: 'SnapshotDisk', description: 'A disk of a snapshot.' });

const snapshot = z
  .object({
    name,
    description: z.string().nullable(),
    state: z.enum(snapshotStates).describe('What the guest was doing.'),
    parent: name.nullable().describe('The snapshot before it.'),
    children: z.array(name),
    current: z.boolean().describe("Whether the domain's state comes from it."),
    createdAt: timestamp,
    memory: z.enum(['no', 'internal', 'external']),
    memoryPath: z.string().nullable(),
    location: z.enum(['internal', 'external']),
    disks: z.array(diskOfSnapshot),
  })
  .meta({ id: 'Snapshot', description: 'A snapshot of a domain.' });

const diskChoice = z.strictObject({
  target: z.string().min(1).max(128).describe('Target of the disk (`vda`), or the path of its image.'),
  location: z.enum(snapshotLocations).optional(),
  path: path.optional().describe('The new image on top.'),
  format: z.enum(['qcow2']).optional().describe('Its format.'),
});

const createShape = {
  name: name.optional().describe('Its name; the time in seconds when not given.'),
  description: z.string().max(65_536).optional(),
  diskOnly: z.boolean().default(false).describe('Without the memory of a running guest.'),
  memoryPath: path.optional().describe('The file that the memory is written into.'),
  disks: z.array(diskChoice).max(1000).default([]).describe('What is to become of single disks.'),
  quiesce: z
    .boolean()
    .default(false)
    .describe('Have the guest agent freeze the file systems meanwhile; only without the memory.'),
  live: z
    .boolean()
    .default(false)
    .describe('Let the guest run while its memory is written into a file; it stands still at the end.'),
  halt: z.boolean().default(false).describe('End the guest when the snapshot is made.'),
  reuse: z.boolean().default(false).describe('The new images are there already, made by somebody else.'),
  metadata: z.boolean().default(true).describe('Remember the snapshot.'),
};

const revertShape = {
  state: z
    .enum(['running', 'paused'])
    .optional()
    .describe('What the guest does afterwards; when not given, what it did then.'),
  resetNvram: z.boolean().default(false).describe("Make the firmware's variables anew."),
  force: z
    .boolean()
    .default(false)
    .describe('Give up a saved state of the domain, which does not go with other disks.'),
};

const deleteShape = {
  scope: z
    .enum(['one', 'with-children', 'children-only'])
    .default('one')
    .describe('It alone, it with all below it, or only all below it.'),
  metadataOnly: z.boolean().default(false).describe('Only forget it; images stay as they are.'),
};

const plan = z
  .object({
    snapshots: z.array(name).describe('Those that would be made, returned to, or deleted, in this order.'),
    changes: z.array(
      z.object({
        path: z.string(),
        what: z.enum(['made', 'changed', 'removed', 'kept']),
        part: z.enum(['disk', 'memory', 'firmware']),
        target: z.string().nullable().describe('The disk that it belongs to.'),
        why: z.string(),
      }),
    ),
    guest: z
      .enum(['off', 'runs-on', 'stands-still', 'in-place', 'restarts', 'starts', 'ends'])
      .describe(
        'What becomes of the guest. `in-place`: the QEMU that runs gets the other state; `restarts`: a new one does; `stands-still`: as long as it takes.',
      ),
    losses: z.array(z.string()).describe('What cannot be had back, in words.'),
    children: z
      .array(z.object({ name, parent: name.nullable() }))
      .describe('Snapshots that would get another parent.'),
  })
  .meta({ id: 'SnapshotPlan', description: 'What would be done.' });

const workErrors = [
  'domain.not-found',
  'domain.busy',
  'domain.inactive',
  'domain.transient',
  'definition.unsupported',
  'request.invalid',
  'domain.state',
  'operation.failed',
  'operation.aborted',
  'file.not-found',
  'file.exists',
  'file.denied',
  'file.no-space',
  'file.failed',
  'program.missing',
  'program.failed',
  'qmp.failed',
  'qmp.closed',
  'qmp.timeout',
  'pool.not-found',
  'volume.not-found',
] as const;

export const snapshotMethods = [
  method({
    name: 'snapshot.create',
    since,
    summary: 'Makes a snapshot of a domain.',
    description:
      'Without more, disks and memory go into the qcow2 images of the disks. Choose `diskOnly` to leave the memory out, or `memoryPath` to write it into a file: the disks then get new images on top of theirs.',
    access: 'modify',
    params: () => z.strictObject({ domain: domainRef, ...createShape }),
    result: () => snapshot,
    errors: [
      'snapshot.exists',
      'saved-state.exists',
      'request.unsupported',
      'agent.missing',
      'agent.unresponsive',
      ...workErrors,
    ],
  }),
  method({
    name: 'snapshot.plan',
    since,
    summary: 'Tells what making, returning to or deleting a snapshot would do, without doing it.',
    description:
      'Exactly one of `create`, `revert` and `delete` is given, with the params of that method. The answer names each file that would be made, changed or removed, or is kept and why; what would be lost; and what becomes of the guest.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        create: z.strictObject(createShape).optional(),
        revert: z.strictObject({ snapshot: name, ...revertShape }).optional(),
        delete: z.strictObject({ snapshot: name, ...deleteShape }).optional(),
      }),
    result: () => plan,
    errors: [
      'snapshot.exists',
      'snapshot.not-found',
      'snapshot.risky',
      'saved-state.invalid',
      'saved-state.exists',
      'domain.not-found',
      'domain.state',
      'domain.transient',
      'definition.unsupported',
      'request.invalid',
      'file.not-found',
      'file.exists',
      'file.denied',
      'file.failed',
      'pool.not-found',
      'volume.not-found',
    ],
  }),
  method({
    name: 'snapshot.list',
    since,
    summary: 'Lists the snapshots of a domain, each after its parent.',
    access: 'query',
    params: () => z.strictObject({ domain: domainRef }),
    result: () => z.object({ snapshots: z.array(snapshot), current: name.nullable() }),
    errors: ['domain.not-found'],
  }),
  method({
    name: 'snapshot.get',
    since,
    summary: 'Shows one snapshot.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => snapshot,
    errors: ['domain.not-found', 'snapshot.not-found'],
  }),
  method({
    name: 'snapshot.xml',
    since,
    summary: "Shows a snapshot as libvirt's document.",
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ xml: z.string() }),
    errors: ['domain.not-found', 'snapshot.not-found'],
  }),
  method({
    name: 'snapshot.define',
    since,
    summary: 'Remembers a snapshot that was made earlier, from its document.',
    description: 'Nothing is done to images. With the name of a known one its document is replaced.',
    access: 'modify',
    params: () =>
      z.strictObject({
        domain: domainRef,
        xml: z.string().min(1).max(4_194_304),
        current: z.boolean().default(false).describe("The domain's state comes from it."),
      }),
    result: () => snapshot,
    errors: [
      'domain.not-found',
      'domain.busy',
      'request.invalid',
      'xml.malformed',
      'xml.invalid',
      'file.no-space',
      'file.failed',
    ],
  }),
  method({
    name: 'snapshot.revert',
    since,
    summary: 'Returns a domain to a snapshot.',
    description:
      'What its disks hold that is in no snapshot is lost. A guest whose devices are still the same goes on in the same QEMU. Of an external snapshot the disks get new images on top of those that hold its state.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        ...revertShape,
      }),
    result: () => z.object({}),
    errors: [
      'snapshot.not-found',
      'snapshot.risky',
      'saved-state.invalid',
      'domain.start-failed',
      ...workErrors,
    ],
  }),
  method({
    name: 'snapshot.delete',
    since,
    summary: 'Deletes snapshots.',
    description:
      'The state of the domain stays as it is. Children of what goes get its parent. What an external snapshot kept is merged into the image above or below; no image that another snapshot needs is ever removed.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        ...deleteShape,
      }),
    result: () => z.object({ deleted: z.array(name) }),
    errors: ['snapshot.not-found', 'saved-state.exists', ...workErrors],
  }),
] as const;
