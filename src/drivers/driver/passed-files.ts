/** Descriptors that a client has handed over to stand for a disk's image (`<source fdgroup='...'>`). */

/** One descriptor. */
export interface PassedFile {
  readonly fd: number;
  /** How it was opened: QEMU takes only one that fits what it wants to do. */
  readonly access: 'ro' | 'rw';
  /** Opened with O_DIRECT: since 9.1 QEMU wants that to agree, too. */
  readonly isDirect: boolean;
  /** A block device; else a regular file. */
  readonly isDevice: boolean;
}

/** What one name stands for. */
export interface PassedGroup {
  readonly files: readonly PassedFile[];
  /** Whoever handed them over says that they may be written to, whatever the definition says. */
  readonly isWritable: boolean;
}

/** Who keeps what clients have handed over. */
export interface PassedFileSource {
  /**
   * Copies of the descriptors of a group, which are the caller's to close; undefined when there is no such group for
   * that domain now.
   * @throws FfiError EMFILE
   */
  take(domainUuid: string, name: string): PassedGroup | undefined;
}
