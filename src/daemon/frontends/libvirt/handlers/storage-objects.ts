/** Pools and volumes as clients name them: finding the one that is meant, and its name on the wire. */
import { isVirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireStoragePool, WireStorageVol } from '../../../../libvirt/protocol/objects.ts';
import { type PoolType, poolTypes } from '../../../../model/storage/pool/pool.ts';
import type { VolumeFacts } from '../../../../storage/backend.ts';
import type { Pool } from '../../../services/pool.ts';
import type { FoundVolume } from '../../../services/volumes.ts';
import type { Engine } from '../context.ts';

export function wirePoolOf({ name, uuid }: Pool): WireStoragePool {
  return { name, uuid };
}

export function wireVolumeOf({ pool, volume }: FoundVolume): WireStorageVol {
  return { pool: pool.name, name: volume.name, key: volume.key };
}

export const volumesOf = (pool: Pool, volumes: readonly VolumeFacts[]): WireStorageVol[] =>
  volumes.map((volume) => wireVolumeOf({ pool, volume }));

export function noPool(reason: string): LibvirtError {
  return new LibvirtError(errorNumber.noStoragePool, reason, errorDomain.storage);
}

export function noVolume(reason: string): LibvirtError {
  return new LibvirtError(errorNumber.noStorageVol, reason, errorDomain.storage);
}

/** @throws LibvirtError operation invalid, of storage: the words that clients know */
export function storageNotValid(detail: string): LibvirtError {
  return new LibvirtError(errorNumber.operationInvalid, detail, errorDomain.storage);
}

/** @throws LibvirtError no storage pool: `reason`; VirtError pool.quarantined */
export async function findPool(engine: Engine, text: string, reason: string): Promise<Pool> {
  await engine.storage.whenUp();
  try {
    return engine.storage.find(text);
  } catch (error) {
    throw isVirtError(error, 'pool.not-found') ? noPool(reason) : error;
  }
}

/** By name alone: a name may look like the uuid of another pool. @throws LibvirtError no storage pool */
export async function poolNamed(engine: Engine, name: string): Promise<Pool> {
  const reason = `no storage pool with matching name '${name}'`;
  const pool = await findPool(engine, name, reason);
  if (pool.name !== name) throw noPool(reason);
  return pool;
}

/** The pool a client means: its uuid decides. @throws LibvirtError no storage pool */
export function poolOf(engine: Engine, { uuid, name }: WireStoragePool): Promise<Pool> {
  return findPool(engine, uuid, `no storage pool with matching uuid '${uuid}' (${name})`);
}

/** @throws LibvirtError operation invalid when it is not active */
export function requireActive(pool: Pool): Pool {
  if (pool.isActive) return pool;
  throw storageNotValid(`storage pool '${pool.name}' is not active`);
}

/** Of an active pool, by name. @throws LibvirtError no storage volume, operation invalid */
export function volumeNamed(engine: Engine, pool: Pool, name: string): FoundVolume {
  requireActive(pool);
  return orNoVolume(`no storage vol with matching name '${name}'`, () => ({
    pool,
    volume: engine.storage.volumes.find(pool, name),
  }));
}

/** The volume a client means: the name of its pool and its own decide. @throws LibvirtError as volumeNamed */
export async function volumeOf(engine: Engine, { pool, name }: WireStorageVol): Promise<FoundVolume> {
  return volumeNamed(engine, await poolNamed(engine, pool), name);
}

/** What `find` finds. @throws LibvirtError no storage volume: `reason` */
export function orNoVolume(reason: string, find: () => FoundVolume): FoundVolume {
  try {
    return find();
  } catch (error) {
    throw isVirtError(error, 'volume.not-found') ? noVolume(reason) : error;
  }
}

/** @throws LibvirtError unsupported configuration */
export function poolTypeOf(text: string): PoolType {
  const type = poolTypes.find((one) => one === text);
  if (type !== undefined) return type;
  throw new LibvirtError(
    errorNumber.configUnsupported,
    `unknown storage pool type ${text}`,
    errorDomain.storage,
  );
}
