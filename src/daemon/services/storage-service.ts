/** The engine's storage side as the front ends use it: one object that holds the registry and the verbs. */
import { VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import { formatPoolCapabilities } from '../../model/storage/pool/capabilities.ts';
import {
  formatPoolSources,
  type PoolType,
  parsePoolSource,
  poolTypes,
} from '../../model/storage/pool/pool.ts';
import { sourceFormatsOf } from '../../model/storage/pool/validate.ts';
import type { QuarantinedFile } from '../state/definitions.ts';
import { type Pool, PoolRegistry } from './pool.ts';
import { PoolCreation } from './pool-creation.ts';
import { PoolDefinitions } from './pool-definitions.ts';
import { type PoolFiles, poolFiles } from './pool-files.ts';
import { PoolLifecycle } from './pool-lifecycle.ts';
import { PoolRefresh } from './pool-refresh.ts';
import { type PoolWorld, shownFacts } from './pool-world.ts';
import { VolumeChanges } from './volume-change.ts';
import { VolumeCreation } from './volume-create.ts';
import { type ImportSettings, VolumeImport } from './volume-import.ts';
import { isPoolDirectory } from './volume-places.ts';
import { VolumeTransfers } from './volume-transfer.ts';
import { VolumeTrash } from './volume-trash.ts';
import { Volumes } from './volumes.ts';

export type StorageServiceOptions = Omit<PoolWorld, 'registry' | 'defining'> & {
  readonly imports: ImportSettings;
};

/** Every filter that is given must hold. */
export interface PoolFilter {
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
  readonly autostart?: boolean | undefined;
  readonly types?: readonly PoolType[] | undefined;
}

/** How long a call waits for pools that are on their way up after a start of the daemon. */
const UP_MS = 10_000;

export class StorageService {
  /** Store, forget, XML. */
  readonly definitions: PoolDefinitions;
  /** Build, start, refresh, stop, delete, recovery, autostart. */
  readonly lifecycle: PoolLifecycle;
  readonly creation: PoolCreation;
  /** Find volumes, and who depends on them. */
  readonly volumes: Volumes;
  readonly volumeCreation: VolumeCreation;
  readonly volumeChanges: VolumeChanges;
  readonly volumeTransfers: VolumeTransfers;
  /** Volumes whose bytes come from servers and clients. */
  readonly imports: VolumeImport;
  /** What was deleted and can be had back. */
  readonly trash: VolumeTrash;
  private readonly world: PoolWorld;
  private readonly files: PoolFiles;
  private readonly refreshing: PoolRefresh;
  private settled: Promise<void> = Promise.resolve();

  constructor({ imports, ...options }: StorageServiceOptions) {
    this.world = {
      ...options,
      registry: new PoolRegistry(),
      defining: new JobQueue('the list of pools', 'pool.busy'),
    };
    const refresh = new PoolRefresh(this.world);
    this.refreshing = refresh;
    this.definitions = new PoolDefinitions(this.world);
    this.lifecycle = new PoolLifecycle(this.world, this.definitions, refresh);
    this.creation = new PoolCreation(this.world, this.definitions, this.lifecycle);
    this.volumes = new Volumes(this.world);
    this.volumeCreation = new VolumeCreation(this.world, this.volumes, refresh);
    this.trash = new VolumeTrash(this.world, this.volumes, refresh);
    this.volumeChanges = new VolumeChanges(this.world, this.volumes, refresh, this.trash);
    this.volumeTransfers = new VolumeTransfers(this.world, this.volumes, refresh);
    this.imports = new VolumeImport(this.world, this.volumes, refresh, imports);
    this.files = poolFiles(this.world);
  }

  /** Reads the stored and the active pools; no storage is touched yet. */
  open(): void {
    this.files.load();
    this.lifecycle.adopt();
  }

  /** Brings back what was active, makes what is made at the first start, and starts what is to be started. */
  bringUp(marker: string, first?: () => Promise<void>): Promise<void> {
    this.settled = this.lifecycle
      .recover()
      .then(first)
      .then(() => this.lifecycle.autostart(marker))
      .then(() => this.trash.start());
    return this.settled;
  }

  /**
   * Settles when the pools that start with the daemon are up, after some seconds in any case: storage that does not
   * answer must not keep others from theirs.
   */
  async whenUp(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, UP_MS);
      timer.unref();
    });
    await Promise.race([this.settled.catch(() => undefined), late]); // Whoever brought them up tells what failed.
    clearTimeout(timer);
  }

  /** Finds by a text that is a uuid or a name. @throws VirtError pool.not-found, pool.quarantined */
  find(text: string): Pool {
    const found = this.world.registry.find(text);
    if (found) return found;
    this.files.refuseQuarantined(text);
    throw new VirtError('pool.not-found', {
      reason: `no storage pool with matching name or uuid '${text}'`,
      hint: "'vireo pool list' shows all pools",
    });
  }

  /** The pools that fit, by name. */
  list(filter: PoolFilter = {}): Pool[] {
    return this.world.registry.all
      .filter((pool) => pool.isPersistent || pool.isActive)
      .filter(
        (pool) =>
          (filter.active === undefined || pool.isActive === filter.active) &&
          (filter.persistent === undefined || pool.isPersistent === filter.persistent) &&
          (filter.autostart === undefined || pool.autostart === filter.autostart) &&
          (filter.types === undefined || filter.types.includes(shownFacts(pool).type)),
      )
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }

  /** Looks at one volume of an active pool now, whether or not its coming was noticed. */
  lookAgain(pool: Pool, name: string): Promise<void> {
    return this.refreshing.look(pool, [name]);
  }

  /** By name or uuid, when there is one. */
  withName(text: string): Pool | undefined {
    return this.world.registry.find(text);
  }

  /** Whether an active pool has its images in that directory. */
  hasImagesIn(directory: string): boolean {
    return isPoolDirectory(this.world.registry.all, directory);
  }

  /** The active pool whose directory that is; undefined when there is none. */
  withPath(path: string): Pool | undefined {
    return this.world.registry.all.find((pool) => pool.live?.definition.target?.path === path);
  }

  /** libvirt's document of the kinds of pools that work here. */
  capabilitiesXml(): string {
    return formatPoolCapabilities(
      poolTypes.map((type) => {
        const { volumeFormats } = this.world.backends(type);
        const isSupported = volumeFormats.length > 0 || type === 'iscsi';
        return { type, isSupported, sourceFormats: sourceFormatsOf(type), volumeFormats };
      }),
    );
  }

  /** @throws VirtError xml.*, request.unsupported, program.* */
  async findSources(type: PoolType, xml: string | undefined): Promise<string> {
    const source = xml === undefined ? undefined : parsePoolSource(xml, { mode: 'lenient' });
    return formatPoolSources(await this.world.backends(type).findSources(source));
  }

  /** Looks at the stored definitions again, when an administrator has changed files. */
  async rescan(): Promise<void> {
    await this.files.rescan();
  }

  /** What goes on now, of all of the daemon. */
  get jobs(): PoolWorld['jobs'] {
    return this.world.jobs;
  }

  get quarantined(): readonly QuarantinedFile[] {
    return this.files.quarantined;
  }

  /** Lets go of everything without touching it, when the daemon stops. */
  detach(): void {
    this.trash.stop();
    this.lifecycle.detach();
  }
}
