/** Deleted volumes that can be had back for some days: our own delete puts them there, libvirt's does not. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { TrashedVolume, VolumeFacts } from '../../storage/backend.ts';
import type { Pool } from './pool.ts';
import type { PoolRefresh } from './pool-refresh.ts';
import type { PoolWorld } from './pool-world.ts';
import type { FoundVolume, Volumes } from './volumes.ts';

const DAY_MS = 24 * 3600 * 1000;
/** How often it is looked for what is too old. */
const LOOK_MS = 3600 * 1000;

/** A deleted volume, and how long it can be had back. */
export interface InTrash extends TrashedVolume {
  readonly pool: string;
  readonly untilMs: number;
}

export class VolumeTrash {
  private readonly world: PoolWorld;
  private readonly volumes: Volumes;
  private readonly refreshing: PoolRefresh;
  private timer: NodeJS.Timeout | undefined;

  constructor(world: PoolWorld, volumes: Volumes, refreshing: PoolRefresh) {
    this.world = world;
    this.volumes = volumes;
    this.refreshing = refreshing;
  }

  /** True where a volume of that pool would be kept. */
  keeps(pool: Pool): boolean {
    return this.world.trashDays > 0 && this.trashOf(pool) !== undefined;
  }

  /** Moves the file of a volume that nobody uses, within a job of the caller. */
  async put({ pool, volume }: FoundVolume): Promise<InTrash> {
    const trash = this.trashOf(pool);
    if (trash === undefined) throw new Error(`pool '${pool.name}' has no trash`);
    return this.shown(pool, await trash.put(volume));
  }

  /** What is in the trash of active pools, the oldest first. @throws VirtError pool.inactive, file.* */
  async list(pools: readonly Pool[]): Promise<InTrash[]> {
    const found: InTrash[] = [];
    for (const pool of pools)
      for (const entry of (await this.trashOf(pool)?.list()) ?? []) found.push(this.shown(pool, entry));
    return found;
  }

  /**
   * Brings a volume back: by its id in the trash, or the last one of a name. It may get another name.
   * @throws VirtError volume.not-found, volume.exists, volume.busy
   */
  async restore(pool: Pool, ref: string, newName?: string): Promise<VolumeFacts> {
    const entry = await this.find(pool, ref);
    const name = newName ?? entry.name;
    await this.volumes.runJob(pool, name, 'restore', async () => {
      await this.trashOf(pool)?.restore(entry.id, name);
      await this.refreshing.remember(pool, name, entry.format);
    });
    return this.volumes.find(pool, name);
  }

  /** Takes entries away for good: one by id or name, or all. Returns them. */
  async empty(pool: Pool, ref?: string): Promise<InTrash[]> {
    const entries = ref === undefined ? await this.list([pool]) : [await this.find(pool, ref)];
    await this.removeEntries(pool, entries);
    return entries;
  }

  private async removeEntries(pool: Pool, entries: readonly TrashedVolume[]): Promise<void> {
    if (entries.length === 0) return;
    const object = { type: 'pool', ...pool.identity } as const;
    await this.world.jobs.run({ kind: 'empty trash', object }, async () => {
      await this.trashOf(pool)?.remove(entries.map(({ id }) => id));
      const { live } = pool;
      if (live !== undefined)
        live.space = await this.world.backends(live.definition.type).space(live.definition);
    });
  }

  private async find(pool: Pool, ref: string): Promise<InTrash> {
    pool.requireLive(`look into the trash of pool '${pool.name}'`);
    const entries = await this.list([pool]);
    const found = entries.find(({ id }) => id === ref) ?? entries.findLast(({ name }) => name === ref);
    if (found !== undefined) return found;
    throw new VirtError('volume.not-found', {
      wanted: `restore volume '${ref}'`,
      reason: `nothing of that name or id is in the trash of pool '${pool.name}'`,
      hint: "'vireo volume trash list' shows what is",
    });
  }

  /** Takes away what is too old, now and every hour. */
  start(): void {
    const look = () => {
      this.purge().catch((error: unknown) =>
        this.world.log.warn({ reason: reasonOf(error) }, 'the trash could not be looked through'),
      );
    };
    this.timer = setInterval(look, LOOK_MS).unref();
    look();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** @internal for tests: what `start` does each hour. */
  async purge(nowMs = Date.now()): Promise<void> {
    for (const pool of this.world.registry.all.filter(({ live }) => live !== undefined)) {
      try {
        const old = (await this.list([pool])).filter(({ untilMs }) => untilMs <= nowMs);
        await this.removeEntries(pool, old);
        if (old.length > 0)
          this.world.log.info({ pool: pool.name, count: old.length }, 'deleted volumes are gone for good');
      } catch (error) {
        this.world.log.warn(
          { pool: pool.name, reason: reasonOf(error) },
          'the trash of a pool could not be read',
        );
      }
    }
  }

  private trashOf(pool: Pool) {
    const { live } = pool;
    return live && this.world.backends(live.definition.type).trash?.(live.definition);
  }

  private shown(pool: Pool, entry: TrashedVolume): InTrash {
    return { ...entry, pool: pool.name, untilMs: entry.deletedAtMs + this.world.trashDays * DAY_MS };
  }
}
