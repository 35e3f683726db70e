/** Lifecycle of storage pools: build, start, refresh, stop, delete, and finding the active ones again after a restart. */
import { statSync, writeFileSync } from 'node:fs';
import { reasonOf, VirtError } from '../../base/errors.ts';
import type { ParseMode } from '../../base/xml/codec.ts';
import { type CompletePoolDef, parsePool } from '../../model/storage/pool/pool.ts';
import type { BuildOptions, Work } from '../../storage/backend.ts';
import { adoptActive } from './adopt-active.ts';
import { Pool } from './pool.ts';
import type { PoolDefinitions } from './pool-definitions.ts';
import type { PoolRefresh, RefreshChanges } from './pool-refresh.ts';
import { type PoolWorld, parseTrusted, runPoolJob, savePoolStatus, storedDefinition } from './pool-world.ts';

/** Whether a start builds first, and how (virStoragePoolCreateFlags). */
export interface PoolStartOptions {
  readonly build?: boolean | undefined;
  readonly overwrite?: boolean | undefined;
  readonly noOverwrite?: boolean | undefined;
}

export class PoolLifecycle {
  private readonly world: PoolWorld;
  private readonly definitions: PoolDefinitions;
  private readonly refreshing: PoolRefresh;

  constructor(world: PoolWorld, definitions: PoolDefinitions, refreshing: PoolRefresh) {
    this.world = world;
    this.definitions = definitions;
    this.refreshing = refreshing;
  }

  /**
   * Starts a stored pool and reads its volumes.
   * @throws VirtError pool.active, pool.failed, file.*, program.*
   */
  async start(pool: Pool, options: PoolStartOptions = {}): Promise<void> {
    await runPoolJob(
      this.world,
      pool,
      'start',
      async ({ signal }) => {
        if (pool.isActive) throw alreadyActive(pool);
        const definition = storedDefinition(pool, 'start');
        // The file may have been edited by hand since it was checked.
        this.definitions.check(definition, `start pool '${pool.name}'`);
        await this.launch(pool, definition, options, { signal });
      },
      { isCancellable: true },
    );
  }

  /** Starts a pool that has no stored definition and is gone when it stops. */
  async create(
    xml: string,
    mode: ParseMode,
    options: PoolStartOptions = {},
  ): Promise<{ pool: Pool; dropped: readonly string[] }> {
    const { definition, dropped } = parsePool(xml, { mode });
    const prepared = this.definitions.prepare(definition, mode === 'strict' ? 'lenient' : mode);
    const { pool } = this.definitions.take(prepared);
    try {
      await runPoolJob(this.world, pool, 'start', async ({ signal }) => {
        if (pool.isActive) throw alreadyActive(pool);
        await this.launch(pool, prepared, options, { signal });
      });
    } finally {
      this.world.registry.forgetIfGone(pool);
    }
    return { pool, dropped };
  }

  private async launch(
    pool: Pool,
    definition: CompletePoolDef,
    options: PoolStartOptions,
    work: Work,
  ): Promise<void> {
    const backend = this.world.backends(definition.type);
    if (options.build === true || options.overwrite === true || options.noOverwrite === true)
      await backend.build(definition, { ...buildFlags(options), ...work });
    const wasActive = await backend.isActive(definition, work);
    await backend.start(definition, work);
    try {
      await this.goLive(pool, definition, work.signal);
      await savePoolStatus(this.world, pool, definition);
    } catch (error) {
      // What was mounted before us stays mounted.
      if (pool.live) this.leave(pool);
      if (!wasActive)
        await backend.stop(definition).catch((failure: unknown) =>
          // The first error is the one to tell.
          this.world.log.error({ err: failure, pool: pool.name }, 'a pool could not be taken down again'),
        );
      throw error;
    }
    this.world.events.publish({ event: 'pool.started', pool: pool.identity });
  }

  private async goLive(pool: Pool, definition: CompletePoolDef, signal?: AbortSignal): Promise<void> {
    const live = { ...(await this.refreshing.open(definition, signal)), watcher: undefined };
    pool.live = live;
    this.refreshing.watch(pool, live);
  }

  private leave(pool: Pool): void {
    pool.live?.watcher?.close();
    pool.live = undefined;
  }

  /**
   * Stops a pool; its volumes stay where they are, and guests that use them run on.
   * @throws VirtError pool.inactive, pool.busy while work on its volumes goes on
   */
  async stop(pool: Pool): Promise<void> {
    await runPoolJob(this.world, pool, 'stop', async ({ signal }) => {
      const { definition, volumeJobs } = pool.requireLive(`stop pool '${pool.name}'`);
      const [busy] = [...volumeJobs].filter(([, queue]) => queue.current !== undefined);
      if (busy !== undefined)
        throw new VirtError('pool.busy', {
          wanted: `stop pool '${pool.name}'`,
          reason: `'${busy[1].current?.name}' of volume '${busy[0]}' is in work`,
          hint: "wait for it, or call it off with 'vireo job cancel'",
        });
      await this.world.backends(definition.type).stop(definition, { signal });
      this.leave(pool);
      await this.world.status.remove(pool.uuid);
    });
    this.world.registry.forgetIfGone(pool);
    this.world.events.publish({ event: 'pool.stopped', pool: pool.identity });
  }

  /** @throws VirtError pool.active, pool.built, file.*, program.* */
  async build(pool: Pool, options: BuildOptions): Promise<void> {
    await runPoolJob(
      this.world,
      pool,
      'build',
      async ({ signal }) => {
        if (pool.isActive) throw mustBeInactive(pool, 'build');
        const definition = storedDefinition(pool, 'build');
        this.definitions.check(definition, `build pool '${pool.name}'`);
        await this.world.backends(definition.type).build(definition, { ...buildFlags(options), signal });
      },
      { isCancellable: true },
    );
    this.world.events.publish({ event: 'pool.built', pool: pool.identity });
  }

  /** Takes away what build made; volumes that are there keep it from that. @throws VirtError pool.active, file.exists */
  async delete(pool: Pool): Promise<void> {
    await runPoolJob(this.world, pool, 'delete', async ({ signal }) => {
      if (pool.isActive) throw mustBeInactive(pool, 'delete');
      const definition = storedDefinition(pool, 'delete');
      await this.world.backends(definition.type).delete(definition, { signal });
    });
    this.world.events.publish({ event: 'pool.deleted', pool: pool.identity });
  }

  refresh(pool: Pool): Promise<RefreshChanges> {
    return runPoolJob(this.world, pool, 'refresh', ({ signal }) => this.refreshing.refresh(pool, signal), {
      isCancellable: true,
    });
  }

  /** Takes the pools that an earlier daemon had active into the registry, not active yet. */
  adopt(): void {
    const { status, registry, log } = this.world;
    adoptActive({
      noun: 'pool',
      statuses: status.loadAll(),
      registry,
      log,
      make: (uuid, name) => new Pool(uuid, name),
      parse: ({ xml }) => parseTrusted(xml),
      adopt: (pool, definition) => this.adopted.set(pool, definition),
    });
  }

  private readonly adopted = new Map<Pool, CompletePoolDef>();

  /** Brings the pools of the daemon before up again; what the host lost meanwhile (a mount) is told and left off. */
  async recover(): Promise<void> {
    await Promise.all([...this.adopted].map(([pool, definition]) => this.recoverOne(pool, definition)));
    this.adopted.clear();
  }

  private async recoverOne(pool: Pool, definition: CompletePoolDef): Promise<void> {
    try {
      await runPoolJob(this.world, pool, 'recover', async ({ signal }) => {
        const backend = this.world.backends(definition.type);
        if (!(await backend.isActive(definition, { signal }))) await backend.start(definition, { signal });
        await this.goLive(pool, definition, signal);
      });
    } catch (error) {
      this.world.log.error({ pool: pool.name, reason: reasonOf(error) }, 'a pool is not active any more');
      await this.world.status.remove(pool.uuid);
      this.world.registry.forgetIfGone(pool);
      this.world.events.publish({ event: 'pool.stopped', pool: pool.identity });
    }
  }

  /**
   * Starts the pools marked so, once in the life of the runtime directory: not again when the daemon restarts. One that
   * fails is logged and the others go on.
   */
  async autostart(marker: string): Promise<void> {
    if (statSync(marker, { throwIfNoEntry: false }) !== undefined) return;
    writeFileSync(marker, '', { mode: 0o600 });
    const wanted = this.world.registry.all.filter((pool) => pool.autostart && !pool.isActive);
    await Promise.all(
      wanted.map((pool) =>
        this.start(pool).catch((error: unknown) =>
          this.world.log.error({ err: error, pool: pool.name }, 'autostart of a pool failed'),
        ),
      ),
    );
  }

  /** Lets go of everything without touching it, when the daemon stops. */
  detach(): void {
    for (const pool of this.world.registry.all) pool.live?.watcher?.close();
  }
}

function buildFlags({ overwrite, noOverwrite }: BuildOptions | PoolStartOptions): BuildOptions {
  if (overwrite === true && noOverwrite === true)
    throw new VirtError('request.flags', {
      wanted: 'build a pool',
      reason: 'overwrite and no-overwrite exclude each other',
    });
  return { ...(overwrite === true && { overwrite }), ...(noOverwrite === true && { noOverwrite }) };
}

function alreadyActive(pool: Pool): VirtError {
  return new VirtError('pool.active', {
    wanted: `start pool '${pool.name}'`,
    reason: 'storage pool is already active',
  });
}

function mustBeInactive(pool: Pool, verb: string): VirtError {
  return new VirtError('pool.active', {
    wanted: `${verb} pool '${pool.name}'`,
    reason: 'storage pool is active',
    hint: `stop it first with 'vireo pool stop ${pool.name}'`,
  });
}
