/** Methods about jobs on the images of running guests: pulling, merging, copying. */
import * as z from 'zod';
import { domainRef } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

const disk = z
  .string()
  .min(1)
  .max(4096)
  .describe('The disk: its target (`vda`), its alias, or the path of its image.');
const speed = z.int().nonnegative().default(0).describe('The most bytes a second; 0: as fast as it goes.');
const image = z
  .string()
  .min(1)
  .max(4096)
  .describe('An image of the chain: its path, its number in the running definition, or `vda[3]`.');
const relative = z
  .boolean()
  .default(false)
  .describe('Name the image below by a relative path, as the chain does so far.');

const startErrors = [
  'domain.not-found',
  'domain.inactive',
  'domain.busy',
  'domain.no-device',
  'domain.state',
  'definition.unsupported',
  'request.invalid',
  'file.not-found',
  'file.denied',
  'file.failed',
  'qmp.failed',
  'qmp.timeout',
] as const;
const jobErrors = [
  'domain.not-found',
  'domain.inactive',
  'domain.no-device',
  'domain.no-block-job',
  'qmp.failed',
  'qmp.timeout',
] as const;

const blockJob = z
  .object({
    disk: z.string().describe('Target of the disk.'),
    kind: z.enum(['pull', 'commit', 'active-commit', 'copy']),
    doneBytes: z.int(),
    totalBytes: z.int().describe('What there is to do; grows while the guest writes.'),
    bytesPerSecond: z.int().describe('The limit; 0 is none.'),
    ready: z.boolean().describe('Both images are the same, and stay so until the job is ended.'),
    paused: z.boolean().describe('It does not go on: a write or a read has failed.'),
    ending: z.enum(['pivot', 'cancel']).nullable().describe('What has been asked of it.'),
    destination: z.string().nullable().describe('The file or device of a copy, or that is merged into.'),
  })
  .meta({ id: 'BlockJob', description: 'A job on the images of a disk.' });

const begun = z.object({ disk: z.string(), kind: z.enum(['pull', 'commit', 'active-commit', 'copy']) });

const destination = z
  .union([
    z.strictObject({ file: z.string().min(1).max(4096).describe('An absolute path.') }),
    z.strictObject({ device: z.string().min(1).max(4096).describe('A block device.') }),
    z.strictObject({
      nbd: z.strictObject({
        host: z.string().min(1).max(253).optional(),
        port: z.int().min(1).max(65_535).default(10_809),
        socket: z.string().min(1).max(107).optional().describe('A unix socket instead of a host.'),
        export: z.string().max(4096).default(''),
      }),
    }),
  ])
  .meta({ id: 'CopyDestination', description: 'Where a disk is copied to.' });

export const domainBlockJobMethods = [
  method({
    name: 'domain.disk.jobs',
    since,
    summary: 'Lists the jobs on images of a domain, with how far they are.',
    access: 'query',
    params: z.strictObject({ domain: domainRef }),
    result: z.object({ jobs: z.array(blockJob) }),
    errors: ['domain.not-found', 'qmp.failed', 'qmp.timeout'],
  }),
  method({
    name: 'domain.disk.pull',
    since,
    summary: 'Pulls the data of images below into the topmost image of a disk, while the guest runs.',
    description:
      'Afterwards the disk needs the images above the base no more. The job goes on in the background: `domain.disk.jobs` and `job.progress` tell how far it is, `domain.block-job` tells its end.',
    access: 'modify',
    params: z.strictObject({
      domain: domainRef,
      disk,
      base: image
        .optional()
        .describe('The image that stays below; left out, the disk stands alone afterwards.'),
      bytesPerSecond: speed,
      relative,
    }),
    result: begun,
    errors: startErrors,
  }),
  method({
    name: 'domain.disk.commit',
    since,
    summary: 'Merges images of a disk down into one below, while the guest runs.',
    description:
      'Merging the topmost image becomes ready and then follows the guest until `domain.disk.end-job` with `pivot` switches the disk to the image below. Merging others ends by itself.',
    access: 'modify',
    params: z.strictObject({
      domain: domainRef,
      disk,
      top: image
        .optional()
        .describe('The uppermost image to merge; left out, the one that the guest writes to.'),
      base: image.optional().describe('The image to merge into; left out, the lowest.'),
      shallow: z.boolean().default(false).describe('Merge into the image right below the top.'),
      delete: z
        .boolean()
        .default(false)
        .describe('Remove the files that were merged away, unless another domain uses them.'),
      bytesPerSecond: speed,
      relative,
    }),
    result: begun,
    errors: startErrors,
  }),
  method({
    name: 'domain.disk.copy',
    since,
    summary: 'Copies a disk elsewhere while the guest runs.',
    description:
      'When the copy is ready it follows all writes. `domain.disk.end-job` then ends it: with `pivot` the guest goes on with the copy, without it the copy stays as it was at that moment.',
    access: 'path',
    params: z.strictObject({
      domain: domainRef,
      disk,
      destination,
      format: z.enum(['raw', 'qcow2']).optional().describe('Of the copy; left out, that of the disk.'),
      shallow: z
        .boolean()
        .default(false)
        .describe('Copy the topmost image alone; the copy lies on the same images below.'),
      reuse: z
        .boolean()
        .default(false)
        .describe('Write to the image that is there, which has the right size.'),
      granularityBytes: z
        .int()
        .min(512)
        .max(64 * 1024 * 1024)
        .optional()
        .describe('What is copied as one; a power of two.'),
      bufferBytes: z.int().min(1).optional().describe('How much is on its way at most.'),
      synchronous: z
        .boolean()
        .default(false)
        .describe(
          'The guest waits for writes to both images, so that the copy becomes ready under any load.',
        ),
      bytesPerSecond: speed,
    }),
    result: begun,
    errors: [...startErrors, 'file.exists', 'file.no-space'],
  }),
  method({
    name: 'domain.disk.set-job-speed',
    since,
    summary: 'Limits how fast a job on images goes.',
    access: 'modify',
    params: z.strictObject({ domain: domainRef, disk, bytesPerSecond: speed }),
    result: z.object({}),
    errors: jobErrors,
  }),
  method({
    name: 'domain.disk.end-job',
    since,
    summary: 'Ends the job of a disk: calls it off, or switches the disk to the other image.',
    description:
      'Before the disk switches, the new definition is on disk, and the guest waits with its writes for that: whatever dies in that moment, the definition names the image with all data.',
    access: 'modify',
    params: z.strictObject({
      domain: domainRef,
      disk,
      pivot: z.boolean().default(false).describe('Switch to the copy, or to the image that was merged into.'),
      wait: z.boolean().default(true).describe('Answer when the job has ended.'),
    }),
    result: z.object({}),
    errors: [...jobErrors, 'domain.busy', 'domain.state', 'operation.failed'],
  }),
  method({
    name: 'domain.disk.wait-job',
    since,
    summary: 'Waits for the job of a disk.',
    access: 'query',
    params: z.strictObject({
      domain: domainRef,
      disk,
      until: z
        .enum(['ready', 'end'])
        .default('end')
        .describe('`ready`: until both images are the same, or the end of a job that becomes never so.'),
    }),
    result: z.object({}),
    errors: [...jobErrors, 'operation.failed', 'operation.aborted'],
  }),
] as const;
