/** Checkpoints that come along when a disk switches to another image: what their bitmaps tell is told there too. */

import { isVirtError, reasonOf } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { QmpClient } from '../qmp/client.ts';
import {
  addBitmap,
  bitmapOn,
  mergeBitmaps,
  type NodeBitmaps,
  readBitmaps,
  removeBitmap,
  type TransactionAction,
  wholeChain,
} from './bitmaps.ts';
import { transaction } from './checkpoints.ts';

/** A disk that is about to switch. */
export interface Switching {
  /** The nodes of its images, the topmost first. */
  readonly nodes: readonly string[];
  /** The node of the image that it is on afterwards: a copy, or one of its own that all was merged into. */
  readonly target: string;
}

/**
 * Puts the checkpoints of a disk into the image that it is about to switch to, while the guest's writes are held: so they
 * tell there just what they tell here. Done again, it comes to the same. A checkpoint that the image cannot hold (raw, an
 * old qcow2) is given up: the next backup is a full one, and says so.
 * @throws VirtError qmp.closed, qmp.timeout
 */
export async function carryCheckpoints(qmp: QmpClient, switching: Switching, log: Logger): Promise<void> {
  const bitmaps = await readBitmaps(qmp);
  for (const name of checkpointsOn(switching.nodes, bitmaps)) {
    try {
      await transaction(qmp, carrying(switching, name, bitmaps));
    } catch (error) {
      if (!isVirtError(error, 'qmp.failed')) throw error;
      log.warn({ node: switching.target, checkpoint: name, reason: reasonOf(error) }, 'a checkpoint is lost');
    }
  }
}

/** Names of checkpoints of which the topmost image knows. */
function checkpointsOn([top = '']: readonly string[], bitmaps: NodeBitmaps): string[] {
  return (bitmaps.get(top) ?? []).flatMap(({ name, persistent }) =>
    name === undefined || !persistent ? [] : [name],
  );
}

/** What gives the target the bitmap of one checkpoint; nothing for one that is not whole. Pure. */
export function carrying(
  { nodes, target }: Switching,
  name: string,
  bitmaps: NodeBitmaps,
): TransactionAction[] {
  const chain = wholeChain(nodes, name, bitmaps);
  if (chain === undefined) return [];
  const sources = chain.filter((node) => node !== target);
  const merge = mergeBitmaps({ node: target, name }, sources);
  // Of an image that was merged into, the bitmap goes on; of a copy it is from an earlier try, or from another disk.
  if (chain.includes(target)) return sources.length === 0 ? [] : [merge];
  const stale = bitmapOn(bitmaps, target, name) === undefined ? [] : [removeBitmap(target, name)];
  const granularity = bitmapOn(bitmaps, chain[0] ?? '', name)?.granularity;
  return [...stale, addBitmap(target, name, granularity), merge];
}
