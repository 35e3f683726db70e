/** Keeps what is known of an active pool's volumes true: whole scans, looks at single volumes, changes made by hand. */
import { reasonOf } from '../../base/errors.ts';
import { ownTurn } from '../../base/turns.ts';
import type { CompletePoolDef } from '../../model/storage/pool/pool.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { FormatMemory, FormatSource, ScanContext, VolumeFacts } from '../../storage/backend.ts';
import { FormatRecord } from '../../storage/formats.ts';
import { FileHeaderCache } from '../../storage/header-cache.ts';
import type { LivePool, Pool } from './pool.ts';
import { factsOf, type PoolWorld } from './pool-world.ts';
import { isPoolDirectory } from './volume-places.ts';

/** Volumes that were too young to be judged are looked at again after this. */
const UNSETTLED_MS = 2500;

/** More changes than this are told as one refresh only. */
const MANY_CHANGES = 500;

/** A whole scan is quicker than looking at so many by themselves. */
const MANY_NAMES = 200;

/** What is different after a refresh. */
export interface RefreshChanges {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

export class PoolRefresh {
  private readonly world: PoolWorld;
  /** Names that changed while a scan of their pool was on its way: it may have missed them. */
  private readonly touched = new WeakMap<Pool, Set<string>>();

  constructor(world: PoolWorld) {
    this.world = world;
  }

  /** Reads everything of a pool that is about to be active. @throws VirtError pool.*, file.* */
  async open(definition: CompletePoolDef, signal?: AbortSignal): Promise<Omit<LivePool, 'watcher'>> {
    const { formatDirectory, headerDirectory, log } = this.world;
    const place = placeOf(definition);
    const formats = await FormatRecord.load(formatDirectory, place, log);
    const headers = await FileHeaderCache.load(headerDirectory, place, log);
    const backend = this.world.backends(definition.type);
    await backend.sweep?.(definition);
    const result = await backend.scan(definition, this.context(definition, formats, headers, signal));
    const volumes = new Map(result.volumes.map((volume) => [volume.name, volume]));
    const present = new Set(volumes.keys());
    formats.keepOnly(present);
    headers.keepOnly(present);
    await this.saveRecords({ formats, headers }, definition);
    const now = Date.now();
    return {
      definition,
      startedAtMs: now,
      formats,
      headers,
      space: result.space,
      realDirectory: result.realDirectory,
      volumes,
      refreshedAtMs: now,
      volumeJobs: new Map(),
    };
  }

  /** Begins to listen for changes that others make; also looks again at what was too young. */
  watch(pool: Pool, live: LivePool): void {
    const backend = this.world.backends(live.definition.type);
    live.watcher = backend.watch?.(live.definition, (changes) => this.onChange(pool, changes));
    const young = [...live.volumes.keys()].filter((name) => !live.formats.has(name));
    if (young.length > 0 && backend.watch !== undefined) this.lookLater(pool, young);
  }

  /**
   * Scans the whole pool. Other calls are answered meanwhile, with what was known before.
   * @throws VirtError pool.inactive, pool.*, file.*, operation.aborted
   */
  async refresh(pool: Pool, signal?: AbortSignal): Promise<RefreshChanges> {
    const live = pool.requireLive(`refresh pool '${pool.name}'`);
    const { definition, formats, headers } = live;
    const backend = this.world.backends(definition.type);
    const touched = new Set<string>();
    this.touched.set(pool, touched);
    try {
      const result = await backend.scan(definition, this.context(definition, formats, headers, signal));
      const volumes = new Map(result.volumes.map((volume) => [volume.name, volume]));
      for (const name of touched) await this.lookInto(volumes, name, live);
      await ownTurn();
      const present = new Set([...volumes.keys(), ...touched]);
      formats.keepOnly(present);
      headers.keepOnly(present);
      await this.saveRecords(live, definition);
      await ownTurn();
      const changes = differences(live.volumes, volumes);
      live.volumes = touched.size > 0 ? sorted(volumes) : volumes;
      live.space = result.space;
      live.realDirectory = result.realDirectory;
      live.refreshedAtMs = Date.now();
      this.tell(pool, changes, true);
      if (result.unsettled.length > 0) this.lookLater(pool, result.unsettled);
      return changes;
    } finally {
      if (this.touched.get(pool) === touched) this.touched.delete(pool);
    }
  }

  /** Looks at single volumes again and tells what is different. */
  async look(
    pool: Pool,
    names: readonly string[],
    options: { readonly isQuiet?: boolean } = {},
  ): Promise<void> {
    const live = pool.live;
    if (live === undefined) return;
    const touched = this.touched.get(pool);
    const before = new Map(names.flatMap((name) => entryOf(live.volumes, name)));
    const after = new Map<string, VolumeFacts>();
    for (const name of names) {
      touched?.add(name);
      await this.lookInto(after, name, live);
    }
    if (pool.live !== live) return;
    for (const name of names) {
      const found = after.get(name);
      if (found === undefined) {
        live.volumes.delete(name);
        live.formats.forget(name);
      } else live.volumes.set(name, found);
    }
    const changes = differences(before, after);
    if (changes.added.length > 0) live.volumes = sorted(live.volumes);
    live.space = await this.world.backends(live.definition.type).space(live.definition);
    await this.saveRecords(live, live.definition);
    if (options.isQuiet !== true) this.tell(pool, changes, changes.added.length + changes.removed.length > 0);
  }

  /** Takes a format as known from now on, safely on disk, and looks at the volume as one of it. */
  async remember(
    pool: Pool,
    name: string,
    format: VolumeFormat,
    how: FormatSource = 'created',
  ): Promise<void> {
    const live = pool.requireLive(`look at volume '${name}'`);
    live.formats.expect(name, format, how);
    live.headers.forget(name);
    await this.look(pool, [name]);
  }

  private async lookInto(into: Map<string, VolumeFacts>, name: string, live: LivePool): Promise<void> {
    const { definition, formats, headers } = live;
    const backend = this.world.backends(definition.type);
    const found = await backend.look(definition, name, this.context(definition, formats, headers));
    if (found === undefined) into.delete(name);
    else into.set(name, found);
  }

  private onChange(pool: Pool, changes: readonly string[] | 'all'): void {
    this.follow(pool, changes).catch((error: unknown) =>
      this.world.log.warn(
        { pool: pool.name, reason: reasonOf(error) },
        'changes in a pool could not be read',
      ),
    );
  }

  private async follow(pool: Pool, changes: readonly string[] | 'all'): Promise<void> {
    if (changes === 'all') {
      await this.refresh(pool);
      return;
    }
    await this.look(pool, changes);
    const { live } = pool;
    const young = changes.filter((name) => live?.volumes.has(name) === true && !live.formats.has(name));
    if (young.length > 0) this.lookLater(pool, young);
  }

  /** A file that was too young to be judged; as long as somebody writes it there are further changes to hear of. */
  private lookLater(pool: Pool, names: readonly string[]): void {
    const timer = setTimeout(() => {
      const work = names.length > MANY_NAMES && pool.isActive ? this.refresh(pool) : this.look(pool, names);
      work.catch((error: unknown) =>
        this.world.log.warn({ pool: pool.name, reason: reasonOf(error) }, 'new volumes could not be read'),
      );
    }, UNSETTLED_MS);
    timer.unref();
  }

  private tell(pool: Pool, changes: RefreshChanges, isRefresh: boolean): void {
    const { events } = this.world;
    const { added, removed, changed } = changes;
    const identity = pool.identity;
    if (added.length + removed.length + changed.length <= MANY_CHANGES) {
      for (const volume of added) events.publish({ event: 'volume.created', pool: identity, volume });
      for (const volume of removed) events.publish({ event: 'volume.deleted', pool: identity, volume });
      for (const volume of changed) events.publish({ event: 'volume.changed', pool: identity, volume });
    }
    if (!isRefresh) return;
    const counts = { added: added.length, removed: removed.length, changed: changed.length };
    events.publish({ event: 'pool.refreshed', pool: identity, ...counts });
  }

  /** The record must be safe before anybody acts on a format; the cache is only worth a try. */
  private async saveRecords(
    { formats, headers }: Pick<LivePool, 'formats' | 'headers'>,
    definition: CompletePoolDef,
  ): Promise<void> {
    await formats.save();
    await ownTurn();
    await headers.save().catch((error: unknown) => {
      this.world.log.warn({ pool: definition.name, reason: reasonOf(error) }, 'headers could not be cached');
    });
  }

  /** What a backend needs for looking. */
  context(
    definition: CompletePoolDef,
    formats: FormatRecord,
    headers: FileHeaderCache,
    signal?: AbortSignal,
  ): ScanContext {
    let declared: Promise<Map<string, VolumeFormat>> | undefined;
    const memory: FormatMemory = {
      known: (name, identity) => formats.known(name, identity),
      wasBlank: (name) => formats.wasBlank(name),
      declared: async (path) => {
        // Definitions are read only when there is a file that nobody knows.
        declared ??= this.declaredFormats();
        return (await declared).get(path);
      },
      remember: (name, identity, format, how) => formats.remember(name, identity, format, how),
      isInsidePool: (path) => this.isInsidePool(path, definition),
    };
    return { formats: memory, headers, signal };
  }

  private async declaredFormats(): Promise<Map<string, VolumeFormat>> {
    const formats = new Map<string, VolumeFormat>();
    for (const { paths, format } of await this.world.disks.disks()) {
      const [path] = paths;
      // Two domains that disagree: the word that opens no other file counts.
      if (path !== undefined && formats.get(path) !== 'raw') formats.set(path, format);
    }
    return formats;
  }

  private isInsidePool(path: string, own: CompletePoolDef): boolean {
    const directory = path.slice(0, path.lastIndexOf('/'));
    return directory === own.target?.path || isPoolDirectory(this.world.registry.all, directory);
  }
}

/** What names the place of a pool's volumes for the records: the directory, or the source. */
function placeOf(definition: CompletePoolDef): string {
  const { type, path = '', source = '' } = factsOf(definition);
  return type === 'dir' ? `dir:${path}` : `${type}:${path}:${source}`;
}

function entryOf(volumes: ReadonlyMap<string, VolumeFacts>, name: string): [string, VolumeFacts][] {
  const found = volumes.get(name);
  return found === undefined ? [] : [[name, found]];
}

function sorted(volumes: ReadonlyMap<string, VolumeFacts>): Map<string, VolumeFacts> {
  return new Map([...volumes].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function differences(
  before: ReadonlyMap<string, VolumeFacts>,
  after: ReadonlyMap<string, VolumeFacts>,
): RefreshChanges {
  const names = [...after.keys()];
  return {
    added: names.filter((name) => !before.has(name)),
    removed: [...before.keys()].filter((name) => !after.has(name)),
    changed: names.filter((name) => {
      const [old, fresh] = [before.get(name), after.get(name)];
      return old !== undefined && fresh !== undefined && isDifferent(old, fresh);
    }),
  };
}

/** Space in use and times change with every write of a guest; that is no news. */
function isDifferent(a: VolumeFacts, b: VolumeFacts): boolean {
  return (
    a.format !== b.format ||
    a.capacityBytes !== b.capacityBytes ||
    a.backing?.path !== b.backing?.path ||
    a.permissions?.mode !== b.permissions?.mode ||
    a.permissions?.owner !== b.permissions?.owner ||
    a.permissions?.group !== b.permissions?.group ||
    a.problem !== b.problem
  );
}
