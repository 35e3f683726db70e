/** File systems that stand still while a moment of the disks is taken. */
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
  await agent.freeze();
  try {
    return await work();
  } finally {
    // However long the agent takes: a guest that stays frozen is worse than an error.
    await agent.thaw();
  }
}
