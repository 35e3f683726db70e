/** What the daemon asks of a kind of storage pool, and the plain data that passes between them. */

import type { Permissions, Timestamps } from '../model/storage/permissions.ts';
import type { CompletePoolDef, PoolSpace, PoolType } from '../model/storage/pool/pool.ts';
import type { PoolSource } from '../model/storage/pool/source.ts';
import type { VolumeFormat, VolumeType } from '../model/storage/volume/volume.ts';
import type { ImageFile } from './image-tools.ts';
import type { ImageEncryption } from './passphrase.ts';

/** A volume as it was found. All sizes in bytes. */
export interface VolumeFacts {
  readonly name: string;
  /** What names it on this host for good: its path, for pools of one host. */
  readonly key: string;
  readonly path: string;
  readonly type: VolumeType;
  readonly format: VolumeFormat;
  /** What a guest sees. */
  readonly capacityBytes: number;
  /** What it takes now. */
  readonly allocationBytes: number;
  /** Length of the file or device. */
  readonly physicalBytes: number;
  readonly permissions?: Permissions;
  readonly timestamps?: Timestamps;
  /** The image below, as its header tells; only looked at, never opened for that. */
  readonly backing?: { readonly path: string; readonly format?: VolumeFormat };
  /** How it is encrypted: `luks`, `aes`. */
  readonly encryption?: string;
  readonly compat?: string;
  readonly clusterSizeBytes?: number;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  /** Where it lies, for volumes on partitions and volume groups. */
  readonly extents?: readonly { readonly device: string; readonly start: number; readonly end: number }[];
  /** What is wrong with it: a header that is broken, or names a file outside of the pool. */
  readonly problem?: string;
}

/** How long work is followed and ended. */
export interface Work {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** A volume that is to be made. */
export interface NewVolume {
  readonly name: string;
  readonly format: VolumeFormat;
  readonly capacityBytes: number;
  /** How much of it is to be taken at once. */
  readonly allocationBytes: number;
  readonly backing?: { readonly path: string; readonly format: VolumeFormat };
  readonly compat?: '0.10' | '1.1';
  readonly clusterSizeBytes?: number;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  /** Take metadata at once too (qcow2). */
  readonly preallocateMetadata?: boolean;
  /** A copy shares its blocks with the original, or is not made. */
  readonly mustShare?: boolean;
  readonly nocow?: boolean;
  /** Encrypted with LUKS; goes with formats luks and qcow2. */
  readonly encryption?: ImageEncryption;
  readonly permissions?: Permissions;
}

/** How a build or a delete is wanted (virStoragePoolBuildFlags, virStoragePoolDeleteFlags). */
export interface BuildOptions extends Work {
  /** Make it anew over whatever is there. */
  readonly overwrite?: boolean;
  /** Refuse when anything is there. */
  readonly noOverwrite?: boolean;
}

/** What one scan found. */
export interface ScanResult {
  readonly volumes: readonly VolumeFacts[];
  /** Where the directory of the volumes really is; undefined for pools without one. */
  readonly realDirectory?: string;
  readonly space: PoolSpace;
  /** How many entries are no volumes: FIFOs, hidden files, links nobody vouches for, names that cannot be used. */
  readonly ignored: number;
  /** Volumes that were too young to be judged: look again after some seconds. */
  readonly unsettled: readonly string[];
}

/** Formats of volumes, remembered from the first sight on (docs/decisions/0006-storage-formats.md). */
export interface FormatMemory {
  /** The format that counts, if this volume was seen before; `identity` is device and inode. */
  known(name: string, identity: string): VolumeFormat | undefined;
  /** Whether that was said of a file without content. */
  wasBlank(name: string): boolean;
  /** What a domain's definition says of the path. */
  declared(path: string): Promise<VolumeFormat | undefined>;
  remember(name: string, identity: string, format: VolumeFormat, how: FormatSource): void;
  /** Whether a file may be named as the image below by a file that nobody vouched for. */
  isInsidePool(path: string): boolean;
}

/** Who said of which format a volume is; `blank` is a file that was raw at its first sight since it was all zeros. */
export type FormatSource = 'created' | 'declared' | 'seen' | 'told' | 'blank';

/** Headers that were read before, by what says that a file is still the same. */
export interface HeaderCache {
  get(name: string, stamp: string): CachedHeader | undefined;
  set(name: string, stamp: string, header: CachedHeader): void;
}

/** What is kept of a header. */
export type CachedHeader = Pick<
  VolumeFacts,
  | 'capacityBytes'
  | 'backing'
  | 'encryption'
  | 'compat'
  | 'clusterSizeBytes'
  | 'lazyRefcounts'
  | 'extendedL2'
  | 'problem'
> & { readonly format: VolumeFormat };

/** What a backend is handed to look at volumes. */
export interface ScanContext {
  readonly formats: FormatMemory;
  readonly headers: HeaderCache;
  readonly signal?: AbortSignal | undefined;
}

/**
 * One kind of pool. Without state: an active pool is what the host says, so a restarted daemon finds it. All errors are
 * VirtErrors: definition.unsupported for what this kind cannot do, program.missing with the package to install,
 * pool.build-failed, pool.unresponsive, file.*, program.*.
 */
export interface PoolBackend {
  readonly type: PoolType;
  /** Formats in which volumes can be made; empty when none can be made here. */
  readonly volumeFormats: readonly VolumeFormat[];
  /** What it can do besides. */
  readonly can: {
    readonly build: boolean;
    readonly delete: boolean;
    readonly resize: boolean;
    readonly findSources: boolean;
  };
  /** Whether the pool is mounted, activated, logged in. */
  isActive(pool: CompletePoolDef, work?: Work): Promise<boolean>;
  start(pool: CompletePoolDef, work?: Work): Promise<void>;
  stop(pool: CompletePoolDef, work?: Work): Promise<void>;
  /** Makes the directory, the file system, the volume group or the partition table. */
  build(pool: CompletePoolDef, options: BuildOptions): Promise<void>;
  /** Takes away what build made; a directory only when it is empty. */
  delete(pool: CompletePoolDef, work?: Work): Promise<void>;
  findSources(source: PoolSource | undefined, work?: Work): Promise<PoolSource[]>;
  scan(pool: CompletePoolDef, context: ScanContext): Promise<ScanResult>;
  /** Looks at one volume again; undefined when it is gone or is none. */
  look(pool: CompletePoolDef, name: string, context: ScanContext): Promise<VolumeFacts | undefined>;
  space(pool: CompletePoolDef): Promise<PoolSpace>;
  /** Makes a volume; on any failure nothing is left. @throws VirtError volume.exists, file.no-space, operation.aborted */
  createVolume(pool: CompletePoolDef, volume: NewVolume, work?: Work): Promise<void>;
  /**
   * Makes a volume whose bytes come from `fill`, which writes to a file of that path: it has a temporary name, or is the
   * device itself. For clones, uploads and imports.
   */
  fillVolume(
    pool: CompletePoolDef,
    volume: Pick<NewVolume, 'name' | 'permissions' | 'capacityBytes'> & {
      /** It takes the place of a file of that name when it is whole. */
      readonly replaces?: boolean;
    },
    fill: (path: string) => Promise<void>,
    work?: Work,
  ): Promise<void>;
  deleteVolume(pool: CompletePoolDef, volume: VolumeFacts, work?: Work): Promise<void>;
  resizeVolume(pool: CompletePoolDef, volume: VolumeFacts, resize: ResizeRequest, work?: Work): Promise<void>;
  /** Calls back with names that changed on disk; undefined when this kind cannot be watched. */
  watch?(pool: CompletePoolDef, onChange: (names: readonly string[] | 'all') => void): { close(): void };
  /** Where deleted volumes are kept for a while; undefined where they can't be. */
  trash?(pool: CompletePoolDef): Trash;
  /** Takes away what a daemon that died left unfinished. */
  sweep?(pool: CompletePoolDef): Promise<void>;
}

/** A deleted volume that can be had back. */
export interface TrashedVolume {
  /** Names it in the trash of its pool. */
  readonly id: string;
  readonly name: string;
  readonly format: VolumeFormat;
  readonly capacityBytes: number;
  /** What it still takes. */
  readonly allocationBytes: number;
  readonly deletedAtMs: number;
}

/** The trash of one pool. */
export interface Trash {
  /** @throws VirtError volume.not-found, file.denied, file.no-space */
  put(volume: VolumeFacts): Promise<TrashedVolume>;
  /** The oldest first. */
  list(): Promise<TrashedVolume[]>;
  /** @throws VirtError volume.not-found, volume.exists */
  restore(id: string, name: string): Promise<void>;
  /** For good. */
  remove(ids: readonly string[]): Promise<void>;
}

export interface ResizeRequest {
  /** The volume with all layers below it: what becomes larger must not show what lies below beyond its old end. */
  readonly image: ImageFile;
  readonly capacityBytes: number;
  /** Take the new space at once. */
  readonly allocate: boolean;
  /** Allow it to become smaller: what lies beyond is lost. */
  readonly shrink: boolean;
}
