/** New pools from a few words, and the pool `default` of the first start. */
import { statSync } from 'node:fs';
import { VirtError } from '../../base/errors.ts';
import { writeDurable } from '../../base/files.ts';
import { formatPool, type PoolDef, parsePool } from '../../model/storage/pool/pool.ts';
import { type PoolWish, poolOf } from '../../model/storage/pool/short-form.ts';
import type { Pool } from './pool.ts';
import type { PoolDefinitions } from './pool-definitions.ts';
import type { PoolLifecycle } from './pool-lifecycle.ts';
import type { PoolWorld } from './pool-world.ts';

export type PoolRequest = PoolWish & {
  readonly autostart: boolean;
  readonly build: boolean;
  readonly start: boolean;
};

export class PoolCreation {
  private readonly world: PoolWorld;
  private readonly definitions: PoolDefinitions;
  private readonly lifecycle: PoolLifecycle;

  constructor(world: PoolWorld, definitions: PoolDefinitions, lifecycle: PoolLifecycle) {
    this.world = world;
    this.definitions = definitions;
    this.lifecycle = lifecycle;
  }

  /**
   * Stores a pool, and builds and starts it when asked for. When the build or the start fails the pool is forgotten again.
   * @throws VirtError xml.invalid, pool.exists, and those of build and start
   */
  async create(request: PoolRequest): Promise<Pool> {
    const { autostart, build, start, ...wish } = request;
    if (this.world.registry.withName(wish.name))
      throw new VirtError('pool.exists', {
        wanted: `create pool '${wish.name}'`,
        reason: `pool '${wish.name}' exists already`,
      });
    // A new uuid: nothing that is there is replaced, whoever was faster.
    const pool = await this.definitions.store(checked(poolOf(wish)), 'lenient', { autostart });
    try {
      if (build) await this.lifecycle.build(pool, {});
      if (start) await this.lifecycle.start(pool);
    } catch (error) {
      await this.definitions.undefine(pool);
      throw error;
    }
    return pool;
  }

  /**
   * Defines the directory pool `default` once in the life of an installation, marked for autostart. Where pools are
   * stored already, somebody has decided for themselves. The marker is written last: a crash before it means that it is
   * tried again.
   */
  async defineDefault(marker: string, path: string): Promise<void> {
    if (statSync(marker, { throwIfNoEntry: false }) !== undefined) return;
    if (this.world.registry.all.length === 0) {
      const pool = await this.definitions.store(poolOf({ name: 'default', type: 'dir', path }), 'lenient', {
        autostart: true,
      });
      await this.lifecycle.build(pool, {});
      this.world.log.info({ path }, "the storage pool 'default' was defined");
    }
    await writeDurable(marker, '', { mode: 0o600 });
  }
}

/** Names and paths that a client gave pass the same rules as those in a document. @throws VirtError xml.invalid */
function checked(definition: PoolDef): PoolDef {
  return parsePool(formatPool(definition), { mode: 'strict' }).definition;
}
