/** Events of jobs. */
import * as z from 'zod';
import { errorTable } from '../../base/errors.ts';
import { domainIdentity } from '../domain-objects.ts';
import { jobMeasure, jobObject } from '../jobs.ts';
import { event } from '../method.ts';
import { networkIdentity } from '../network-objects.ts';

const since = '0.1.0';

const errorCodes = Object.keys(errorTable) as [keyof typeof errorTable, ...(keyof typeof errorTable)[]];

/** What a job is and works on. A job on a domain or network carries that too, so that filters find it. */
const about = {
  id: z.string().describe('Names the job: the same in its events and in `job.list`.'),
  job: z.string().describe('Name of the job: `start`, `destroy`, ...'),
  object: jobObject,
  domain: domainIdentity.optional().describe('The domain it works on.'),
  network: networkIdentity.optional().describe('The network it works on.'),
};

export const jobEvents = [
  event({
    name: 'job.started',
    since,
    summary: 'A job began to work on an object.',
    payload: () => z.object(about),
  }),
  event({
    name: 'job.progress',
    since,
    summary: 'A job came further: told at each new step, and at most four times a second in between.',
    payload: () => z.object({ ...about, ...jobMeasure }),
  }),
  event({
    name: 'job.ended',
    since,
    summary: 'A job let go of its object.',
    payload: () =>
      z.object({
        ...about,
        ...jobMeasure,
        durationMs: z.int(),
        error: z
          .object({ code: z.enum(errorCodes), reason: z.string() })
          .nullable()
          .describe('Null when it succeeded.'),
      }),
  }),
] as const;
