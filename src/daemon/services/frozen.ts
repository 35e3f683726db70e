/**
 * Guests that stand still while a moment of their disks is taken: file systems by the guest's agent, virtual CPUs by QEMU.
 * What stands still is noted in the guest's status first, so that whoever finds it so lets it go on: this daemon when the
 * agent answers again, or a new one.
 */
import { isVirtError, reasonOf } from '../../base/errors.ts';
import { tryAgain } from '../../base/try-again.ts';
import type { LiveGuest, StillRecord } from '../../drivers/driver.ts';
import type { Domain, LiveDomain } from './domain.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import { saveStatus } from './domain-status.ts';
import type { DomainWorld } from './world.ts';

/** What came of work, and why the guest did not go on after work that came to its end. */
export interface Still<T> {
  readonly result: T;
  readonly late: unknown;
}

/** How long file systems are tried to be thawed; an agent that is silent for longer is gone for good. */
const THAW_LIMIT_MS = 3600 * 1000;
/** Letting go on comes after whatever else is done to the domain, however long that takes. */
const JOB_WAIT_MS = 24 * 3600 * 1000;

/**
 * Has the guest's agent freeze its file systems around `work`, and thaw them whatever becomes of it. A thaw that the agent
 * does not answer is tried again in the background.
 * @throws VirtError agent.missing, agent.unresponsive, and what the work throws
 */
export async function whileFrozen<T>(
  world: DomainWorld,
  domain: Domain,
  live: LiveDomain,
  work: () => Promise<T>,
): Promise<Still<T>> {
  const { agent } = live.guest;
  await note(world, domain, live, { isFrozen: true });
  const thaw = () =>
    agent.thaw().then(
      () => note(world, domain, live, { isFrozen: false }),
      (error: unknown) => {
        void thawLater(world, domain, live);
        return error;
      },
    );
  try {
    await agent.freeze();
    const result = await work();
    // However long the agent takes: a guest that stays frozen is worse than an error.
    return { result, late: await thaw() };
  } catch (error) {
    // A freeze that was not answered in time may come true later: it is taken back all the same. The first error is told.
    await (isSent(error) ? thaw() : note(world, domain, live, { isFrozen: false }));
    throw error;
  }
}

/**
 * False when the agent was never told: it is not there, or was silent already when it was greeted; and when it does not take
 * the command at all, as while somebody else has frozen the file systems, who will thaw them.
 */
const isSent = (error: unknown): boolean =>
  !isVirtError(error, 'agent.missing') &&
  !(
    isVirtError(error) &&
    (error.details?.['isAsked'] === false || error.details?.['class'] === 'CommandNotFound')
  );

/** As `whileFrozen` where that is wanted; a guest that did not go on is an error. */
export async function whileFrozenIf<T>(
  world: DomainWorld,
  domain: Domain,
  { isWanted, live }: { readonly isWanted: boolean; readonly live: LiveDomain },
  work: () => Promise<T>,
): Promise<T> {
  if (!isWanted) return work();
  const { result, late } = await whileFrozen(world, domain, live, work);
  if (late !== undefined) throw late;
  return result;
}

/**
 * Pauses a guest that runs around `work`, which is of one moment then.
 * @throws VirtError qmp.*, and what the work throws; the guest goes on all the same
 */
export async function whilePaused<T>(
  world: DomainWorld,
  lifecycle: Pick<DomainLifecycle, 'goOn'>,
  domain: Domain,
  work: () => Promise<T>,
): Promise<Still<T>> {
  const { live } = domain;
  if (live === undefined || domain.state.state !== 'running')
    return { result: await work(), late: undefined };
  const goOn = async (): Promise<unknown> => {
    const late = await lifecycle.goOn(domain, live, 'unpaused').then(
      () => undefined,
      (error: unknown) => error,
    );
    await note(world, domain, live, { isPaused: false });
    return late;
  };
  await note(world, domain, live, { isPaused: true });
  try {
    await live.guest.suspend('creating snapshot');
    const result = await work();
    return { result, late: await goOn() };
  } catch (error) {
    const failure = await goOn();
    if (failure !== undefined)
      world.log.error({ err: failure, domain: domain.name }, 'a guest could not go on after a failed moment');
    throw error;
  }
}

/** Lets guests go on that a daemon left standing still; for each guest that is found again. */
export function lettingGoOn(
  world: DomainWorld,
  lifecycle: Pick<DomainLifecycle, 'goOn'>,
): (domain: Domain, guest: LiveGuest) => void {
  return (domain, guest) => {
    if (guest.record.still === undefined) return;
    settle(world, lifecycle, domain, guest).catch((error: unknown) =>
      world.log.error({ err: error, domain: domain.name }, 'a guest that was left standing still stays so'),
    );
  };
}

async function settle(
  world: DomainWorld,
  lifecycle: Pick<DomainLifecycle, 'goOn'>,
  domain: Domain,
  guest: LiveGuest,
): Promise<void> {
  const work = async () => {
    const { live } = domain;
    if (live?.guest !== guest) return;
    const { isPaused, isFrozen } = guest.record.still ?? {};
    world.log.warn(
      { domain: domain.name, isPaused, isFrozen },
      'a guest that was left standing still goes on',
    );
    if (isPaused === true && domain.state.state === 'paused') await lifecycle.goOn(domain, live, 'unpaused');
    await note(world, domain, live, { isPaused: false });
    if (isFrozen === true) void thawLater(world, domain, live, 0);
  };
  await domain.jobs.run('let go on', work, { waitMs: JOB_WAIT_MS });
}

/** Thaws as soon as the agent answers again. */
async function thawLater(
  world: DomainWorld,
  domain: Domain,
  live: LiveDomain,
  firstPauseMs?: number,
): Promise<void> {
  const facts = { domain: domain.name };
  const end = await tryAgain({
    ...(firstPauseMs !== undefined && { firstPauseMs }),
    limitMs: THAW_LIMIT_MS,
    isWanted: () => domain.live === live && live.guest.record.still?.isFrozen === true,
    attempt: async () => {
      const count = await live.guest.agent.thaw();
      await note(world, domain, live, { isFrozen: false });
      world.log.info({ ...facts, count }, 'file systems that were left frozen are thawed');
    },
    onFailure: (error) =>
      world.log.warn({ ...facts, reason: reasonOf(error) }, 'file systems may be frozen still'),
  });
  if (end !== 'given up') return;
  if (domain.live === live) await note(world, domain, live, { isFrozen: false });
  world.log.error(facts, 'the agent did not thaw the file systems; it is not asked any more');
}

/** Notes that a part stands still, or goes on; that is on disk before anything is done. */
async function note(
  world: DomainWorld,
  domain: Domain,
  { guest }: LiveDomain,
  part: StillRecord,
): Promise<void> {
  if (domain.live?.guest !== guest) return;
  const { isFrozen = false, isPaused = false } = { ...guest.record.still, ...part };
  guest.setStill(isFrozen || isPaused ? { isFrozen, isPaused } : undefined);
  const isEnd = part.isFrozen !== true && part.isPaused !== true;
  await saveStatus(world, domain).catch((error: unknown) => {
    if (!isEnd) throw error;
    world.log.warn({ domain: domain.name, reason: reasonOf(error) }, 'the status of a guest is not stored');
  });
}
