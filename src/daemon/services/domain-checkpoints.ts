/** Checkpoints of domains as the front ends use them: looking, making, deleting, and defining again. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import {
  type Checkpoint,
  type CheckpointDef,
  formatCheckpoint,
  parseCheckpoint,
} from '../../model/checkpoint/checkpoint.ts';
import { alignCheckpointDisks, checkCheckpointDisks } from '../../model/checkpoint/disks.ts';
import type { CheckpointStore } from '../state/checkpoints.ts';
import { type CheckpointImages, removeFromImages } from './checkpoint-images.ts';
import { CheckpointRecords, type CheckpointTree } from './checkpoint-records.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions, UndefineOptions } from './domain-definitions.ts';
import { whileFrozenIf } from './frozen.ts';
import { keptForm } from './snapshot-world.ts';
import { type DomainWorld, runJob } from './world.ts';

/** What goes: it alone, it with all below, or all below alone. */
export type CheckpointScope = 'one' | 'with-children' | 'children-only';

export interface CheckpointDeleteOptions {
  readonly scope: CheckpointScope;
  /** The bitmaps stay in the images: the checkpoint is only forgotten. */
  readonly metadataOnly: boolean;
}

export interface CheckpointOptions {
  readonly store: CheckpointStore;
  readonly images: CheckpointImages;
}

export class DomainCheckpoints {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly records: CheckpointRecords;
  private readonly images: CheckpointImages;

  constructor(
    engine: { readonly world: DomainWorld; readonly definitions: DomainDefinitions },
    { store, images }: CheckpointOptions,
  ) {
    this.world = engine.world;
    this.definitions = engine.definitions;
    this.images = images;
    this.records = new CheckpointRecords(store);
    engine.definitions.addBelonging((domain, options) => this.onUndefine(domain, options));
    // A domain that is gone for good has no checkpoints: a new one of its uuid is another.
    engine.world.events.subscribe((event) => {
      if (event.event !== 'domain.stopped' || engine.world.registry.withUuid(event.domain.uuid)) return;
      this.records
        .forgetAll(event.domain)
        .catch((error: unknown) =>
          engine.world.log.error(
            { err: error, domain: event.domain.name },
            'checkpoints could not be forgotten',
          ),
        );
    });
  }

  /** After the guests were found again: one that was begun and is in no image is forgotten. */
  async recover(): Promise<void> {
    for (const uuid of this.records.uuids) {
      const domain = this.world.registry.withUuid(uuid);
      if (domain === undefined) continue;
      try {
        await this.recoverOne(domain);
      } catch (error) {
        this.world.log.error({ domain: domain.name, reason: reasonOf(error) }, 'a checkpoint stays in doubt');
      }
    }
  }

  private async recoverOne(domain: Domain): Promise<void> {
    const pending = this.records.pendingOf(domain);
    if (pending === undefined) return;
    const checkpoint = this.treeOf(domain).get(pending);
    const tree = this.treeOf(domain);
    if (checkpoint === undefined) return this.records.finish(domain, tree.current);
    const isThere = domain.live !== undefined && (await this.brokenOf(domain, checkpoint)).length === 0;
    return isThere ? this.records.finish(domain, pending) : this.records.forget(domain, checkpoint);
  }

  treeOf(domain: Pick<Domain, 'uuid'>): CheckpointTree {
    return this.records.treeOf(domain);
  }

  /** @throws VirtError checkpoint.not-found */
  find(domain: Domain, name: string): Checkpoint {
    return this.records.find(domain, name);
  }

  /**
   * The document. `secure`: with passwords; `noDomain`: without the definition; `size`: with how much was written since,
   * which a running guest tells.
   * @throws VirtError checkpoint.not-found, domain.inactive, qmp.*
   */
  async xml(
    domain: Domain,
    name: string,
    options: { readonly secure?: boolean; readonly noDomain?: boolean; readonly size?: boolean },
  ): Promise<string> {
    const checkpoint = this.find(domain, name);
    if (options.size !== true) return formatCheckpoint(checkpoint, options);
    const sizes = await this.sizes(domain, name);
    const disks = checkpoint.disks.map((disk) => {
      const sizeBytes = sizes.get(disk.name);
      return sizeBytes === undefined ? disk : { ...disk, sizeBytes };
    });
    return formatCheckpoint({ ...checkpoint, disks }, options);
  }

  /** Bytes that were written since, by disk. @throws VirtError checkpoint.not-found, domain.inactive, qmp.* */
  sizes(domain: Domain, name: string): Promise<ReadonlyMap<string, number>> {
    const checkpoint = this.find(domain, name);
    return runJob(this.world, domain, 'measure checkpoint', async () => {
      const { guest } = domain.requireLive('measure a checkpoint of');
      return guest.checkpoints.sizes(name, notedDisks(checkpoint));
    });
  }

  /** Makes one. @throws VirtError domain.inactive, checkpoint.exists, definition.unsupported, agent.*, qmp.* */
  async create(
    domain: Domain,
    wish: CheckpointDef,
    { quiesce = false }: { readonly quiesce?: boolean } = {},
  ): Promise<Checkpoint> {
    const made = await runJob(this.world, domain, 'checkpoint', async () => {
      const live = domain.requireLive('make a checkpoint of');
      const checkpoint = this.plan(domain, wish);
      await this.withDocument(domain, checkpoint, () =>
        whileFrozenIf(this.world, domain, { isWanted: quiesce, live }, () =>
          live.guest.checkpoints.add(checkpoint.name, notedDisks(checkpoint)),
        ),
      );
      return checkpoint;
    });
    this.tell(domain, 'domain.checkpoint-created', made.name);
    return made;
  }

  /**
   * A checkpoint as it will be, for a caller that is inside a job of the domain; nothing is done.
   * @throws VirtError domain.inactive, checkpoint.exists, definition.unsupported
   */
  plan(domain: Domain, wish: CheckpointDef): Checkpoint {
    domain.requireLive('make a checkpoint of');
    const wanted = `make a checkpoint of domain '${domain.name}'`;
    const tree = this.treeOf(domain);
    const seconds = Math.floor(Date.now() / 1000);
    const name = wish.name ?? String(seconds);
    if (tree.has(name))
      throw new VirtError('checkpoint.exists', { wanted, reason: `domain moment ${name} already exists` });
    const definition = keptForm(this.definitions.definition(domain));
    const disks = alignCheckpointDisks(definition, wish.disks, { name, wanted });
    checkCheckpointDisks(definition, disks, { name, wanted });
    const { current } = tree;
    return {
      name,
      ...(wish.description !== undefined && { description: wish.description }),
      ...(current !== undefined && { parent: { name: current } }),
      creationTime: seconds,
      disks,
      domain: definition,
    };
  }

  /** Has `work` put a planned checkpoint into the images; its document is there before, and goes when that fails. */
  async withDocument(domain: Domain, checkpoint: Checkpoint, work: () => Promise<void>): Promise<void> {
    await this.records.begin(domain, checkpoint);
    try {
      await work();
    } catch (error) {
      await this.records.forget(domain, checkpoint);
      throw error;
    }
    await this.records.finish(domain, checkpoint.name);
  }

  /** Says that one was made, where it was made by something else. */
  tellCreated(domain: Domain, name: string): void {
    this.tell(domain, 'domain.checkpoint-created', name);
  }

  /**
   * Stores a document of a checkpoint that was made earlier, here or elsewhere. `validate`: its bitmaps are looked for.
   * @throws VirtError xml.*, request.invalid for one that contradicts what is known, checkpoint.inconsistent,
   *   domain.inactive, file.*
   */
  async define(
    domain: Domain,
    xml: string,
    { mode, validate = false }: { readonly mode: ParseMode; readonly validate?: boolean },
  ): Promise<Checkpoint> {
    const { definition } = parseCheckpoint(xml, { mode });
    return runJob(this.world, domain, 'define checkpoint', async () => {
      const tree = this.treeOf(domain);
      const checkpoint = redefined(domain, definition, tree);
      if (validate) await this.requireWhole(domain, checkpoint);
      const isCurrent = tree.current === undefined || checkpoint.parent?.name === tree.current;
      await this.records.save(domain, checkpoint);
      await this.records.finish(domain, isCurrent ? checkpoint.name : tree.current);
      return checkpoint;
    });
  }

  private async requireWhole(domain: Domain, checkpoint: Checkpoint): Promise<void> {
    const [disk] = await this.brokenOf(domain, checkpoint);
    if (disk !== undefined)
      throw new VirtError('checkpoint.inconsistent', {
        wanted: `define checkpoint '${checkpoint.name}' of domain '${domain.name}'`,
        reason: `missing or broken bitmap '${checkpoint.name}' for disk '${disk}'`,
      });
  }

  /** Disks whose bitmap is missing or broken. @throws VirtError domain.inactive, qmp.* */
  async brokenOf(domain: Domain, checkpoint: Checkpoint): Promise<string[]> {
    const { guest } = domain.requireLive('look at a checkpoint of');
    return guest.checkpoints.broken(checkpoint.name, notedDisks(checkpoint));
  }

  /**
   * Deletes checkpoints as one job, the lowest first; the names of those that went.
   * @throws VirtError checkpoint.not-found, qmp.*, file.*, program.*
   */
  async delete(
    domain: Domain,
    name: string,
    { scope, metadataOnly }: CheckpointDeleteOptions,
  ): Promise<string[]> {
    const deleted: string[] = [];
    await runJob(this.world, domain, 'delete checkpoint', async () => {
      for (const checkpoint of this.meant(domain, name, scope)) {
        await this.deleteOne(domain, checkpoint, metadataOnly);
        deleted.push(checkpoint.name);
      }
    });
    for (const one of deleted) this.tell(domain, 'domain.checkpoint-deleted', one);
    return deleted;
  }

  /** For a caller that is inside a job of the domain. */
  async deleteOne(domain: Domain, checkpoint: Checkpoint, metadataOnly: boolean): Promise<void> {
    if (!metadataOnly) await this.removeBitmaps(domain, checkpoint);
    await this.records.forget(domain, checkpoint);
  }

  /** By QEMU where it has the images open, else by qemu-img. Images that are gone, or have none, are passed over. */
  private removeBitmaps(domain: Domain, checkpoint: Checkpoint): Promise<void> {
    const targets = notedDisks(checkpoint);
    const { live } = domain;
    return live === undefined
      ? removeFromImages(this.images, this.definitions.definition(domain), checkpoint.name, targets)
      : this.world.driver.removeCheckpoint(live.guest, checkpoint.name, targets);
  }

  private meant(domain: Domain, name: string, scope: CheckpointScope): Checkpoint[] {
    const own = this.find(domain, name);
    if (scope === 'one') return [own];
    const below = this.treeOf(domain).descendantsOf(name).toReversed();
    return scope === 'children-only' ? below : [...below, own];
  }

  private tell(
    domain: Domain,
    event: 'domain.checkpoint-created' | 'domain.checkpoint-deleted',
    checkpoint: string,
  ): void {
    this.world.events.emit(event, domain.identity, { checkpoint });
  }

  /** Forgets all of a domain whose images are others now. */
  forgetAll(domain: Domain): Promise<void> {
    return this.records.forgetAll(domain);
  }

  /**
   * Images of a guest that is off are merged without what their bitmaps tell: a backup would then miss changes.
   * @throws VirtError domain.state
   */
  refuseOffline(domain: Domain): void {
    const { size } = this.treeOf(domain);
    if (domain.isActive || size === 0) return;
    throw new VirtError('domain.state', {
      wanted: `merge images of domain '${domain.name}'`,
      reason: `it has ${size} checkpoints, which would not know what was written`,
      hint: `forget them with 'vireo checkpoint delete ${domain.name} NAME --metadata-only'; the next backup is a full one then`,
    });
  }

  /** A running guest keeps them until it ends. @throws VirtError domain.state when nobody said that they may go */
  private onUndefine(
    domain: Domain,
    { forgetCheckpoints }: UndefineOptions,
  ): (() => Promise<void>) | undefined {
    const { size } = this.treeOf(domain);
    if (domain.isActive || size === 0) return undefined;
    if (forgetCheckpoints === true) return () => this.records.forgetAll(domain);
    throw new VirtError('domain.state', {
      wanted: `undefine domain '${domain.name}'`,
      reason: `cannot delete inactive domain with ${size} checkpoints`,
      hint: `forget them too: 'vireo undefine ${domain.name} --forget-snapshots'; or delete them with 'vireo checkpoint delete' while the guest runs`,
    });
  }
}

/** Targets of the disks whose writes are noted. */
export function notedDisks({ disks }: Checkpoint): string[] {
  return disks.flatMap(({ name, checkpoint }) => (checkpoint === 'no' ? [] : [name]));
}

/** libvirt's rules for a document that comes again. @throws VirtError request.invalid, xml.invalid */
function redefined(domain: Domain, definition: CheckpointDef, tree: CheckpointTree): Checkpoint {
  const wanted = `define a checkpoint of domain '${domain.name}'`;
  const refuse = (reason: string): never => {
    throw new VirtError('request.invalid', { wanted, reason });
  };
  const missing = (reason: string, path: string): never => {
    throw new VirtError('xml.invalid', {
      wanted,
      reason,
      details: { problems: [{ path, message: 'is missing' }] },
    });
  };
  const { name, creationTime, parent, disks, domain: kept } = definition;
  if (name === undefined) return missing('a redefined checkpoint must have a name', 'name');
  if (creationTime === undefined)
    return missing('missing creationTime from existing checkpoint', 'creationTime');
  if (parent?.name === name) refuse(`cannot set moment ${name} as its own parent`);
  if (parent?.name !== undefined && !tree.has(parent.name))
    refuse(`parent ${parent.name} for moment ${name} not found`);
  tree.refuseLoop(name, parent?.name);
  if (kept?.uuid !== undefined && kept.uuid !== domain.uuid)
    refuse(`definition for checkpoint ${name} must use uuid ${domain.uuid}`);
  const aligned =
    kept === undefined
      ? disks.map((disk) => (disk.checkpoint === 'no' ? disk : { ...disk, bitmap: disk.bitmap ?? name }))
      : alignCheckpointDisks(kept, disks, { name, wanted });
  return { ...definition, name, creationTime, disks: aligned };
}
