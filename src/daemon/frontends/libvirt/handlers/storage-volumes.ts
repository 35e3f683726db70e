/** Volumes: lookups, facts and XML. */
import type { VolumeType } from '../../../../model/storage/volume/volume.ts';
import type { FoundVolume } from '../../../services/volumes.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { orNoVolume, poolOf, volumeNamed, volumeOf, wireVolumeOf } from './storage-objects.ts';
import { checkFlags } from './support.ts';

const INFO_PHYSICAL = 1; // virStorageVolInfoFlags

/** virStorageVolType. */
const volumeTypes: Readonly<Record<VolumeType, number>> = {
  file: 0,
  block: 1,
  dir: 2,
  network: 3,
  netdir: 4,
};

export function storageVolumeHandlers(engine: Engine) {
  const { storage } = engine;
  return {
    storageVolLookupByName: async ({ pool, name }) => ({
      vol: wireVolumeOf(volumeNamed(engine, await poolOf(engine, pool), name)),
    }),
    storageVolLookupByKey: async ({ key }) => {
      await storage.whenUp();
      const reason = `no storage vol with matching key ${key}`;
      return { vol: wireVolumeOf(orNoVolume(reason, () => storage.volumes.findByKey(key))) };
    },
    storageVolLookupByPath: async ({ path }) => {
      await storage.whenUp();
      const reason = `no storage vol with matching path '${path}'`;
      return { vol: wireVolumeOf(orNoVolume(reason, () => storage.volumes.findByPath(path))) };
    },
    storageVolGetPath: async ({ vol }) => ({ name: (await volumeOf(engine, vol)).volume.path }),
    storageVolGetInfo: async ({ vol }) => infoOf(await volumeNow(engine, vol), false),
    storageVolGetInfoFlags: async ({ vol, flags }, call) => {
      checkFlags(flags, INFO_PHYSICAL, call);
      return infoOf(await volumeNow(engine, vol), (flags & INFO_PHYSICAL) !== 0);
    },
    storageVolGetXmlDesc: async ({ vol, flags }, call) => {
      checkFlags(flags, 0, call);
      return { xml: storage.volumes.xml((await volumeNow(engine, vol)).volume) };
    },
  } satisfies RemoteHandlers;
}

/** As it is at this moment: files grow under guests. What is no file changes by our hands only. */
async function volumeNow(engine: Engine, vol: Parameters<typeof volumeOf>[1]): Promise<FoundVolume> {
  const { pool, volume } = await volumeOf(engine, vol);
  if (volume.type === 'file') await engine.storage.lookAgain(pool, volume.name);
  return volumeNamed(engine, pool, volume.name);
}

/** Sizes in bytes; `allocation` is what it takes, or with `physical` the length of the file. */
function infoOf({ volume }: FoundVolume, physical: boolean) {
  const { type, capacityBytes, allocationBytes, physicalBytes } = volume;
  return {
    type: volumeTypes[type],
    capacity: capacityBytes,
    allocation: physical ? physicalBytes : allocationBytes,
  };
}
