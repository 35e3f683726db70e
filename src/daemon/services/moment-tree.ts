/**
 * Moments of one domain (snapshots, checkpoints) as a tree: parents, children, and which one the present came from. Pure.
 */
import { VirtError } from '../../base/errors.ts';

/** What a moment has at least. */
export interface Moment {
  readonly name: string;
  readonly parent?: { readonly name?: string | undefined } | undefined;
}

export class MomentTree<T extends Moment> {
  protected readonly byName = new Map<string, T>();
  /** The one that the domain's state comes from. */
  current: string | undefined;

  constructor(snapshots: readonly T[], current: string | undefined) {
    for (const snapshot of snapshots) this.byName.set(snapshot.name, snapshot);
    this.current = current !== undefined && this.byName.has(current) ? current : undefined;
  }

  get size(): number {
    return this.byName.size;
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  get(name: string): T | undefined {
    return this.byName.get(name);
  }

  set(snapshot: T): void {
    this.byName.set(snapshot.name, snapshot);
  }

  remove(name: string): void {
    this.byName.delete(name);
    if (this.current === name) this.current = undefined;
  }

  /** The parent; undefined for a root, and where the parent that the document names is not there. */
  parentOf({ parent }: T): T | undefined {
    return parent?.name === undefined ? undefined : this.byName.get(parent.name);
  }

  childrenOf(name: string): T[] {
    return this.all.filter((one) => one.parent?.name === name);
  }

  /** All below, each after its parent. */
  descendantsOf(name: string): T[] {
    return this.childrenOf(name).flatMap((child) => [child, ...this.descendantsOf(child.name)]);
  }

  /** Those without a parent. */
  get roots(): T[] {
    return this.all.filter((one) => this.parentOf(one) === undefined);
  }

  /** All, by name. */
  get all(): T[] {
    return [...this.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** All, each after its parent. */
  get topological(): T[] {
    return this.roots.flatMap((root) => [root, ...this.descendantsOf(root.name)]);
  }

  /** @throws VirtError request.invalid when `parent` is `name` or lies below it */
  refuseLoop(name: string, parent: string | undefined): void {
    let next = parent;
    for (let steps = 0; next !== undefined && steps <= this.size; steps++) {
      if (next === name)
        throw new VirtError('request.invalid', {
          wanted: `put '${name}' below '${parent}'`,
          reason: `parent ${parent} would create cycle to ${name}`,
        });
      next = this.byName.get(next)?.parent?.name;
    }
  }
}
