/** The checkpoints that are known of domains: in memory as trees, on disk as documents. */
import { VirtError } from '../../base/errors.ts';
import type { Checkpoint } from '../../model/checkpoint/checkpoint.ts';
import type { CheckpointStore } from '../state/checkpoints.ts';
import type { Domain } from './domain.ts';
import { MomentTree } from './moment-tree.ts';

export type CheckpointTree = MomentTree<Checkpoint>;

interface Kept {
  readonly tree: CheckpointTree;
  pending: string | undefined;
}

type Owner = Pick<Domain, 'uuid'>;

export class CheckpointRecords {
  private readonly store: CheckpointStore;
  /** UUIDs of domains that have something stored; what is there is read when somebody asks. */
  private readonly stored: Set<string>;
  private readonly kept = new Map<string, Kept>();

  constructor(store: CheckpointStore) {
    this.store = store;
    this.stored = new Set(store.domains());
  }

  /** UUIDs of the domains that may have any. */
  get uuids(): readonly string[] {
    return [...this.stored];
  }

  treeOf({ uuid }: Owner): CheckpointTree {
    return this.of(uuid).tree;
  }

  /** One that was begun, and may not be in the images. */
  pendingOf({ uuid }: Owner): string | undefined {
    return this.of(uuid).pending;
  }

  private of(uuid: string): Kept {
    const known = this.kept.get(uuid);
    if (known !== undefined) return known;
    if (!this.stored.has(uuid))
      return { tree: new MomentTree<Checkpoint>([], undefined), pending: undefined };
    const { checkpoints, state } = this.store.load(uuid);
    const kept = { tree: new MomentTree(checkpoints, state.current), pending: state.pending };
    this.kept.set(uuid, kept);
    return kept;
  }

  /** The same object from now on. */
  private claim(uuid: string): Kept {
    const kept = this.of(uuid);
    this.stored.add(uuid);
    this.kept.set(uuid, kept);
    return kept;
  }

  /** Notes one that is about to be made: document first, so that no bitmap is ever without one. */
  async begin({ uuid }: Owner, checkpoint: Checkpoint): Promise<void> {
    const kept = this.claim(uuid);
    await this.store.saveState(uuid, { current: kept.tree.current, pending: checkpoint.name });
    kept.pending = checkpoint.name;
    await this.store.save(uuid, checkpoint);
    kept.tree.set(checkpoint);
  }

  /** Notes which one is the current, and that nothing is under way. */
  async finish({ uuid }: Owner, current: string | undefined): Promise<void> {
    const kept = this.claim(uuid);
    await this.store.saveState(uuid, { current });
    kept.tree.current = current;
    kept.pending = undefined;
  }

  async save({ uuid }: Owner, checkpoint: Checkpoint): Promise<void> {
    const { tree } = this.claim(uuid);
    await this.store.save(uuid, checkpoint);
    tree.set(checkpoint);
  }

  /** Its children get its parent, which becomes the current one where it was; then its document goes. */
  async forget(domain: Owner, { name }: Pick<Checkpoint, 'name'>): Promise<void> {
    const { tree } = this.claim(domain.uuid);
    const own = tree.get(name);
    if (own === undefined) return;
    const parent = tree.parentOf(own)?.name;
    for (const child of tree.childrenOf(name)) {
      const { parent: _gone, ...rest } = child;
      await this.save(domain, parent === undefined ? rest : { ...rest, parent: { name: parent } });
    }
    const current = tree.current === name ? parent : tree.current;
    await this.store.remove(domain.uuid, name);
    tree.remove(name);
    await this.finish(domain, current);
  }

  /** Forgets all of a domain's; what is in images stays there. */
  async forgetAll({ uuid }: Owner): Promise<void> {
    if (!this.stored.has(uuid)) return;
    await this.store.removeAll(uuid);
    this.stored.delete(uuid);
    this.kept.delete(uuid);
  }

  /** @throws VirtError checkpoint.not-found */
  find(domain: Pick<Domain, 'uuid' | 'name'>, name: string): Checkpoint {
    const found = this.treeOf(domain).get(name);
    if (found !== undefined) return found;
    throw new VirtError('checkpoint.not-found', {
      wanted: `find a checkpoint of domain '${domain.name}'`,
      reason: `no domain checkpoint with matching name '${name}'`,
      hint: `'vireo checkpoint list ${domain.name}' shows those that are there`,
    });
  }
}
