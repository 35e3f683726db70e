/** What changes volumes: create, copy, delete, wipe, resize, and streams of their bytes. */
import { isVirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseVolume, type VolumeDef, wipeAlgorithms } from '../../../../model/storage/volume/volume.ts';
import type { ResizeWish } from '../../../services/volume-change.ts';
import { runsOrLiesOn } from '../../../services/volume-users.ts';
import type { FoundVolume } from '../../../services/volumes.ts';
import type { Call, Engine, RemoteHandlers } from '../context.ts';
import { downloadStream } from '../download-stream.ts';
import { uploadStream } from '../volume-streams.ts';
import { poolOf, requireActive, volumeOf, wireVolumeOf } from './storage-objects.ts';
import { bytesOf, checkFlags, invalid } from './support.ts';

/** virStorageVolCreateFlags. */
const create = { preallocMetadata: 1, reflink: 2, validate: 4 } as const;

const DELETE_ZEROED = 1; // virStorageVolDeleteFlags

/** virStorageVolResizeFlags. */
const resize = { allocate: 1, delta: 2, shrink: 4 } as const;

const SPARSE_STREAM = 1; // virStorageVolUploadFlags, virStorageVolDownloadFlags

export function storageVolumeChangeHandlers(engine: Engine) {
  return {
    ...volumeCreation(engine),
    ...volumeChanges(engine),
    ...volumeTransfers(engine),
  } satisfies RemoteHandlers;
}

function volumeCreation(engine: Engine) {
  const { storage } = engine;
  return {
    storageVolCreateXml: async ({ pool, xml, flags }, call) => {
      checkFlags(flags, create.preallocMetadata | create.validate, call);
      const found = requireActive(await poolOf(engine, pool));
      const definition = definitionOf(xml, flags);
      const preallocateMetadata = (flags & create.preallocMetadata) !== 0;
      const made = await told(definition, () =>
        storage.volumeCreation.create(found, definition, { preallocateMetadata }),
      );
      return { vol: wireVolumeOf({ pool: found, volume: made.volume }) };
    },
    storageVolCreateXmlFrom: async ({ pool, xml, clonevol, flags }, call) => {
      checkFlags(flags, create.preallocMetadata | create.reflink | create.validate, call);
      const found = requireActive(await poolOf(engine, pool));
      const source = await volumeOf(engine, clonevol);
      const definition = ofCopy(definitionOf(xml, flags), source);
      const options = {
        preallocateMetadata: (flags & create.preallocMetadata) !== 0,
        // A copy shares blocks wherever the file system can; with the flag it must.
        mustShare: (flags & create.reflink) !== 0,
      };
      const made = await told(definition, () =>
        storage.volumeCreation.clone(source, found, definition, options),
      );
      return { vol: wireVolumeOf({ pool: found, volume: made.volume }) };
    },
  } satisfies RemoteHandlers;
}

/** With the flag what is not known is an error; without it, it is left out, as libvirt does. */
function definitionOf(xml: string, flags: number): VolumeDef {
  const mode = (flags & create.validate) === 0 ? 'lenient' : 'strict';
  return parseVolume(xml, { mode }).definition;
}

/** Clients send the original's document with another name: what lies below it comes along inside of a full copy. */
function ofCopy(definition: VolumeDef, { volume }: FoundVolume): VolumeDef {
  const { backingStore, ...whole } = definition;
  return backingStore === undefined || backingStore.path === volume.backing?.path ? whole : definition;
}

/** @throws LibvirtError in libvirt's form when the name is taken */
async function told<T>({ name }: VolumeDef, make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    if (!isVirtError(error, 'volume.exists')) throw error;
    throw new LibvirtError(errorNumber.storageVolExist, `'${name}'`, errorDomain.storage);
  }
}

function volumeChanges(engine: Engine) {
  const { storage } = engine;
  const wipe = async (vol: Parameters<typeof volumeOf>[1], algorithm: number) => {
    const found = await volumeOf(engine, vol);
    const name = wipeAlgorithms[algorithm];
    if (name === undefined) throw invalid(`wiping algorithm ${algorithm} not supported`);
    await storage.volumeChanges.wipe(found, name);
  };
  return {
    // For good: libvirt's clients know no trash, and delete to have the space. virt-manager deletes the disks of a
    // domain that is to go before the domain.
    storageVolDelete: async ({ vol, flags }, call) => {
      checkFlags(flags, DELETE_ZEROED, call);
      const found = await volumeOf(engine, vol);
      if ((flags & DELETE_ZEROED) !== 0) {
        await storage.volumes.refuseUsed(found, 'delete', runsOrLiesOn);
        await storage.volumeChanges.wipe(found, 'zero');
      }
      await storage.volumeChanges.delete(found, { keep: false, evenOfStopped: true });
    },
    storageVolWipe: ({ vol, flags }, call) => {
      checkFlags(flags, 0, call);
      return wipe(vol, 0);
    },
    storageVolWipePattern: ({ vol, algorithm, flags }, call) => {
      checkFlags(flags, 0, call);
      return wipe(vol, algorithm);
    },
    storageVolResize: async ({ vol, capacity, flags }, call) => {
      checkFlags(flags, resize.allocate | resize.delta | resize.shrink, call);
      await storage.volumeChanges.resize(
        await volumeOf(engine, vol),
        resizeWish(bytesOf(capacity, 'capacity'), flags),
      );
    },
  } satisfies RemoteHandlers;
}

/** With "delta" the number says by how much; together with "shrink" it is taken off. */
function resizeWish(capacityBytes: number, flags: number): ResizeWish {
  const shrink = (flags & resize.shrink) !== 0;
  const isDelta = (flags & resize.delta) !== 0;
  return {
    capacityBytes,
    relative: !isDelta ? 'no' : shrink ? 'less' : 'more',
    allocate: (flags & resize.allocate) !== 0,
    shrink,
  };
}

/** Where bytes go, or come from; undefined is "to the end". */
interface Range {
  readonly offset: number;
  readonly length: number | undefined;
}

function rangeOf(offset: number | bigint, length: number | bigint): Range {
  return { offset: bytesOf(offset, 'offset'), length: bytesOf(length, 'length') || undefined };
}

function volumeTransfers(engine: Engine) {
  return {
    storageVolUpload: async ({ vol, offset, length, flags }, call) => {
      checkFlags(flags, SPARSE_STREAM, call);
      const takesHoles = (flags & SPARSE_STREAM) !== 0;
      await openUpload(engine, await volumeOf(engine, vol), rangeOf(offset, length), { call, takesHoles });
    },
    storageVolDownload: async ({ vol, offset, length, flags }, call) => {
      checkFlags(flags, SPARSE_STREAM, call);
      const range = rangeOf(offset, length);
      const download = await engine.storage.volumeTransfers.download(await volumeOf(engine, vol), {
        ...range,
        sparse: true,
        checksum: false,
      });
      const client = downloadStream(download, { sparse: (flags & SPARSE_STREAM) !== 0 });
      call.openStream({ ...client, onFinish: 'destroy', takesData: false });
    },
  } satisfies RemoteHandlers;
}

/** Raw volumes are written in place and keep their size; an image comes whole, and replaces the old one when it has. */
async function openUpload(
  engine: Engine,
  { pool, volume }: FoundVolume,
  { offset, length }: Range,
  { call, takesHoles }: { readonly call: Call; readonly takesHoles: boolean },
): Promise<void> {
  const isInPlace = volume.format === 'raw' || offset > 0;
  const upload = await engine.storage.volumeTransfers.upload(pool, volume.name, {
    ...(isInPlace && { offset }),
    sparse: true,
    overwrite: true,
    resumable: false,
    checksum: false,
  });
  const duplex = uploadStream(upload, length);
  call.openStream({
    ...{ duplex, onFinish: 'end', takesData: true, takesHoles, returnsBuffers: true },
    expectedBytes: length,
  });
}
