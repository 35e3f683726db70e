/**
 * The memory and device state of a running guest on their way into a file. Whoever writes such files (save, snapshots
 * with memory, dumps) opens them; QEMU gets a descriptor.
 *
 * A state that is to be loaded again must be of one moment and fit what is on the disks then: stop the guest first
 * (`LiveGuest.suspend`), and keep it from running on those disks afterwards, or copy them at the same moment.
 */

/** How far it is. Bytes, as QEMU counts them; milliseconds since its beginning. */
export interface MemoryProgress {
  readonly totalBytes: number;
  /** What of the guest's memory is done, written or found to be nothing but zeros. */
  readonly doneBytes: number;
  readonly remainingBytes: number;
  /** What has gone into the descriptor. */
  readonly writtenBytes: number;
  /** Pages of one repeated byte, of which only that byte is written. */
  readonly constantPages: number;
  readonly normalPages: number;
  readonly normalBytes: number;
  readonly pageBytes: number;
  readonly bytesPerSecond: number;
  readonly dirtyPagesPerSecond: number;
  /** How often memory was gone through. */
  readonly iterations: number;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly setupMs: number;
}

/**
 * What a dump is: an ELF core, one of the forms of kdump, which need a program that knows them, or a crash dump of
 * Windows, for which the guest's driver must have told QEMU where its own facts are.
 */
export type DumpFormat = 'elf' | 'kdump-zlib' | 'kdump-lzo' | 'kdump-snappy' | 'win-dmp';

/**
 * QEMU's sparse form of a state (mapped-ram): each page has its own place in the file, so that pages of zeros are holes,
 * and several threads write and read at once.
 */
export interface SparseForm {
  /** Where QEMU's part begins in the file. */
  readonly offsetBytes: number;
  /** Threads that write or read: 1 to 255. */
  readonly channels: number;
  /** The same file open past the page cache, for the guest's memory. */
  readonly directFd?: number;
}

export interface MemoryTransferOptions {
  /** Left out: a plain stream. The descriptor must be a file then. */
  readonly sparse?: SparseForm | undefined;
  /** Calls it off: the guest stays as it was, the descriptor gets no more. */
  readonly signal?: AbortSignal;
  /** Hears how far it is, some times a second. */
  readonly onProgress?: (progress: MemoryProgress) => void;
}

export interface LiveMemory {
  /** @throws VirtError qemu.lacks for a QEMU that has no sparse form, qmp.* */
  requireSparse(): Promise<void>;
  /**
   * Writes all of the guest's state, from where the descriptor stands: a file, or a pipe that somebody reads. QEMU then
   * has let go of its disks until it is resumed. On failure the guest can be resumed as well.
   * @throws VirtError operation.aborted, file.no-space, domain.state when a device has state that cannot be saved,
   *   qemu.lacks for the sparse form, qmp.*
   */
  save(fd: number, options?: MemoryTransferOptions): Promise<MemoryProgress>;
  /**
   * Writes the guest's memory as a core; the guest stands still meanwhile. kdump's forms need a file, not a pipe.
   * It cannot be called off.
   * @throws VirtError qemu.lacks for a form that this QEMU was built without, file.no-space, qmp.*
   */
  dump(fd: number, format: DumpFormat, options?: Pick<MemoryTransferOptions, 'onProgress'>): Promise<void>;
}
