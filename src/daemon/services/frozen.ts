/** File systems that stand still while a moment of the disks is taken. */
import { isVirtError } from '../../base/errors.ts';
import type { LiveGuest } from '../../drivers/driver.ts';

/**
 * Has the guest's agent freeze its file systems around `work`, where that is wanted.
 * @throws VirtError agent.missing, agent.unresponsive
 */
export async function whileFrozen<T>(
  { agent }: Pick<LiveGuest, 'agent'>,
  isWanted: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (!isWanted) return work();
  await agent.freeze().catch(async (error: unknown) => {
    // One that was not answered in time may come true later: it is taken back all the same. The first error is told.
    if (!isVirtError(error, 'agent.missing')) await agent.thaw().catch(() => undefined);
    throw error;
  });
  try {
    return await work();
  } finally {
    // However long the agent takes: a guest that stays frozen is worse than an error.
    await agent.thaw();
  }
}
