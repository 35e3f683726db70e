/** Job methods onto the daemon's registry of jobs. */
import type { Result } from '../../../api/index.ts';
import type { JobState } from '../../../base/job-registry.ts';
import { type JobObject, type Jobs, measureOf, objectOf } from '../../services/jobs.ts';
import type { Handlers } from './handlers.ts';

type JobHandlers = Pick<Handlers, Extract<keyof Handlers, `job.${string}`>>;

export function bindJobs(jobs: Jobs): JobHandlers {
  return {
    'job.list': async ({ type, name }) => {
      const fits = ({ object }: JobState<JobObject>) =>
        (type === undefined || object.type === type) &&
        (name === undefined ||
          object.name === name ||
          ('uuid' in object && object.uuid === name.toLowerCase()));
      return { jobs: jobs.list().filter(fits).map(jobInfoOf) };
    },
    'job.cancel': async ({ id }) => jobInfoOf(jobs.cancel(id)),
  };
}

function jobInfoOf(job: JobState<JobObject>): Result<'job.cancel'> {
  return {
    id: job.id,
    job: job.kind,
    object: objectOf(job.object),
    startedAt: new Date(job.startedAtMs).toISOString(),
    ...measureOf(job),
    cancellable: job.isCancellable,
    cancelling: job.isCancelling,
  };
}
