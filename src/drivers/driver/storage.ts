/** What a driver asks of the storage side: where a volume is, what an image says of itself. */
import type { BackingStore } from '../../model/domain/devices/disk.ts';

/** Formats of disk images as definitions name them. */
export type StorageFormat = BackingStore['format']['type'];

/** What the header of a disk image says of other files; nothing of it is to be trusted. */
export interface ImageHeader {
  /** The image below: its name as it stands, and its format in QEMU's words where the header has it. */
  readonly backing?: { readonly name: string; readonly format: string | undefined };
  /** The data is in another file: its name, '' when the header tells none. */
  readonly dataFile?: string;
  /** How the data is encrypted, where it is. */
  readonly encryption?: string;
}

/** An image that is open: as much of a FileHandle as looking into it needs. */
export interface OpenImage {
  read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  stat(): Promise<{ readonly dev: number; readonly ino: number }>;
  close(): Promise<void>;
}

/** What the driver asks of the storage side: "what does this image say?" (storage/, wired in the daemon). */
export interface ImageReader {
  /**
   * Reads the header of an open image that begins at `offsetBytes`, as one of that format (libvirt's word) and of no
   * other.
   * @throws VirtError definition.unsupported when it is not, or is broken
   */
  readHeader(
    image: Pick<OpenImage, 'read'>,
    what: { readonly format: string; readonly offsetBytes: number },
  ): Promise<ImageHeader>;
}

/** Where a volume of a pool is now. */
export interface VolumePlace {
  readonly path: string;
  readonly type: 'file' | 'block';
  /** What its pool knows of its format, in libvirt's words. */
  readonly format: StorageFormat | 'iso' | undefined;
}

/** A file that a running guest has open. */
export interface HeldFile {
  readonly path: string;
  /** Name of the domain. */
  readonly domain: string;
}

/** What the driver asks of the storage side: "where is this volume?" (wired in the daemon). */
export interface VolumeFinder {
  /** @throws VirtError pool.not-found, pool.inactive, volume.not-found, volume.busy, definition.unsupported */
  find(volume: { readonly pool: string; readonly volume: string }): Promise<VolumePlace>;
  /** Whether images of guests may name a file in that directory as what lies below them: it is an active pool's. */
  allowsBelow(directory: string): Promise<boolean>;
  /** Refuses files of volumes that are being changed right now. @throws VirtError volume.busy */
  refuseBusy(paths: readonly string[]): void;
  /** Which of these files guests other than that one have open, by device and inode. */
  holders(paths: readonly string[], exceptUuid: string | undefined): Promise<readonly HeldFile[]>;
}
