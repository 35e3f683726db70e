/**
 * Changes of running guests whose QEMU does not answer in time: held by a signal, or waiting for a server. It still does what
 * it was told when it goes on, so a change is not forgotten with its caller: then it is made, or taken back, and the running
 * definition says which.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import { inTime } from '../../base/late-answers.ts';
import type { Domain, LiveDomain } from './domain.ts';
import { saveStatus } from './domain-status.ts';
import { type DomainWorld, runJob } from './world.ts';

/** How often it is looked whether QEMU, which went on, is held again. */
const LOOK_MS = 1000;

/** `runJob` for a change of a running guest: it begins when the one before it is settled. @throws VirtError qmp.timeout, qmp.closed */
export function runChange<T>(
  world: DomainWorld,
  domain: Domain,
  name: string,
  work: (job: RunningJob) => Promise<T>,
): Promise<T> {
  return runJob(world, domain, name, async (job) => {
    await untilSettled(domain, ({ settling }) => settling);
    return work(job);
  });
}

/**
 * Waits until what is unsettled of the running guest is so no more. A QEMU that does not answer yet is asked, and that tells.
 * @throws VirtError qmp.timeout, qmp.closed
 */
export async function untilSettled(
  domain: Domain,
  unsettled: (live: LiveDomain) => Promise<unknown> | undefined,
): Promise<void> {
  for (;;) {
    const { live } = domain;
    const settling = live && unsettled(live);
    if (live === undefined || settling === undefined) return;
    await live.guest.monitorCommand('query-status');
    const looked = new AbortController();
    const look = sleep(LOOK_MS, undefined, { signal: looked.signal }).catch(() => undefined);
    await Promise.race([settling, look]);
    looked.abort();
  }
}

/**
 * Changes the running guest. Where QEMU does not answer in time that is thrown, and what it then does comes into the running
 * definition and the status file by itself: a change that was whole by then, else nothing of it.
 * @throws whatever `change` throws; VirtError qmp.timeout
 */
export async function changeGuest<T>(
  world: Pick<DomainWorld, 'runtime' | 'log'>,
  domain: Domain,
  change: () => Promise<T>,
): Promise<T> {
  const { live } = domain;
  if (live === undefined) return change();
  let isLate = false;
  try {
    return await inTime(change, (end) => {
      isLate = true;
      live.settling = settle(world, domain, live, end);
    });
  } catch (error) {
    throw isLate && isVirtError(error, 'qmp.timeout') ? notKnownYet(domain, error) : error;
  }
}

async function settle(
  world: Pick<DomainWorld, 'runtime' | 'log'>,
  domain: Domain,
  live: LiveDomain,
  end: Promise<unknown>,
): Promise<void> {
  const facts = { domain: domain.name };
  try {
    await end;
    world.log.warn(facts, 'a change that QEMU answered late is made, in the running guest alone');
  } catch (error) {
    world.log.warn({ ...facts, reason: reasonOf(error) }, 'a change that QEMU answered late was not made');
  }
  try {
    await saveStatus(world, domain);
  } catch (error) {
    world.log.error({ err: error, ...facts }, 'the status of a guest is not written');
  }
  delete live.settling;
}

function notKnownYet({ name }: Domain, error: VirtError): VirtError {
  return new VirtError(error.code, {
    ...(error.wanted !== undefined && { wanted: error.wanted }),
    reason: error.reason,
    hint: `${error.hint ?? 'see whether QEMU is stopped'}; when it answers, the change is made or taken back: 'vireo dumpxml ${name}' tells`,
    ...(error.details && { details: error.details }),
    cause: error,
  });
}
