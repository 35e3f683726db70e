/** Storage pools: lists, lookups and facts. */
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { PoolType } from '../../../../model/storage/pool/pool.ts';
import type { Pool } from '../../../services/pool.ts';
import { shownFacts } from '../../../services/pool-world.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import {
  findPool,
  noPool,
  poolNamed,
  poolOf,
  poolTypeOf,
  requireActive,
  volumesOf,
  wirePoolOf,
} from './storage-objects.ts';
import { atMost, checkFlags, SETTLE_MS } from './support.ts';

/** virConnectListAllStoragePoolsFlags, in pairs. */
const filterPairs: readonly (readonly [number, number, (pool: Pool) => boolean])[] = [
  [2, 1, (pool) => pool.isActive],
  [4, 8, (pool) => pool.isPersistent],
  [16, 32, (pool) => pool.autostart],
];

/** The same, kinds of pools: any of those that are asked for. */
const typeBits: readonly (readonly [number, PoolType])[] = [
  [1 << 6, 'dir'],
  [1 << 7, 'fs'],
  [1 << 8, 'netfs'],
  [1 << 9, 'logical'],
  [1 << 10, 'disk'],
  [1 << 11, 'iscsi'],
  [1 << 12, 'scsi'],
  [1 << 13, 'mpath'],
  [1 << 14, 'rbd'],
  [1 << 15, 'sheepdog'],
  [1 << 16, 'gluster'],
  [1 << 17, 'zfs'],
  [1 << 18, 'vstorage'],
  [1 << 19, 'iscsi-direct'],
];
const filterMask = 0xf_ffff;

const XML_INACTIVE = 1; // virStorageXMLFlags

/** virStoragePoolState. */
const poolState = { inactive: 0, building: 1, running: 2 } as const;

function fitsFilter(pool: Pool, flags: number): boolean {
  const fitsPairs = filterPairs.every(([yes, no, holds]) => {
    const wanted = flags & (yes | no);
    return wanted === 0 || wanted === (yes | no) || holds(pool) === (wanted === yes);
  });
  const types = typeBits.filter(([bit]) => (flags & bit) !== 0).map(([, type]) => type);
  return fitsPairs && (types.length === 0 || types.includes(shownFacts(pool).type));
}

export function storagePoolHandlers(engine: Engine) {
  return { ...poolLists(engine), ...poolLookups(engine), ...poolFacts(engine) } satisfies RemoteHandlers;
}

function poolLists(engine: Engine) {
  const { storage } = engine;
  const list = async (filter: { readonly active?: boolean } = {}) => {
    await storage.whenUp();
    return storage.list(filter);
  };
  const names = async (active: boolean) => (await list({ active })).map(({ name }) => name);
  return {
    connectListAllStoragePools: async ({ needResults, flags }, call) => {
      checkFlags(flags, filterMask, call);
      const found = (await list()).filter((pool) => fitsFilter(pool, flags));
      return { pools: needResults === 0 ? [] : found.map(wirePoolOf), ret: found.length };
    },
    connectNumOfStoragePools: async () => ({ num: (await list({ active: true })).length }),
    connectListStoragePools: async ({ maxnames }) => ({ names: atMost(await names(true), maxnames) }),
    connectNumOfDefinedStoragePools: async () => ({ num: (await list({ active: false })).length }),
    connectListDefinedStoragePools: async ({ maxnames }) => ({
      names: atMost(await names(false), maxnames),
    }),
    connectGetStoragePoolCapabilities: ({ flags }, call) => {
      checkFlags(flags, 0, call);
      return { capabilities: storage.capabilitiesXml() };
    },
    connectFindStoragePoolSources: async ({ type: text, srcSpec, flags }, call) => {
      checkFlags(flags, 0, call);
      return { xml: await storage.findSources(poolTypeOf(text), srcSpec ?? undefined) };
    },
  } satisfies RemoteHandlers;
}

function poolLookups(engine: Engine) {
  return {
    storagePoolLookupByName: async ({ name }) => ({ pool: wirePoolOf(await poolNamed(engine, name)) }),
    storagePoolLookupByUuid: async ({ uuid }) => ({
      pool: wirePoolOf(await findPool(engine, uuid, `no storage pool with matching uuid '${uuid}'`)),
    }),
    storagePoolLookupByVolume: async ({ vol }) => ({ pool: wirePoolOf(await poolNamed(engine, vol.pool)) }),
    storagePoolLookupByTargetPath: async ({ path }) => {
      await engine.storage.whenUp();
      const pool = engine.storage.withPath(plainPath(path));
      if (pool === undefined) throw noPool(`no storage pool with matching target path '${path}'`);
      return { pool: wirePoolOf(pool) };
    },
  } satisfies RemoteHandlers;
}

/** Without doubled slashes and one at the end. */
function plainPath(path: string): string {
  const plain = path.replace(/\/{2,}/g, '/');
  return plain.length > 1 && plain.endsWith('/') ? plain.slice(0, -1) : plain;
}

function poolFacts(engine: Engine) {
  const { storage } = engine;
  const activeVolumes = async (pool: Parameters<typeof poolOf>[1]) => {
    const found = requireActive(await poolOf(engine, pool));
    return volumesOf(found, storage.volumes.list(found));
  };
  return {
    storagePoolGetInfo: async ({ pool }) => infoOf(await poolOf(engine, pool)),
    storagePoolGetXmlDesc: async ({ pool, flags }, call) => {
      checkFlags(flags, XML_INACTIVE, call);
      const inactive = (flags & XML_INACTIVE) !== 0;
      return { xml: storage.definitions.xml(await poolOf(engine, pool), { inactive }) };
    },
    storagePoolIsActive: async ({ pool }) => {
      await (await poolOf(engine, pool)).jobs.idle(SETTLE_MS);
      return { active: (await poolOf(engine, pool)).isActive ? 1 : 0 };
    },
    storagePoolIsPersistent: async ({ pool }) => ({
      persistent: (await poolOf(engine, pool)).isPersistent ? 1 : 0,
    }),
    storagePoolGetAutostart: async ({ pool }) => ({
      autostart: (await poolOf(engine, pool)).autostart ? 1 : 0,
    }),
    storagePoolSetAutostart: async ({ pool, autostart }) => {
      const found = await poolOf(engine, pool);
      if (!found.isPersistent)
        throw new LibvirtError(errorNumber.invalidArg, 'pool has no config file', errorDomain.storage);
      await storage.definitions.setAutostart(found, autostart !== 0);
    },
    storagePoolNumOfVolumes: async ({ pool }) => ({ num: (await activeVolumes(pool)).length }),
    storagePoolListVolumes: async ({ pool, maxnames }) => ({
      names: atMost(
        (await activeVolumes(pool)).map(({ name }) => name),
        maxnames,
      ),
    }),
    storagePoolListAllVolumes: async ({ pool, needResults, flags }, call) => {
      checkFlags(flags, 0, call);
      const vols = await activeVolumes(pool);
      return { vols: needResults === 0 ? [] : vols, ret: vols.length };
    },
  } satisfies RemoteHandlers;
}

/** Sizes in bytes, of the last look at it; 0 for a pool that is not active. */
function infoOf({ live, jobs }: Pool) {
  const isBuilding = jobs.current?.name === 'build';
  if (live === undefined)
    return {
      state: isBuilding ? poolState.building : poolState.inactive,
      ...{ capacity: 0, allocation: 0, available: 0 },
    };
  const { capacityBytes, allocationBytes, availableBytes } = live.space;
  return {
    state: poolState.running,
    ...{ capacity: capacityBytes, allocation: allocationBytes, available: availableBytes },
  };
}
