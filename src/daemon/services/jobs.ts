/**
 * The daemon's jobs: the registry of base/job-registry.ts for the objects we have, told to clients as events. One for
 * the whole daemon: every service gets it in its world and reports long work to it.
 */
import type { EventPayload } from '../../api/index.ts';
import { type ErrorCode, isVirtError } from '../../base/errors.ts';
import { type JobChange, JobRegistry, type JobState } from '../../base/job-registry.ts';
import type { EventBus, EventDomain } from './events.ts';

/** What a job works on, by kind. */
export type JobObject =
  | ({ readonly type: 'domain' } & EventDomain)
  | { readonly type: 'network' | 'pool'; readonly uuid: string; readonly name: string }
  | { readonly type: 'volume'; readonly name: string; readonly pool: string };

export type Jobs = JobRegistry<JobObject>;

/** The daemon's registry; its changes become events. */
export function createJobs(events: EventBus): Jobs {
  const jobs: Jobs = new JobRegistry();
  jobs.subscribe((change) => publish(events, change));
  return jobs;
}

function publish(events: EventBus, change: JobChange<JobObject>): void {
  const about = aboutOf(change.job);
  switch (change.what) {
    case 'started':
      return events.publish({ event: 'job.started', ...about });
    case 'progress':
      return events.publish({ event: 'job.progress', ...about, ...measureOf(change.job) });
    case 'ended':
      return events.publish({
        event: 'job.ended',
        ...about,
        ...measureOf(change.job),
        durationMs: change.durationMs,
        error: change.error === undefined ? null : describeFailure(change.error),
      });
  }
}

/** Who and what, as every job event carries it. The domain or network stands there for the filters of subscriptions. */
function aboutOf({ id, kind, object }: JobState<JobObject>): EventPayload<'job.started'> {
  const about = { id, job: kind, object: objectOf(object) };
  if (object.type === 'domain') {
    const { type: _, ...domain } = object;
    return { ...about, domain };
  }
  if (object.type === 'network') return { ...about, network: { uuid: object.uuid, name: object.name } };
  return about;
}

/** The object as clients see it. */
export function objectOf(object: JobObject): EventPayload<'job.started'>['object'] {
  return {
    type: object.type,
    name: object.name,
    uuid: 'uuid' in object ? object.uuid : null,
    pool: object.type === 'volume' ? object.pool : null,
  };
}

/** How far it is, as clients see it. */
export function measureOf({ step, done, total, unit }: JobState<JobObject>) {
  return { step: step ?? null, done: done ?? null, total: total ?? null, unit: unit ?? null };
}

/** How a job failed, as its event tells it. */
export function describeFailure(error: unknown): { readonly code: ErrorCode; readonly reason: string } {
  return isVirtError(error)
    ? { code: error.code, reason: error.reason }
    : { code: 'internal.error', reason: 'the daemon has a bug; its log has more' };
}
