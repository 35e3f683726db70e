/** The snapshots of one domain as a tree: parents, children, leaves, and the lists that clients ask for. Pure. */
import { isExternal, type Snapshot } from '../../model/snapshot/snapshot.ts';
import { MomentTree } from './moment-tree.ts';

/** Every filter that is given must hold. */
export interface SnapshotFilter {
  /** Only those without a parent. */
  readonly roots?: boolean;
  readonly leaves?: boolean;
  readonly states?: readonly ('inactive' | 'active' | 'disk-only')[];
  readonly locations?: readonly ('internal' | 'external')[];
}

export class SnapshotTree extends MomentTree<Snapshot> {
  /** The ones of a list that fit. */
  filter(list: readonly Snapshot[], { roots, leaves, states, locations }: SnapshotFilter): Snapshot[] {
    return list.filter(
      (one) =>
        (roots === undefined || (this.parentOf(one) === undefined) === roots) &&
        (leaves === undefined || (this.childrenOf(one.name).length === 0) === leaves) &&
        (states === undefined || states.includes(kindOf(one))) &&
        (locations === undefined || locations.includes(isExternal(one) ? 'external' : 'internal')),
    );
  }
}

/** Which kind of state it holds. */
export function kindOf({ state }: Snapshot): 'inactive' | 'active' | 'disk-only' {
  if (state === 'shutoff') return 'inactive';
  return state === 'disk-snapshot' ? 'disk-only' : 'active';
}
