/** Runs one of QEMU's jobs (qapi/job.json) from its command to its end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { QmpClient } from './client.ts';
import type { QmpObject } from './codec.ts';
import type { CommandResult } from './commands.ts';
import type { QmpEvent } from './events.ts';

/** QEMU answers nothing while it saves or loads a guest's memory, for as long as that takes. */
const PATIENCE_MS = 24 * 3600 * 1000;

/** A command that makes a job, with its arguments besides the job's name. */
export interface JobCommand {
  readonly execute: string;
  readonly arguments: QmpObject;
}

/**
 * Starts a job under that name, waits for its end, and has QEMU forget it. One of that name that an earlier daemon began comes to
 * its end first.
 * @throws VirtError operation.failed with QEMU's words, qmp.*
 */
export async function runQmpJob(
  qmp: QmpClient,
  id: string,
  { execute, arguments: args }: JobCommand,
  wanted: string,
): Promise<void> {
  const watch = watchFor(qmp, id);
  try {
    const begin = () => qmp.executeRaw(execute, { 'job-id': id, ...args }, { timeoutMs: PATIENCE_MS });
    await begin().catch(async (error: unknown) => {
      if (!isVirtError(error, 'qmp.failed') || !/already in use/.test(error.reason)) throw error;
      await endedJob(qmp, id);
      await begin();
    });
    await watch.concluded;
    // In one go: QEMU answers in order.
    const [jobs] = await Promise.all([
      qmp.execute('query-jobs', undefined, { timeoutMs: PATIENCE_MS }),
      qmp.execute('job-dismiss', { id }),
    ]);
    const error = jobs.find((job) => job.id === id)?.error;
    if (error !== undefined) throw new VirtError('operation.failed', { wanted, reason: error });
  } finally {
    watch.stop();
  }
}

/** How often QEMU is asked whether a job of an earlier daemon is at its end. */
const LOOK_MS = 100;

/** A job that a daemon began which died before its end: waits for that, and has QEMU forget it. Undefined: there is none. */
export async function endedJob(
  qmp: QmpClient,
  id: string,
): Promise<CommandResult<'query-jobs'>[number] | undefined> {
  for (;;) {
    const jobs = await qmp.execute('query-jobs', undefined, { timeoutMs: PATIENCE_MS });
    const job = jobs.find((one) => one.id === id);
    if (job === undefined) return undefined;
    if (job.status === 'concluded') {
      await qmp.execute('job-dismiss', { id });
      return job;
    }
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
