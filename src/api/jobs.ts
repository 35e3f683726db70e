/** Jobs in work: what goes on in the daemon, how far it is, and calling it off. */
import * as z from 'zod';
import { timestamp } from './domain-objects.ts';
import { method } from './method.ts';

const since = '0.1.0';

/** What a job works on. Other nouns join the enumeration when their services come. */
export const jobObject = z
  .object({
    type: z.enum(['domain', 'network', 'pool', 'volume']),
    name: z.string(),
    uuid: z.guid().nullable().describe('Null for what has none (volumes).'),
    pool: z.string().nullable().describe('For a volume: the name of its pool.'),
  })
  .meta({ id: 'JobObject', description: 'What a job works on.' });

/** How far a job is; part of lists and of `job.progress`. */
export const jobMeasure = {
  step: z.string().nullable().describe('What it does now, for people.'),
  done: z.int().nullable().describe('How much is done, in `unit`; null where nothing is counted.'),
  total: z.int().nullable().describe('How much there is to do; null while that is not known.'),
  unit: z.enum(['bytes', 'steps']).nullable().describe('What `done` and `total` count.'),
};

export const jobInfo = z
  .object({
    id: z.string().describe('Names this job for `job.cancel`.'),
    job: z.string().describe('What is being done: `start`, `clone`, ...'),
    object: jobObject,
    startedAt: timestamp,
    ...jobMeasure,
    cancellable: z.boolean().describe('`job.cancel` can call it off.'),
    cancelling: z.boolean().describe('It was called off and has not ended yet.'),
  })
  .meta({ id: 'JobInfo', description: 'A job in work.' });

export const jobMethods = [
  method({
    name: 'job.list',
    since,
    summary: 'Lists the jobs in work, the oldest first.',
    description: 'A job that waits for another on the same object is not in work yet.',
    access: 'query',
    params: () =>
      z.strictObject({
        type: jobObject.shape.type.optional().describe('Only jobs on objects of this kind.'),
        name: z.string().min(1).max(255).optional().describe('Only jobs on objects of this name or uuid.'),
      }),
    result: () => z.object({ jobs: z.array(jobInfo) }),
    errors: [],
  }),
  method({
    name: 'job.cancel',
    since,
    summary: 'Calls a job off.',
    description:
      'Returns at once with the job as it is then. It ends soon after, undone, with `operation.aborted`; one that was all but done may still succeed. The event `job.ended` tells which.',
    access: 'modify',
    params: () => z.strictObject({ id: z.string().min(1).max(64).describe('Which job: its id, as listed.') }),
    result: () => jobInfo,
    errors: ['job.not-found', 'job.not-cancellable'],
  }),
] as const;
