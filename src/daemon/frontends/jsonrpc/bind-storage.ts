/** Pool and volume methods onto the storage service: find the object, call the verb, shape the result. */
import type { Params } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { parseVolumeSecret } from '../../../model/secret/secret.ts';
import type { VolumeDef } from '../../../model/storage/volume/volume.ts';
import type { Pool } from '../../services/pool.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { Undo } from '../../undo/undo.ts';
import { undoableOf } from './bind-undo.ts';
import { bindVolumeTransfers } from './bind-volume-transfer.ts';
import { quarantinedOf } from './domain-shapes.ts';
import { poolOf, volumeOf } from './find-storage.ts';
import type { Handlers } from './handlers.ts';
import {
  poolDetailsOf,
  poolSummaryOf,
  trashedOf,
  volumeDetailsOf,
  volumeSummaryOf,
} from './storage-shapes.ts';

type StorageMethod = Exclude<
  Extract<keyof Handlers, `pool.${string}` | `volume.${string}`>,
  `volume.import${string}`
>;
type StorageHandlers = Pick<Handlers, StorageMethod>;

const modeOf = (strict: boolean) => (strict ? 'strict' : 'lenient');

export function bindStorage(storage: StorageService, undo: Undo, log: Logger): StorageHandlers {
  return {
    ...bindPoolQueries(storage),
    ...bindPoolDefinitions(storage, undo),
    ...bindPoolLifecycle(storage),
    ...bindVolumeQueries(storage),
    ...bindVolumeCreation(storage),
    ...bindVolumeChanges(storage),
    ...bindVolumeTrash(storage),
    ...bindVolumeTransfers(storage, log),
  };
}

function bindPoolQueries(storage: StorageService) {
  return {
    'pool.list': async (filter) => {
      await storage.whenUp();
      return {
        pools: storage.list(filter).map((pool) => poolSummaryOf(pool)),
        quarantined: storage.quarantined.map((file) => quarantinedOf(file)),
      };
    },
    'pool.get': async ({ pool }) => {
      const found = await poolOf(storage, pool);
      return poolDetailsOf(found, await trashOrNothing(storage, found));
    },
    'pool.xml': async ({ pool, inactive }) => ({
      xml: storage.definitions.xml(await poolOf(storage, pool), { inactive }),
    }),
    'pool.capabilities': async () => ({ xml: storage.capabilitiesXml() }),
    'pool.find-sources': async ({ type, xml }) => ({ xml: await storage.findSources(type, xml) }),
  } satisfies Partial<StorageHandlers>;
}

function bindPoolDefinitions(storage: StorageService, undo: Undo) {
  return {
    'pool.define': async ({ xml, strict }) => {
      const { pool, dropped } = await storage.definitions.define(xml, modeOf(strict), { byName: true });
      return { pool: poolSummaryOf(pool), dropped: [...dropped] };
    },
    'pool.undefine': async ({ pool }) => {
      const kept = await undo.undefinePool(await poolOf(storage, pool));
      return { undo: kept === undefined ? null : undoableOf(kept) };
    },
    'pool.create': async (request) => ({ pool: poolSummaryOf(await storage.creation.create(request)) }),
    'pool.create-xml': async ({ xml, strict, ...options }) => {
      const { pool, dropped } = await storage.lifecycle.create(xml, modeOf(strict), options);
      return { pool: poolSummaryOf(pool), dropped: [...dropped] };
    },
    'pool.set-autostart': async ({ pool, autostart }) => {
      await storage.definitions.setAutostart(await poolOf(storage, pool), autostart);
      return {};
    },
  } satisfies Partial<StorageHandlers>;
}

function bindPoolLifecycle(storage: StorageService) {
  return {
    'pool.build': async ({ pool, ...options }) => {
      await storage.lifecycle.build(await poolOf(storage, pool), options);
      return {};
    },
    'pool.start': async ({ pool, ...options }) => {
      const found = await poolOf(storage, pool);
      await storage.lifecycle.start(found, options);
      return poolSummaryOf(found);
    },
    'pool.stop': async ({ pool }) => {
      await storage.lifecycle.stop(await poolOf(storage, pool));
      return {};
    },
    'pool.delete': async ({ pool }) => {
      await storage.lifecycle.delete(await poolOf(storage, pool));
      return {};
    },
    'pool.refresh': async ({ pool }) => {
      const { added, removed, changed } = await storage.lifecycle.refresh(await poolOf(storage, pool));
      return { added: added.length, removed: removed.length, changed: changed.length };
    },
  } satisfies Partial<StorageHandlers>;
}

/** A pool can be shown when its trash cannot be read. */
async function trashOrNothing(storage: StorageService, pool: Pool) {
  if (!pool.isActive || !storage.trash.keeps(pool)) return undefined;
  try {
    return await storage.trash.list([pool]);
  } catch (error) {
    if (error instanceof VirtError) return undefined;
    throw error;
  }
}

function bindVolumeTrash(storage: StorageService) {
  return {
    'volume.trash-list': async ({ pool }) => {
      const pools = pool === undefined ? storage.list({ active: true }) : [await poolOf(storage, pool)];
      return { volumes: (await storage.trash.list(pools)).map((volume) => trashedOf(volume)) };
    },
    'volume.restore': async ({ pool, volume, name }) => {
      const found = await poolOf(storage, pool);
      return volumeSummaryOf(found, await storage.trash.restore(found, volume, name));
    },
    'volume.trash-empty': async ({ pool, volume }) => {
      const gone = await storage.trash.empty(await poolOf(storage, pool), volume);
      return { volumes: gone.map((one) => trashedOf(one)) };
    },
  } satisfies Partial<StorageHandlers>;
}

function bindVolumeQueries(storage: StorageService) {
  return {
    'volume.list': async ({ pool }) => {
      const found = await poolOf(storage, pool);
      return { volumes: storage.volumes.list(found).map((volume) => volumeSummaryOf(found, volume)) };
    },
    'volume.get': async (ref) => {
      const found = await volumeOf(storage, ref);
      const header = await storage.volumes.header(found.volume);
      return volumeDetailsOf(found, await storage.volumes.users(found), header);
    },
    'volume.find': async ({ path, key }) => {
      await storage.whenUp();
      if ((path === undefined) === (key === undefined))
        throw new VirtError('request.invalid', {
          wanted: 'find a volume',
          reason: 'give a path or a key, one of them',
        });
      const found =
        path === undefined ? storage.volumes.findByKey(key ?? '') : storage.volumes.findByPath(path);
      return volumeSummaryOf(found.pool, found.volume);
    },
    'volume.xml': async (ref) => ({ xml: storage.volumes.xml((await volumeOf(storage, ref)).volume) }),
  } satisfies Partial<StorageHandlers>;
}

function bindVolumeCreation(storage: StorageService) {
  return {
    'volume.create': async ({ pool, preallocateMetadata, ...wish }) => {
      const found = await poolOf(storage, pool);
      const definition = descriptionOf(storage, found, wish);
      const made = await storage.volumeCreation.create(found, definition, { preallocateMetadata });
      return { volume: volumeSummaryOf(found, made.volume), warnings: [...made.warnings] };
    },
    'volume.create-xml': async ({ pool, xml, strict, preallocateMetadata }) => {
      const found = await poolOf(storage, pool);
      const made = await storage.volumeCreation.createXml(found, xml, {
        mode: modeOf(strict),
        preallocateMetadata,
      });
      return shown(found, made);
    },
    'volume.clone': async ({ pool, volume, name, toPool, format, secret }) => {
      const source = await volumeOf(storage, { pool, volume });
      const target = toPool === undefined ? source.pool : storage.find(toPool);
      const definition = {
        name,
        target: { ...(format && { format: { type: format } }), ...encryptionBy(secret) },
      };
      const made = await storage.volumeCreation.clone(source, target, definition);
      return { volume: volumeSummaryOf(target, made.volume), warnings: [...made.warnings] };
    },
    'volume.clone-xml': async ({ pool, volume, toPool, xml, strict }) => {
      const source = await volumeOf(storage, { pool, volume });
      const target = toPool === undefined ? source.pool : storage.find(toPool);
      return shown(target, await storage.volumeCreation.cloneXml(source, target, xml, modeOf(strict)));
    },
  } satisfies Partial<StorageHandlers>;
}

type Made = Awaited<ReturnType<StorageService['volumeCreation']['createXml']>>;

function shown(pool: Pool, { volume, warnings, dropped }: Made) {
  return { volume: volumeSummaryOf(pool, volume), warnings: [...warnings], dropped: [...dropped] };
}

/** LUKS by a secret; nothing without one. */
function encryptionBy(secret: string | undefined): Pick<VolumeDef['target'], 'encryption'> {
  if (secret === undefined) return {};
  return { encryption: { format: 'luks', secrets: [{ type: 'passphrase', ...parseVolumeSecret(secret) }] } };
}

/** What a few words mean, as a description. */
function descriptionOf(
  storage: StorageService,
  pool: Pool,
  wish: Omit<Params<'volume.create'>, 'pool' | 'preallocateMetadata'>,
): VolumeDef {
  const { name, format, capacityBytes, allocationBytes, clusterSizeBytes, lazyRefcounts, extendedL2 } = wish;
  const below = wish.backing === undefined ? undefined : storage.volumes.find(pool, wish.backing);
  const hasFeatures = lazyRefcounts || extendedL2;
  return {
    name,
    ...(capacityBytes !== undefined && { capacityBytes }),
    allocationBytes,
    target: {
      format: { type: format },
      ...(clusterSizeBytes !== undefined && { clusterSizeBytes }),
      ...encryptionBy(wish.secret),
      ...(hasFeatures && {
        features: { ...(lazyRefcounts && { lazyRefcounts }), ...(extendedL2 && { extendedL2 }) },
      }),
    },
    ...(below && { backingStore: { path: below.path, format: { type: below.format } } }),
  };
}

function bindVolumeChanges(storage: StorageService) {
  return {
    'volume.delete': async ({ now, ...ref }) => {
      const kept = await storage.volumeChanges.delete(await volumeOf(storage, ref), { keep: !now });
      return { trash: kept === undefined ? null : trashedOf(kept) };
    },
    'volume.resize': async ({ pool, volume, ...wish }) => {
      const found = await volumeOf(storage, { pool, volume });
      return volumeSummaryOf(found.pool, await storage.volumeChanges.resize(found, wish));
    },
    'volume.wipe': async ({ algorithm, ...ref }) => {
      await storage.volumeChanges.wipe(await volumeOf(storage, ref), algorithm);
      return {};
    },
    'volume.set-format': async ({ format, ...ref }) => {
      const found = await volumeOf(storage, ref);
      return volumeSummaryOf(found.pool, await storage.volumeChanges.setFormat(found, format));
    },
  } satisfies Partial<StorageHandlers>;
}
