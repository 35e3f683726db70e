/** The tray of a drive: opened, its medium changed, closed again, with a guest that may close it meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { QmpClient } from '../qmp/client.ts';

export interface MediumSwap {
  /** The drive's alias. */
  readonly id: string;
  /** The node that goes into the drive; undefined leaves it empty. */
  readonly node: string | undefined;
  /** Opens a tray that the guest has locked. */
  readonly force: boolean;
  /** For messages. */
  readonly domain: string;
}

/** How often a tray that the guest closed under us is opened again, and how long is waited before that, in milliseconds. */
const openings = 20;
const pause = 50;

/**
 * Takes the medium out of a drive and puts another one in, if any; the tray is closed then. A guest notices an open tray
 * and may close it at once (Linux does when something opens the device), so that it is opened again for a second or so.
 * Floppy drives have no tray; QEMU takes the commands all the same.
 * @throws VirtError domain.state when the tray is locked or the guest closes it again and again, qmp.*
 */
export async function swapMedium(qmp: Pick<QmpClient, 'executeRaw'>, swap: MediumSwap): Promise<void> {
  const { id, node } = swap;
  await inOpenTray(qmp, swap, () => qmp.executeRaw('blockdev-remove-medium', { id }));
  if (node !== undefined)
    await inOpenTray(qmp, swap, () => qmp.executeRaw('blockdev-insert-medium', { id, 'node-name': node }));
  await qmp.executeRaw('blockdev-close-tray', { id });
}

async function inOpenTray(
  qmp: Pick<QmpClient, 'executeRaw'>,
  swap: MediumSwap,
  act: () => Promise<unknown>,
): Promise<void> {
  for (let left = openings; ; left -= 1) {
    await openTray(qmp, swap);
    try {
      await act();
      return;
    } catch (error) {
      if (!isVirtError(error, 'qmp.failed') || !/is not open/.test(error.reason)) throw error;
      if (left <= 1) throw lockedBy(swap, 'the guest closes the tray whenever it is opened', error);
      await sleep(pause);
    }
  }
}

async function openTray(qmp: Pick<QmpClient, 'executeRaw'>, swap: MediumSwap): Promise<void> {
  try {
    await qmp.executeRaw('blockdev-open-tray', { id: swap.id, force: swap.force });
  } catch (error) {
    if (!isVirtError(error, 'qmp.failed') || !/is locked/.test(error.reason)) throw error;
    throw lockedBy(swap, 'the guest has locked the tray', error);
  }
}

function lockedBy({ id, domain }: MediumSwap, reason: string, cause: VirtError): VirtError {
  return new VirtError('domain.state', {
    wanted: `change the medium in ${id} of domain '${domain}'`,
    reason,
    hint: 'eject it inside the guest, or use force',
    cause,
  });
}
