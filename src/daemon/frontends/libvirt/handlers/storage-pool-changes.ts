/** What changes storage pools: define, create, build, start, refresh, stop, delete, undefine. */
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parsePool } from '../../../../model/storage/pool/pool.ts';
import type { Pool } from '../../../services/pool.ts';
import type { PoolStartOptions } from '../../../services/pool-lifecycle.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { poolOf, requireActive, storageNotValid, wirePoolOf } from './storage-objects.ts';
import { checkFlags } from './support.ts';

const DEFINE_VALIDATE = 1; // virStoragePoolDefineFlags

/** virStoragePoolCreateFlags. */
const create = { build: 1, overwrite: 2, noOverwrite: 4, validate: 8 } as const;
const startFlags = create.build | create.overwrite | create.noOverwrite;

/** virStoragePoolBuildFlags; repair and resize are of no kind of pool that there is. */
const build = { noOverwrite: 4, overwrite: 8 } as const;

export function storagePoolChangeHandlers(engine: Engine) {
  const { storage } = engine;
  return {
    storagePoolDefineXml: async ({ xml, flags }, call) => {
      checkFlags(flags, DEFINE_VALIDATE, call);
      validate(xml, (flags & DEFINE_VALIDATE) !== 0);
      await storage.whenUp();
      const { pool } = await storage.definitions.define(xml, 'lenient');
      return { pool: wirePoolOf(pool) };
    },
    storagePoolCreateXml: async ({ xml, flags }, call) => {
      checkFlags(flags, startFlags | create.validate, call);
      const options = startOptions(flags);
      validate(xml, (flags & create.validate) !== 0);
      await storage.whenUp();
      const { pool } = await storage.lifecycle.create(xml, 'lenient', options);
      return { pool: wirePoolOf(pool) };
    },
    storagePoolCreate: async ({ pool, flags }, call) => {
      checkFlags(flags, startFlags, call);
      const found = await poolOf(engine, pool);
      if (found.isActive) throw storageNotValid(`storage pool '${found.name}' is already active`);
      await storage.lifecycle.start(found, startOptions(flags));
    },
    storagePoolBuild: async ({ pool, flags }, call) => {
      checkFlags(flags, build.overwrite | build.noOverwrite, call);
      const overwrite = (flags & build.overwrite) !== 0;
      const noOverwrite = (flags & build.noOverwrite) !== 0;
      exclude(overwrite, noOverwrite);
      const found = await poolOf(engine, pool);
      if (found.isActive) throw storageNotValid(`storage pool '${found.name}' is already active`);
      await storage.lifecycle.build(found, { overwrite, noOverwrite });
    },
    storagePoolRefresh: async ({ pool, flags }, call) => {
      checkFlags(flags, 0, call);
      await storage.lifecycle.refresh(requireActive(await poolOf(engine, pool)));
    },
    storagePoolDestroy: async ({ pool }) => {
      await storage.lifecycle.stop(requireActive(await poolOf(engine, pool)));
    },
    storagePoolDelete: async ({ pool, flags }, call) => {
      checkFlags(flags, 0, call);
      await storage.lifecycle.delete(requireInactive(await poolOf(engine, pool)));
    },
    // Our own door lets an active pool become transient; libvirt's clients know it as refused.
    storagePoolUndefine: async ({ pool }) => {
      await storage.definitions.undefine(requireInactive(await poolOf(engine, pool)));
    },
  } satisfies RemoteHandlers;
}

function requireInactive(pool: Pool): Pool {
  if (!pool.isActive) return pool;
  throw storageNotValid(`storage pool '${pool.name}' is still active`);
}

/** With the flag what is not known is an error; without it, it is left out, as libvirt does. */
function validate(xml: string, isWanted: boolean): void {
  if (isWanted) parsePool(xml, { mode: 'strict' });
}

/** @throws LibvirtError for flags that exclude each other */
function startOptions(flags: number): PoolStartOptions {
  const overwrite = (flags & create.overwrite) !== 0;
  const noOverwrite = (flags & create.noOverwrite) !== 0;
  exclude(overwrite, noOverwrite);
  return { build: (flags & create.build) !== 0, overwrite, noOverwrite };
}

function exclude(overwrite: boolean, noOverwrite: boolean): void {
  if (overwrite && noOverwrite)
    throw new LibvirtError(
      errorNumber.invalidArg,
      "flags 'overwrite' and 'no overwrite' are mutually exclusive",
      errorDomain.storage,
    );
}
