/**
 * Numbers of a guest's sets of descriptors (monitor command add-fd): which is free next, and which belong to what was added
 * while this daemon ran. QEMU reads its monitor byte by byte, about 3 µs each, so that what is known is not asked for.
 */
import type { QmpClient } from '../qmp/client.ts';
import type { LiveStep } from './steps.ts';

/** Kept free above what is there: QEMU itself gives the lowest free numbers to sets of backups and states. */
const MARGIN = 20;

export class DescriptorSets {
  private next: number | undefined;
  private readonly byOwner = new Map<string, number[]>();
  private readonly byNode = new Map<string, number>();

  /** A number that no set has; those above it are free as well. @throws VirtError qmp.* */
  async firstFree(qmp: QmpClient): Promise<number> {
    if (this.next !== undefined) return this.next;
    const sets = await qmp.execute('query-fdsets');
    this.next = MARGIN + Math.max(0, ...sets.map((set) => set['fdset-id']));
    return this.next;
  }

  /** Notes a set that something is given. */
  give(owner: string, set: number): void {
    const own = this.byOwner.get(owner) ?? [];
    if (!own.includes(set)) this.byOwner.set(owner, [...own, set]);
    if (this.next !== undefined) this.next = Math.max(this.next, set + 1);
  }

  /** Notes which node of a disk has its file from which set. */
  noteNodes(steps: readonly LiveStep[]): void {
    for (const step of steps) {
      const node = fileNodeOf(step);
      if (node !== undefined) this.byNode.set(node.name, node.set);
    }
  }

  /** All sets of an owner and of the nodes that these steps make; undefined when some are of an earlier time. */
  known(owner: string, steps: readonly LiveStep[]): number[] | undefined {
    const own = this.byOwner.get(owner);
    if (own === undefined) return undefined;
    const nodes = steps.flatMap((step) => fileNodeOf(step) ?? []);
    const sets = nodes.map(({ name }) => this.byNode.get(name));
    return sets.includes(undefined)
      ? undefined
      : [...new Set([...own, ...sets.filter((set) => set !== undefined)])];
  }

  /** It is gone, with its sets. */
  forget(owner: string, steps: readonly LiveStep[]): void {
    this.byOwner.delete(owner);
    for (const step of steps) {
      const node = fileNodeOf(step);
      if (node !== undefined) this.byNode.delete(node.name);
    }
  }
}

/** The node that a step adds on a set, where it is one. */
function fileNodeOf({ execute, arguments: args }: LiveStep): { name: string; set: number } | undefined {
  const { filename, 'node-name': name } = args;
  if (execute !== 'blockdev-add' || typeof filename !== 'string' || typeof name !== 'string')
    return undefined;
  const set = /^\/dev\/fdset\/(\d+)$/.exec(filename)?.[1];
  return set === undefined ? undefined : { name, set: Number(set) };
}
