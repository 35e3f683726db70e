/** Snapshots of domains as the front ends use them: looking, making, returning, deleting, and defining again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { VirtError } from '../../base/errors.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import {
  formatSnapshot,
  hasMemory,
  isExternal,
  parseSnapshot,
  type Snapshot,
  type SnapshotDef,
} from '../../model/snapshot/snapshot.ts';
import type { Domain } from './domain.ts';
import type { UndefineOptions } from './domain-definitions.ts';
import { type CreateOptions, createSnapshot } from './domain-snapshot-create.ts';
import { type DeleteOptions, deleteSnapshots, meant } from './domain-snapshot-delete.ts';
import { recoverSnapshots, settle, settleLater } from './domain-snapshot-recovery.ts';
import { type RevertOptions, revertToSnapshot } from './domain-snapshot-revert.ts';
import { planCreate, planDelete, planRevert, type SnapshotPlan } from './snapshot-plan.ts';
import type { SnapshotTree } from './snapshot-tree.ts';
import { type SnapshotEngine, type SnapshotOptions, SnapshotWorld } from './snapshot-world.ts';
import { runJob } from './world.ts';

/** How long the daemon's start waits for what an earlier one was at with snapshots. */
const RECOVERY_WAIT_MS = 10_000;

export class DomainSnapshots {
  private readonly snapshots: SnapshotWorld;
  /** Asked before images of external snapshots are merged: whoever throws keeps them. */
  readonly beforeMerge: ((domain: Domain) => void)[] = [];
  /** Those for which something is tried again and again. */
  private readonly unsettled = new Set<Domain>();

  constructor(engine: SnapshotEngine, options: SnapshotOptions) {
    this.snapshots = new SnapshotWorld(engine, options);
    engine.definitions.addBelonging((domain, options) => this.onUndefine(domain, options));
    // A domain that is gone for good has no snapshots: a new one of its uuid is another.
    engine.world.events.subscribe((event) => {
      if (event.event !== 'domain.stopped' || engine.world.registry.withUuid(event.domain.uuid)) return;
      this.forgetAll(event.domain).catch((error: unknown) =>
        engine.world.log.error({ err: error, domain: event.domain.name }, 'snapshots could not be forgotten'),
      );
    });
  }

  /**
   * Brings to an end, or takes back, what an earlier daemon was at. After the guests were found again. What takes long, as a
   * merge of large images does, goes on afterwards: its domain is busy until then, and others are not.
   */
  async recover(): Promise<void> {
    const settled = recoverSnapshots(this.snapshots, (domain) => this.settleLater(domain));
    await Promise.race([settled, sleep(RECOVERY_WAIT_MS, undefined, { ref: false })]);
  }

  treeOf(domain: Domain): SnapshotTree {
    return this.snapshots.treeOf(domain);
  }

  /** @throws VirtError snapshot.not-found */
  find(domain: Domain, name: string): Snapshot {
    return this.snapshots.find(domain, name);
  }

  /** The document; `secure`: with passwords. @throws VirtError snapshot.not-found */
  xml(domain: Domain, name: string, { secure }: { readonly secure: boolean }): string {
    return formatSnapshot(this.find(domain, name), { secure, uuid: domain.uuid });
  }

  create(domain: Domain, wish: SnapshotDef, options: CreateOptions = {}): Promise<Snapshot> {
    return this.settled(domain, () => createSnapshot(this.snapshots, domain, wish, options));
  }

  /** What `create` would do. @throws VirtError as it, where that can be known before */
  planCreate(domain: Domain, wish: SnapshotDef, options: CreateOptions): Promise<SnapshotPlan> {
    return planCreate(this.snapshots, domain, wish, options);
  }

  /** What `revert` would do. @throws VirtError as it, where that can be known before */
  planRevert(domain: Domain, name: string, options: RevertOptions): Promise<SnapshotPlan> {
    return planRevert(this.snapshots, domain, name, options);
  }

  /** What `delete` would do. @throws VirtError snapshot.not-found, file.* */
  planDelete(domain: Domain, name: string, options: DeleteOptions): Promise<SnapshotPlan> {
    return planDelete(this.snapshots, domain, name, options);
  }

  revert(domain: Domain, name: string, options: RevertOptions = {}): Promise<void> {
    return this.settled(domain, () => revertToSnapshot(this.snapshots, domain, name, options), {
      endsReturn: true,
    });
  }

  /** The names of those that went. */
  async delete(domain: Domain, name: string, options: DeleteOptions): Promise<string[]> {
    if (!options.metadataOnly && meant(this.snapshots, domain, name, options.scope).some(isExternal))
      for (const ask of this.beforeMerge) ask(domain);
    return this.settled(domain, () => deleteSnapshots(this.snapshots, domain, name, options), {
      endsReturn: options.metadataOnly,
    });
  }

  /**
   * After what an earlier call had to leave open; what this one leaves open is tried again until it is at an end. `endsReturn`:
   * a return that cannot be brought to its end does not matter any more.
   */
  private async settled<T>(
    domain: Domain,
    work: () => Promise<T>,
    { endsReturn = false }: { readonly endsReturn?: boolean } = {},
  ): Promise<T> {
    await settle(this.snapshots, domain).catch((error: unknown) => {
      if (!endsReturn || this.snapshots.pendingOf(domain)?.kind !== 'revert') throw error;
    });
    try {
      return await work();
    } catch (error) {
      if (this.snapshots.pendingOf(domain) !== undefined) this.settleLater(domain);
      throw error;
    }
  }

  private settleLater(domain: Domain): void {
    if (this.unsettled.has(domain)) return;
    this.unsettled.add(domain);
    void settleLater(this.snapshots, domain).finally(() => this.unsettled.delete(domain));
  }

  /**
   * Stores a document of a snapshot that was made earlier, here or elsewhere; what it tells of must be in the images.
   * `makeCurrent`: it is the one that the domain's state comes from.
   * @throws VirtError xml.*, request.invalid for one that contradicts what is known, file.*
   */
  async define(
    domain: Domain,
    xml: string,
    { mode, makeCurrent }: { readonly mode: ParseMode; readonly makeCurrent: boolean },
  ): Promise<Snapshot> {
    const { definition } = parseSnapshot(xml, { mode });
    return runJob(this.snapshots.world, domain, 'define snapshot', async () => {
      const tree = this.treeOf(domain);
      const snapshot = redefined(domain, definition, tree);
      await this.snapshots.save(domain, snapshot);
      await this.snapshots.finish(domain, makeCurrent ? snapshot.name : tree.current);
      return snapshot;
    });
  }

  /** A running guest keeps them until it ends. @throws VirtError domain.state when nobody said that they may go */
  private onUndefine(
    domain: Domain,
    { forgetSnapshots }: UndefineOptions,
  ): (() => Promise<void>) | undefined {
    const { size } = this.treeOf(domain);
    if (domain.isActive || size === 0) return undefined;
    if (forgetSnapshots === true) return () => this.forgetAll(domain);
    throw new VirtError('domain.state', {
      wanted: `undefine domain '${domain.name}'`,
      reason: `cannot delete inactive domain with ${size} snapshots`,
      hint: `delete them with 'vireo snapshot delete', or forget them too: 'vireo undefine ${domain.name} --forget-snapshots'`,
    });
  }

  /** Reads the stored snapshots of a domain again, which somebody else has put there. */
  lookAgain(domain: Domain): void {
    this.snapshots.lookAgain(domain);
  }

  /** Forgets all; what is in images stays there. */
  async forgetAll(domain: Pick<Domain, 'uuid'>): Promise<void> {
    await this.snapshots.removeAll(domain);
  }
}

/** libvirt's rules for a document that comes again. @throws VirtError request.invalid, xml.invalid */
function redefined(domain: Domain, definition: SnapshotDef, tree: SnapshotTree): Snapshot {
  const wanted = `define a snapshot of domain '${domain.name}'`;
  const refuse = (reason: string): never => {
    throw new VirtError('request.invalid', { wanted, reason });
  };
  const { name, state, creationTime, active: _active, ...rest } = definition;
  if (name === undefined) throw missing(wanted, 'a redefined snapshot must have a name', 'name');
  if (state === undefined) throw missing(wanted, 'missing state from existing snapshot', 'state');
  if (creationTime === undefined)
    throw missing(wanted, 'missing creationTime from existing snapshot', 'creationTime');
  if (rest.domain?.uuid !== undefined && rest.domain.uuid !== domain.uuid)
    refuse(`definition for snapshot ${name} must use uuid ${domain.uuid}`);
  const parent = rest.parent?.name;
  if (parent === name) refuse(`cannot set snapshot ${name} as its own parent`);
  if (parent !== undefined && !tree.has(parent)) refuse(`parent ${parent} for snapshot ${name} not found`);
  tree.refuseLoop(name, parent);
  const snapshot = { ...rest, name, state, creationTime };
  const known = tree.get(name);
  if (known !== undefined && hasMemory(known) !== hasMemory(snapshot))
    refuse(`cannot change between online and offline snapshot state in snapshot ${name}`);
  if (known !== undefined && (known.state === 'disk-snapshot') !== (state === 'disk-snapshot'))
    refuse(`cannot change between disk only and full system in snapshot ${name}`);
  return snapshot.memory === undefined
    ? { ...snapshot, memory: { snapshot: hasMemory(snapshot) ? 'internal' : 'no' } }
    : snapshot;
}

function missing(wanted: string, reason: string, path: string): VirtError {
  return new VirtError('xml.invalid', {
    wanted,
    reason,
    details: { problems: [{ path, message: 'is missing' }] },
  });
}
