/** The snapshots of one domain as a tree: parents, children, leaves, and the lists that clients ask for. Pure. */
import { VirtError } from '../../base/errors.ts';
import { isExternal, type Snapshot } from '../../model/snapshot/snapshot.ts';

/** Every filter that is given must hold. */
export interface SnapshotFilter {
  /** Only those without a parent. */
  readonly roots?: boolean;
  readonly leaves?: boolean;
  readonly states?: readonly ('inactive' | 'active' | 'disk-only')[];
  readonly locations?: readonly ('internal' | 'external')[];
}

export class SnapshotTree {
  private readonly byName = new Map<string, Snapshot>();
  /** The one that the domain's state comes from. */
  current: string | undefined;

  constructor(snapshots: readonly Snapshot[], current: string | undefined) {
    for (const snapshot of snapshots) this.byName.set(snapshot.name, snapshot);
    this.current = current !== undefined && this.byName.has(current) ? current : undefined;
  }

  get size(): number {
    return this.byName.size;
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  get(name: string): Snapshot | undefined {
    return this.byName.get(name);
  }

  set(snapshot: Snapshot): void {
    this.byName.set(snapshot.name, snapshot);
  }

  remove(name: string): void {
    this.byName.delete(name);
    if (this.current === name) this.current = undefined;
  }

  /** The parent; undefined for a root, and where the parent that the document names is not there. */
  parentOf({ parent }: Snapshot): Snapshot | undefined {
    return parent?.name === undefined ? undefined : this.byName.get(parent.name);
  }

  childrenOf(name: string): Snapshot[] {
    return this.all.filter((one) => one.parent?.name === name);
  }

  /** All below, each after its parent. */
  descendantsOf(name: string): Snapshot[] {
    return this.childrenOf(name).flatMap((child) => [child, ...this.descendantsOf(child.name)]);
  }

  /** Those without a parent. */
  get roots(): Snapshot[] {
    return this.all.filter((one) => this.parentOf(one) === undefined);
  }

  /** All, by name. */
  get all(): Snapshot[] {
    return [...this.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** All, each after its parent. */
  get topological(): Snapshot[] {
    return this.roots.flatMap((root) => [root, ...this.descendantsOf(root.name)]);
  }

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

  /** @throws VirtError request.invalid when `parent` is `name` or lies below it */
  refuseLoop(name: string, parent: string | undefined): void {
    let next = parent;
    for (let steps = 0; next !== undefined && steps <= this.size; steps++) {
      if (next === name)
        throw new VirtError('request.invalid', {
          wanted: `put snapshot '${name}' below '${parent}'`,
          reason: `parent ${parent} would create cycle to ${name}`,
        });
      next = this.byName.get(next)?.parent?.name;
    }
  }
}

/** Which kind of state it holds. */
export function kindOf({ state }: Snapshot): 'inactive' | 'active' | 'disk-only' {
  if (state === 'shutoff') return 'inactive';
  return state === 'disk-snapshot' ? 'disk-only' : 'active';
}
