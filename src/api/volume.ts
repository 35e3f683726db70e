/** Methods about storage volumes. Sizes are in bytes. */
import * as z from 'zod';
import { wipeAlgorithms } from '../model/storage/volume/volume.ts';
import { xmlDocument } from './domain-objects.ts';
import { method } from './method.ts';
import {
  activePoolErrors,
  bytes,
  newVolumeName,
  poolRef,
  trashed,
  volumeDetails,
  volumeFormat,
  volumeRef,
  volumeSummary,
} from './pool-objects.ts';
import { secretRef } from './secret.ts';

const since = '0.1.0';
const target = { pool: poolRef, volume: volumeRef };

const errors = [...activePoolErrors, 'volume.not-found'] as const;
/** What can go wrong between us and the storage. */
const storageErrors = [
  'volume.busy',
  'definition.unsupported',
  'file.no-space',
  'file.denied',
  'file.failed',
  'program.missing',
  'program.failed',
  'operation.aborted',
] as const;
const createErrors = [
  ...activePoolErrors,
  'volume.exists',
  'xml.invalid',
  'secret.not-found',
  'secret.no-value',
  ...storageErrors,
] as const;

const made = z.object({
  volume: volumeSummary,
  warnings: z.array(z.string()).describe('What may surprise later: more is promised than there is space.'),
});

const volumeQueries = [
  method({
    name: 'volume.list',
    since,
    summary: 'Lists the volumes of an active pool, by name.',
    description: 'As they were when last looked at; files that others make or remove are noticed.',
    access: 'query',
    params: () => z.strictObject({ pool: poolRef }),
    result: () => z.object({ volumes: z.array(volumeSummary) }),
    errors: activePoolErrors,
  }),
  method({
    name: 'volume.get',
    since,
    summary: 'Shows one volume in detail, with who depends on it.',
    access: 'query',
    params: () => z.strictObject(target),
    result: () => volumeDetails,
    errors,
  }),
  method({
    name: 'volume.find',
    since,
    summary: 'Finds the volume of a path or a key, in whatever active pool it is.',
    access: 'query',
    params: () =>
      z.strictObject({
        path: z.string().min(1).max(4096).optional().describe('Its path. This or `key`.'),
        key: z.string().min(1).max(4096).optional(),
      }),
    result: () => volumeSummary,
    errors: ['volume.not-found', 'request.invalid'],
  }),
  method({
    name: 'volume.xml',
    since,
    summary: "Describes a volume in libvirt's storage volume XML.",
    access: 'query',
    params: () => z.strictObject(target),
    result: () => z.object({ xml: z.string() }),
    errors,
  }),
] as const;

const volumeChanges = [
  method({
    name: 'volume.create',
    since,
    summary: 'Makes a new volume from a few words.',
    access: 'modify',
    params: () =>
      z.strictObject({
        pool: poolRef,
        name: newVolumeName,
        format: volumeFormat.default('qcow2'),
        capacityBytes: bytes
          .optional()
          .describe('What a guest sees; that of the image below when not given.'),
        allocationBytes: bytes.default(0).describe('How much space to take at once; 0: as it is written.'),
        backing: volumeRef
          .optional()
          .describe('Volume of the same pool that lies below: only what differs is stored (a linked clone).'),
        clusterSizeBytes: bytes.optional().describe('qcow2: a power of two from 512 to 2097152.'),
        lazyRefcounts: z
          .boolean()
          .default(false)
          .describe('qcow2: quicker writes, a longer repair after a crash.'),
        extendedL2: z.boolean().default(false).describe('qcow2: clusters are divided further.'),
        preallocateMetadata: z.boolean().default(false).describe('qcow2: make all tables at once.'),
        secret: secretRef.optional().describe('Encrypt it with LUKS; this secret opens it (qcow2, raw).'),
      }),
    result: () => made,
    errors: [...createErrors, 'volume.not-found'],
  }),
  method({
    name: 'volume.create-xml',
    since,
    summary: 'Makes a new volume from storage volume XML.',
    description: 'A raw volume without `<allocation>` takes all its space at once, as with libvirt.',
    access: 'path',
    params: () =>
      z.strictObject({
        pool: poolRef,
        xml: xmlDocument.describe('The document.'),
        strict: z
          .boolean()
          .default(true)
          .describe('Refuse elements and attributes we do not know; else they are dropped.'),
        preallocateMetadata: z.boolean().default(false).describe('qcow2: make all tables at once.'),
      }),
    result: () =>
      z.object({ ...made.shape, dropped: z.array(z.string()).describe('Paths of what was dropped.') }),
    errors: [...createErrors, 'xml.malformed'],
  }),
  method({
    name: 'volume.clone',
    since,
    summary: 'Copies a volume into a new one, as a job that can be called off.',
    description:
      'Done at once where the file system can share blocks. A volume that a running guest writes is refused. What lies below is copied too, so the new one depends on nothing.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        name: newVolumeName.describe('Name of the new volume.'),
        toPool: poolRef.optional().describe('Pool of the new one; the same when not given.'),
        format: volumeFormat.optional().describe('Format of the new one; the same when not given.'),
        secret: secretRef
          .optional()
          .describe(
            'Encrypt the new one with LUKS by this secret. A copy of an encrypted volume opens by the same one otherwise.',
          ),
      }),
    result: () => made,
    errors: [...createErrors, 'volume.not-found', 'volume.in-use'],
  }),
  method({
    name: 'volume.clone-xml',
    since,
    summary: 'Copies a volume into a new one that storage volume XML describes.',
    access: 'path',
    params: () =>
      z.strictObject({
        ...target,
        toPool: poolRef.optional().describe('Pool of the new one; the same when not given.'),
        xml: xmlDocument.describe('The document.'),
        strict: z
          .boolean()
          .default(true)
          .describe('Refuse elements and attributes we do not know; else they are dropped.'),
      }),
    result: () =>
      z.object({ ...made.shape, dropped: z.array(z.string()).describe('Paths of what was dropped.') }),
    errors: [...createErrors, 'xml.malformed', 'volume.not-found', 'volume.in-use'],
  }),
  method({
    name: 'volume.delete',
    since,
    summary: 'Deletes a volume; in pools of files it can be restored for some days.',
    description:
      'One that a domain or another volume depends on is refused, with their names. The trash takes space until it is emptied; `now` deletes for good.',
    access: 'modify',
    params: () => z.strictObject({ ...target, now: z.boolean().default(false).describe('For good.') }),
    result: () => z.object({ trash: trashed.nullable().describe('Null when it is gone for good.') }),
    errors: [...errors, 'volume.in-use', ...storageErrors],
  }),
  method({
    name: 'volume.resize',
    since,
    summary: 'Changes the size that a guest sees.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        capacityBytes: bytes,
        relative: z.enum(['no', 'more', 'less']).default('no').describe('By so much more or less than now.'),
        allocate: z.boolean().default(false).describe('Take the new space at once.'),
        shrink: z.boolean().default(false).describe('Allow a smaller size: what lies beyond is lost.'),
      }),
    result: () => volumeSummary,
    errors: [...errors, 'volume.in-use', 'request.invalid', 'secret.not-found', ...storageErrors],
  }),
  method({
    name: 'volume.wipe',
    since,
    summary: 'Overwrites a volume in place, as a job that can be called off.',
    description:
      'Honest only on disks that write where they are told to: flash, thin storage and file systems that copy on write may keep the old bytes elsewhere.',
    access: 'modify',
    params: () =>
      z.strictObject({
        ...target,
        algorithm: z
          .enum(wipeAlgorithms)
          .default('zero')
          .describe(
            'What to write, in which passes: zero and random are one; nnsa and dod 3, schneier and pfitzner7 7, bsi 9, pfitzner33 33, gutmann 35, all made for old magnetic disks; `trim` gives the space back instead.',
          ),
      }),
    result: () => z.object({}),
    errors: [...errors, 'volume.in-use', ...storageErrors],
  }),
  method({
    name: 'volume.set-format',
    since,
    summary: 'Says of which format a volume is, for good.',
    description:
      'Formats are learnt once and never guessed again, since a guest can write what a guess would look at. Say it yourself for a file that looks like something else.',
    access: 'modify',
    params: () => z.strictObject({ ...target, format: volumeFormat }),
    result: () => volumeSummary,
    errors: [...errors, 'volume.in-use', 'request.invalid', 'volume.busy'],
  }),
] as const;

const volumeTrash = [
  method({
    name: 'volume.trash-list',
    since,
    summary: 'Lists the deleted volumes that can be restored, the oldest first.',
    access: 'query',
    params: () =>
      z.strictObject({
        pool: poolRef.optional().describe('Only of this pool; else of all active ones.'),
      }),
    result: () => z.object({ volumes: z.array(trashed) }),
    errors: [...activePoolErrors, 'file.denied', 'file.failed'],
  }),
  method({
    name: 'volume.restore',
    since,
    summary: 'Brings a deleted volume back.',
    access: 'modify',
    params: () =>
      z.strictObject({
        pool: poolRef,
        volume: volumeRef.describe('Its id in the trash; or its name: the one that was deleted last.'),
        name: newVolumeName.optional().describe('Another name for it.'),
      }),
    result: () => volumeSummary,
    errors: [...errors, 'volume.exists', 'volume.busy', 'file.denied', 'file.failed'],
  }),
  method({
    name: 'volume.trash-empty',
    since,
    summary: 'Takes deleted volumes away for good.',
    access: 'modify',
    params: () =>
      z.strictObject({
        pool: poolRef,
        volume: volumeRef.optional().describe('Id or name in the trash; all when not given.'),
      }),
    result: () => z.object({ volumes: z.array(trashed).describe('Those that are gone.') }),
    errors: [...errors, 'file.denied', 'file.failed'],
  }),
] as const;

export const volumeMethods = [...volumeQueries, ...volumeChanges, ...volumeTrash] as const;
