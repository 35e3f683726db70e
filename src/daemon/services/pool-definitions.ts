/** Definitions of storage pools: store and forget them. Acknowledged means on disk. */
import { randomUUID } from 'node:crypto';
import { VirtError } from '../../base/errors.ts';
import { type ParseMode, throwProblems } from '../../base/xml/codec.ts';
import { applyPoolDefaults } from '../../model/storage/pool/defaults.ts';
import { type CompletePoolDef, formatPool, type PoolDef, parsePool } from '../../model/storage/pool/pool.ts';
import { validatePool } from '../../model/storage/pool/validate.ts';
import type { StoredDefinition } from '../state/definitions.ts';
import { type ReplaceOptions, replacesByName } from './by-name.ts';
import { Pool } from './pool.ts';
import {
  factsOf,
  type PoolWorld,
  runPoolJob,
  savePoolStatus,
  shownFacts,
  storedDefinition,
  storedXml,
  transient,
} from './pool-world.ts';

export class PoolDefinitions {
  private readonly world: PoolWorld;

  constructor(world: PoolWorld) {
    this.world = world;
  }

  /**
   * Stores a definition, new or in place of the one with its uuid. An active pool is not touched.
   * @throws VirtError xml.*, pool.exists, file.*
   */
  async define(
    xml: string,
    mode: ParseMode,
    options: ReplaceOptions = {},
  ): Promise<{ pool: Pool; dropped: readonly string[] }> {
    const { definition, dropped } = parsePool(xml, { mode });
    return { pool: await this.store(definition, mode, options), dropped };
  }

  /** As define, for a definition that is parsed already. */
  async store(
    definition: PoolDef,
    mode: ParseMode,
    options: ReplaceOptions & { readonly autostart?: boolean } = {},
  ): Promise<Pool> {
    return this.world.defining.run(
      'define',
      async () => {
        const prepared = this.prepare(definition, mode, options);
        const { pool, isNew } = this.take(prepared);
        try {
          await runPoolJob(this.world, pool, 'define', () => this.write(pool, prepared, options.autostart));
        } finally {
          this.world.registry.forgetIfGone(pool);
        }
        this.world.events.publish({ event: 'pool.defined', pool: pool.identity, isNew });
        return pool;
      },
      { waitMs: this.world.jobWaitMs },
    );
  }

  /**
   * Completes and checks a definition without storing it.
   * @throws VirtError xml.invalid, pool.exists
   */
  prepare(definition: PoolDef, mode: ParseMode, options: ReplaceOptions = {}): CompletePoolDef {
    const known =
      definition.uuid === undefined && replacesByName(mode, options)
        ? this.world.registry.withName(definition.name)
        : undefined;
    const complete = applyPoolDefaults(
      { ...definition, ...(known && { uuid: known.uuid }) },
      { newUuid: () => randomUUID() },
    );
    this.check(complete, `define pool '${definition.name}'`);
    this.refuseTaken(complete);
    return complete;
  }

  /** @throws VirtError xml.invalid */
  check(definition: PoolDef, wanted: string): void {
    throwProblems(validatePool(definition), wanted);
  }

  /** @throws VirtError pool.exists when name, uuid or place belong to another pool */
  private refuseTaken(definition: CompletePoolDef): void {
    const { registry } = this.world;
    const { name, uuid } = definition;
    const wanted = `define pool '${name}'`;
    const withUuid = registry.withUuid(uuid);
    const withName = registry.withName(name);
    if (withUuid && withUuid.name !== name)
      throw new VirtError('pool.exists', {
        wanted,
        reason: `pool '${withUuid.name}' is already defined with uuid ${uuid}`,
        hint: 'leave the uuid out, or use another one',
      });
    if (withName && withName.uuid !== uuid)
      throw new VirtError('pool.exists', {
        wanted,
        reason: `pool '${name}' already exists with uuid ${withName.uuid}`,
        hint: 'use another name, or leave the uuid out to redefine it',
      });
    const mine = factsOf(definition);
    for (const other of registry.all) {
      if (other.uuid === uuid) continue;
      const theirs = shownFacts(other);
      const isSame =
        mine.path !== undefined && mine.path === theirs.path && !shareTargets(mine.type, theirs.type);
      if (isSame)
        throw new VirtError('pool.exists', {
          wanted,
          reason: `its place ${mine.path} belongs to pool '${other.name}'`,
          hint: 'two pools on one directory would not know of each other',
        });
    }
  }

  /** The pool of a checked definition, in the registry. */
  take(definition: CompletePoolDef): { pool: Pool; isNew: boolean } {
    const known = this.world.registry.withUuid(definition.uuid);
    if (known) return { pool: known, isNew: !known.isPersistent };
    const pool = new Pool(definition.uuid, definition.name);
    this.world.registry.add(pool);
    return { pool, isNew: true };
  }

  /** Writes the file, then changes what is served. */
  private async write(pool: Pool, definition: CompletePoolDef, autostart = pool.autostart): Promise<void> {
    const xml = storedXml(definition);
    const facts = factsOf(definition);
    await this.world.definitions.save(this.stored(pool, { xml, autostart, facts: { ...facts } }));
    pool.xml = xml;
    pool.facts = facts;
    pool.autostart = autostart;
    if (pool.live) await savePoolStatus(this.world, pool, pool.live.definition);
  }

  private stored(pool: Pool, change: Partial<StoredDefinition>): StoredDefinition {
    return {
      uuid: pool.uuid,
      name: pool.name,
      autostart: pool.autostart,
      xml: pool.xml ?? '',
      ...(pool.facts && { facts: { ...pool.facts } }),
      ...(pool.extra && { extra: pool.extra }),
      ...change,
    };
  }

  /**
   * Forgets a stored definition; an active pool becomes transient and is gone when it stops. No volume is touched.
   * @throws VirtError pool.transient
   */
  async undefine(pool: Pool): Promise<void> {
    await runPoolJob(this.world, pool, 'undefine', async () => {
      if (!pool.isPersistent) throw transient(pool, 'undefine');
      await this.world.definitions.remove(pool.uuid);
      pool.xml = undefined;
      pool.facts = undefined;
      pool.autostart = false;
      if (pool.live) await savePoolStatus(this.world, pool, pool.live.definition);
    });
    this.world.registry.forgetIfGone(pool);
    this.world.events.publish({ event: 'pool.undefined', pool: pool.identity });
  }

  /** @throws VirtError pool.transient */
  async setAutostart(pool: Pool, autostart: boolean): Promise<void> {
    await runPoolJob(this.world, pool, 'set autostart', async () => {
      if (!pool.isPersistent) throw transient(pool, 'autostart');
      if (pool.autostart === autostart) return;
      await this.world.definitions.save(this.stored(pool, { autostart }));
      pool.autostart = autostart;
    });
  }

  /** The definition: as it was started for an active pool (unless `inactive`), else the stored one. */
  definition(pool: Pool, options: { readonly inactive?: boolean } = {}): CompletePoolDef {
    if (pool.live && !(options.inactive === true && pool.isPersistent)) return pool.live.definition;
    return storedDefinition(pool, 'show');
  }

  /** The definition as text; sizes are part of an active pool's. */
  xml(pool: Pool, options: { readonly inactive: boolean }): string {
    const isStored = options.inactive && pool.isPersistent;
    const space = isStored ? undefined : pool.live?.space;
    return formatPool(this.definition(pool, options), {
      space: space ?? { capacityBytes: 0, allocationBytes: 0, availableBytes: 0 },
    });
  }
}

/** Pools of these types find all their devices in one place, /dev/disk/by-path. */
const byDevice: readonly string[] = ['iscsi', 'scsi', 'disk', 'mpath'];

function shareTargets(a: string, b: string): boolean {
  return byDevice.includes(a) && byDevice.includes(b);
}
