/** What backends ask of those who write images: by path, in an explicit format, with a signal and progress. */
import type { VolumeFormat, WipeAlgorithm } from '../model/storage/volume/volume.ts';
import type { NewVolume, ResizeRequest, Work } from './backend.ts';
import type { Passphrase } from './passphrase.ts';

/** An image file that is there. */
export interface ImageFile {
  readonly path: string;
  readonly format: VolumeFormat;
  /** The image below, found and checked by whoever asks; without it the image has none, whatever its header says. */
  readonly backing?: ImageFile;
  /** Nobody else knows the file, and it is thrown away afterwards: it may be lent to the user that qemu-img runs as. */
  readonly isPrivate?: boolean;
  /** It is known to be encrypted. */
  readonly isEncrypted?: boolean;
  /** What unlocks it, when it turns out to be encrypted with LUKS. */
  readonly passphrase?: Passphrase;
}

/** All paths are absolute; no format is ever probed. */
export interface ImageTools {
  /**
   * Makes an image of that description at `path`, where nothing may be; on failure nothing is left.
   * @throws VirtError file.no-space, file.exists, definition.unsupported, program.*, operation.aborted
   */
  create(path: string, volume: NewVolume, work?: Work): Promise<void>;
  /**
   * Writes what a guest would see of `source` into a new image at `path`: a copy of the bytes where the format stays and
   * nothing lies below, a conversion otherwise.
   */
  copy(source: ImageFile, path: string, volume: NewVolume, work?: Work): Promise<void>;
  /** Changes what a guest sees of `request.image`. @throws VirtError as create */
  resize(request: ResizeRequest, work?: Work): Promise<void>;
  /** Overwrites the bytes, as one of `wipeAlgorithms`. */
  wipe(image: { readonly path: string }, algorithm: WipeAlgorithm, work?: Work): Promise<void>;
}
