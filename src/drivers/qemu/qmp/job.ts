/** Runs one of QEMU's jobs (qapi/job.json) from its command to its end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { ProcessId } from '../../../base/spawn.ts';
import type { QmpClient } from './client.ts';
import type { QmpObject } from './codec.ts';
import type { CommandResult } from './commands.ts';
import type { QmpEvent } from './events.ts';
import { unlessHeld } from './held.ts';

/** QEMU answers nothing while it saves or loads a guest's memory, for as long as that takes. */
const PATIENCE_MS = 24 * 3600 * 1000;

/** A command that makes a job, with its arguments besides the job's name. */
export interface JobCommand {
  readonly execute: string;
  readonly arguments: QmpObject;
}

/** Whose job it is, and what for: `wanted` in words. */
export interface JobOwner {
  readonly qmp: QmpClient;
  readonly process: ProcessId;
  readonly wanted: string;
}

/**
 * Starts a job under that name, waits for its end, and has QEMU forget it. One of that name that an earlier daemon began comes to
 * its end first.
 * @throws VirtError operation.failed with QEMU's words; qmp.timeout for a QEMU that is held by a signal: what becomes of the
 *   job is not known then, and `endedJob` tells it later; qmp.*
 */
export async function runQmpJob(
  owner: JobOwner,
  id: string,
  { execute, arguments: args }: JobCommand,
): Promise<void> {
  const { qmp, wanted } = owner;
  const watch = watchFor(qmp, id);
  const begin = () =>
    patiently(owner, qmp.executeRaw(execute, { 'job-id': id, ...args }, { timeoutMs: PATIENCE_MS }));
  try {
    await begin().catch(async (error: unknown) => {
      if (!isVirtError(error, 'qmp.failed') || !/already in use/.test(error.reason)) throw error;
      await endedJob(owner, id);
      await begin();
    });
    await patiently(owner, watch.concluded);
    const job = await dismissed(owner, id);
    if (job?.error !== undefined) throw new VirtError('operation.failed', { wanted, reason: job.error });
  } finally {
    watch.stop();
  }
}

type Job = CommandResult<'query-jobs'>[number];

function patiently<T>({ qmp, process, wanted }: JobOwner, work: Promise<T>): Promise<T> {
  return unlessHeld(work, { wanted, process, limitMs: qmp.commandMs });
}

/** Looks at a job, and has QEMU forget one that is at its end; that only when it is seen: nobody could tell afterwards. */
async function dismissed(owner: JobOwner, id: string): Promise<Job | undefined> {
  const { qmp } = owner;
  const jobs = await patiently(owner, qmp.execute('query-jobs', undefined, { timeoutMs: PATIENCE_MS }));
  const job = jobs.find((one) => one.id === id);
  if (job?.status === 'concluded') await qmp.execute('job-dismiss', { id });
  return job;
}

/** How often QEMU is asked whether a job of an earlier daemon is at its end. */
const LOOK_MS = 100;

/**
 * A job that somebody began who does not wait for it any more: waits for its end, and has QEMU forget it. Undefined: there is
 * none. @throws VirtError qmp.timeout for a QEMU that is held by a signal, qmp.*
 */
export async function endedJob(owner: JobOwner, id: string): Promise<Job | undefined> {
  for (;;) {
    const job = await dismissed(owner, id);
    if (job === undefined || job.status === 'concluded') return job;
    await sleep(LOOK_MS);
  }
}

/** Settles when the job has concluded, or fails with the connection. */
function watchFor(qmp: QmpClient, id: string): { readonly concluded: Promise<void>; stop(): void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => undefined); // The command may fail before anybody waits.
  const stop = qmp.onEvent((event) => {
    if (isConcluded(event, id)) resolve();
  });
  void qmp.closed.then(({ error }) => reject(error));
  return { concluded: promise, stop };
}

function isConcluded({ name, data }: QmpEvent, id: string): boolean {
  return name === 'JOB_STATUS_CHANGE' && data['id'] === id && data['status'] === 'concluded';
}
