/** What the snapshot services share: the domains' world, the store, the trees in memory, and who does what to images. */
import { VirtError } from '../../base/errors.ts';
import type { VolumeFinder } from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import { type DomainDef, formatDomain } from '../../model/domain/domain.ts';
import { pathOf } from '../../model/snapshot/disks.ts';
import type { Snapshot } from '../../model/snapshot/snapshot.ts';
import type { PendingWork, SnapshotStore } from '../state/snapshots.ts';
import type { Domain } from './domain.ts';
import type { DomainBlockJobs } from './domain-block-jobs.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import type { TransferNotes } from './domain-transfers.ts';
import type { BackingName, ImageAt, ImageGraph } from './snapshot-chains.ts';
import type { FirmwareCopies } from './snapshot-firmware.ts';
import { SnapshotTree } from './snapshot-tree.ts';
import { type DomainWorld, parseTrusted } from './world.ts';

/** What is done to images of guests that do not run (storage/images/). */
export interface SnapshotImages {
  createTag(path: string, name: string): Promise<void>;
  applyTag(path: string, name: string): Promise<void>;
  hasTag(path: string, name: string): Promise<boolean>;
  deleteTag(path: string, name: string): Promise<void>;
  isThere(path: string): Promise<boolean>;
  /** Whether anything was written to a new image. */
  hasData(path: string): Promise<boolean>;
  createOverlay(path: string, below: ImageAt): Promise<void>;
  /** What an image's header says lies below it. */
  backingOf(image: ImageAt): Promise<BackingName | undefined>;
  /** Writes the first of a chain into the second. */
  mergeDown(chain: readonly ImageAt[]): Promise<void>;
  renameBacking(image: ImageAt, below: ImageAt): Promise<void>;
  removeImage(path: string): Promise<void>;
}

/** Who else uses images: other domains, and volumes that no domain has. */
export interface ImageUsers {
  /** By path, in words; what is missing nobody uses. `known`: images that the domain's own snapshots tell of. */
  find(domainUuid: string, known: (path: string) => boolean): Promise<ReadonlyMap<string, string>>;
}

export interface SnapshotOptions {
  readonly store: SnapshotStore;
  readonly images: SnapshotImages;
  readonly firmware: FirmwareCopies;
  /** Where volumes are that disks name by their pools. */
  readonly volumes: Pick<VolumeFinder, 'find'>;
  readonly users: ImageUsers;
}

/** A domain's snapshots in memory, and what is begun. */
interface Kept {
  readonly tree: SnapshotTree;
  /** Images that were made for snapshots here. */
  images: readonly string[];
  pending: PendingWork | undefined;
}

/** Services of domains that snapshots are made with. */
export interface SnapshotEngine {
  readonly world: DomainWorld;
  readonly definitions: DomainDefinitions;
  readonly lifecycle: DomainLifecycle;
  readonly notes: TransferNotes;
  readonly blockJobs: DomainBlockJobs;
}

export class SnapshotWorld {
  readonly world: DomainWorld;
  readonly definitions: DomainDefinitions;
  readonly lifecycle: DomainLifecycle;
  readonly notes: TransferNotes;
  readonly blockJobs: DomainBlockJobs;
  readonly store: SnapshotStore;
  readonly images: SnapshotImages;
  readonly firmware: FirmwareCopies;
  private readonly users: ImageUsers;
  private readonly volumes: Pick<VolumeFinder, 'find'>;
  /** UUIDs of domains that have something stored; what is there is read when somebody asks. */
  private readonly stored: Set<string>;
  private readonly kept = new Map<string, Kept>();

  constructor(engine: SnapshotEngine, { store, images, firmware, volumes, users }: SnapshotOptions) {
    this.world = engine.world;
    this.definitions = engine.definitions;
    this.lifecycle = engine.lifecycle;
    this.notes = engine.notes;
    this.blockJobs = engine.blockJobs;
    this.store = store;
    this.images = images;
    this.firmware = firmware;
    this.volumes = volumes;
    this.users = users;
    this.stored = new Set(store.domains());
    engine.lifecycle.launch.beforeRun.push((domain) => this.refuseHalfReturned(domain));
  }

  /** A guest must not run on disks of which some are returned and others are not. @throws VirtError domain.state */
  private refuseHalfReturned(domain: Domain): void {
    const pending = this.pendingOf(domain);
    if (pending?.kind !== 'revert') return;
    throw new VirtError('domain.state', {
      wanted: `run domain '${domain.name}'`,
      reason: `its return to snapshot '${pending.name}' is not at its end: its disks may be of two times`,
      hint: 'it is tried again by itself (the log tells what is in its way); a return to another snapshot ends it too',
    });
  }

  /** UUIDs of the domains that may have any. */
  get uuids(): readonly string[] {
    return [...this.stored];
  }

  /** The snapshots of a domain. */
  treeOf({ uuid }: Pick<Domain, 'uuid'>): SnapshotTree {
    return this.of(uuid).tree;
  }

  pendingOf({ uuid }: Pick<Domain, 'uuid'>): PendingWork | undefined {
    return this.of(uuid).pending;
  }

  private of(uuid: string): Kept {
    const known = this.kept.get(uuid);
    if (known !== undefined) return known;
    if (!this.stored.has(uuid))
      return { tree: new SnapshotTree([], undefined), images: [], pending: undefined };
    const { snapshots, state } = this.store.load(uuid);
    const { current, pending, images } = state;
    const kept = { tree: new SnapshotTree(snapshots, current), images, pending };
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

  /** Notes what is about to be done, before anything is. */
  async begin({ uuid }: Pick<Domain, 'uuid'>, pending: PendingWork): Promise<void> {
    const kept = this.claim(uuid);
    const { tree, images } = kept;
    await this.store.saveState(uuid, { current: tree.current, pending, images });
    kept.pending = pending;
  }

  /**
   * Notes which one is the current, and that nothing is under way any more. `made`: images that came with it.
   */
  async finish(
    { uuid }: Pick<Domain, 'uuid'>,
    current: string | undefined,
    { made = [] }: { readonly made?: readonly string[] } = {},
  ): Promise<void> {
    const kept = this.claim(uuid);
    const images = [...new Set([...kept.images, ...made])];
    await this.store.saveState(uuid, { current, images });
    kept.images = images;
    kept.tree.current = current;
    kept.pending = undefined;
  }

  /** Notes that images are gone which were made for snapshots. */
  async forgetImages({ uuid }: Pick<Domain, 'uuid'>, gone: readonly string[]): Promise<void> {
    const kept = this.claim(uuid);
    const images = kept.images.filter((path) => !gone.includes(path));
    await this.store.saveState(uuid, { current: kept.tree.current, pending: kept.pending, images });
    kept.images = images;
  }

  /** Stores a snapshot's document, new or in place of the one of its name. */
  async save({ uuid }: Pick<Domain, 'uuid'>, snapshot: Snapshot): Promise<void> {
    const kept = this.claim(uuid);
    await this.store.save(uuid, snapshot);
    kept.tree.set(snapshot);
  }

  async remove({ uuid }: Pick<Domain, 'uuid'>, name: string): Promise<void> {
    await this.store.remove(uuid, name);
    this.of(uuid).tree.remove(name);
  }

  /** Forgets what was read, and notes that there may be something stored. */
  lookAgain({ uuid }: Pick<Domain, 'uuid'>): void {
    this.kept.delete(uuid);
    if (this.store.domains().includes(uuid)) this.stored.add(uuid);
  }

  /** Forgets all snapshots of a domain; images stay as they are. */
  async removeAll({ uuid }: Pick<Domain, 'uuid'>): Promise<void> {
    if (!this.stored.has(uuid)) return;
    await this.store.removeAll(uuid);
    this.stored.delete(uuid);
    this.kept.delete(uuid);
  }

  /**
   * The file or device of a disk's image.
   * @throws VirtError definition.unsupported for what is none of this host, pool.*, volume.*
   */
  async imageOf(disk: Disk): Promise<string> {
    const path = pathOf(disk);
    if (path !== undefined) return path;
    const { source } = disk;
    if (source.type === 'volume' && source.pool !== undefined && source.volume !== undefined)
      return (await this.volumes.find({ pool: source.pool, volume: source.volume })).path;
    throw new VirtError('definition.unsupported', {
      wanted: `find the image of disk '${disk.target.dev}'`,
      reason: `a source of type '${source.type}' is no file of this host`,
    });
  }

  /** Images that were made for the snapshots of a domain, here or by the libvirtd that they came from. */
  oursOf(domain: Domain): ReadonlySet<string> {
    const told = this.treeOf(domain).all.flatMap(({ disks }) =>
      disks.flatMap(({ source }) => (source?.type === 'file' ? (source.file ?? []) : [])),
    );
    return new Set([...this.of(domain.uuid).images, ...told]);
  }

  /** Who besides this domain uses images, by path. */
  otherUsers({ uuid }: Pick<Domain, 'uuid'>, graph: ImageGraph): Promise<ReadonlyMap<string, string>> {
    return this.users.find(uuid, (path) => graph.has(path));
  }

  /** @throws VirtError snapshot.not-found */
  find(domain: Domain, name: string): Snapshot {
    const found = this.treeOf(domain).get(name);
    if (found !== undefined) return found;
    throw new VirtError('snapshot.not-found', {
      wanted: `find a snapshot of domain '${domain.name}'`,
      reason: `no domain snapshot with matching name '${name}'`,
      hint: `'vireo snapshot list ${domain.name}' shows those that are there`,
    });
  }
}

/** A definition as snapshots keep it: without what belongs to one run, with secrets. */
export function keptForm(definition: DomainDef): DomainDef {
  return parseTrusted(formatDomain(definition, { inactive: true, secure: true }));
}
