/**
 * Checkpoints and backups of a running guest's disks, as a driver offers them.
 *
 * A checkpoint is a dirty bitmap on each of its disks, kept in the image: what the guest writes from then on is noted.
 * A backup takes all its disks at one moment: it writes them into images (push), or serves them over NBD (pull) and keeps
 * what the guest writes over meanwhile in scratch images. It is one job a guest, however many disks it has. How it ends:
 * QEMU says so of each disk, the driver notes it in the record and tells the event `backup`; the service stores what must
 * outlive the guest and then calls `clear`. Until then QEMU keeps the jobs, so that a daemon that dies finds them again.
 */

import type { LiveGuest } from './live-guest.ts';

export const backupOutcomes = ['completed', 'failed', 'cancelled'] as const;
export type BackupOutcome = (typeof backupOutcomes)[number];

/** A disk of a backup that was begun. */
export interface BackupDiskRecord {
  /** Target of the disk (`vda`). */
  readonly disk: string;
  /** The image that is written: what was asked for, or the scratch image. */
  readonly file: string;
  readonly format: 'qcow2' | 'raw';
  /** How it ended; left out while it goes on. */
  readonly outcome?: BackupOutcome;
  /** Of a disk that has ended: how far it came, in bytes. */
  readonly doneBytes?: number;
  readonly totalBytes?: number;
}

/** What is remembered of a backup in the status of its guest. */
export interface BackupRecord {
  readonly mode: 'push' | 'pull';
  readonly disks: readonly BackupDiskRecord[];
  readonly startedAtMs: number;
  /** The document, with all that was filled in. */
  readonly xml: string;
  /** The checkpoint that was made at the same moment. */
  readonly checkpoint?: string;
  /** Files that were made for it: those go when it fails, or when a pull ends. */
  readonly made: readonly string[];
  /** The socket that a pull serves on; it goes with the backup. */
  readonly socket?: string;
  /** Copies of the certificates for QEMU. */
  readonly tlsDirectory?: string;
  /** QEMU was asked to begin; before that nothing of it is there. */
  readonly hasBegun?: boolean;
  readonly isCancelling?: boolean;
  /** Why it failed: the first reason. */
  readonly error?: string;
  /** What the service keeps with it. */
  readonly note?: string;
}

/** One disk of a backup that is to begin. The image at `file` is there, of the disk's size. */
export interface BackupDiskRequest {
  readonly disk: string;
  readonly file: string;
  readonly isBlockDevice: boolean;
  readonly format: 'qcow2' | 'raw';
  /** The checkpoint since which changes are taken. */
  readonly since?: string;
  /** Pull: the names on the server. */
  readonly exportName?: string;
  readonly exportBitmap?: string;
}

export interface BackupRequest {
  readonly record: Omit<BackupRecord, 'disks' | 'hasBegun' | 'socket' | 'tlsDirectory'>;
  readonly disks: readonly BackupDiskRequest[];
  /** Disks that get a bitmap of the new checkpoint's name at the same moment. */
  readonly checkpointDisks: readonly string[];
  readonly server?:
    | { readonly transport: 'unix'; readonly socket: string; readonly certificates?: string }
    | {
        readonly transport: 'tcp';
        readonly host: string;
        readonly port: number;
        /** The directory with `ca-cert.pem`, `server-cert.pem` and `server-key.pem`; with it, clients must use TLS. */
        readonly certificates?: string;
      };
  /** Bytes a second of each disk; 0 or left out: as fast as it goes. */
  readonly bytesPerSecond?: number;
  /** Pack the clusters of qcow2 images. */
  readonly isCompressed?: boolean;
}

/** What a caller does while a backup begins. */
export interface BackupBeginning {
  readonly save: () => Promise<void>;
  /** Must call `begin` once, or throw before it. */
  readonly around?: ((begin: () => Promise<void>) => Promise<void>) | undefined;
}

/** How far a backup is, in bytes; of a pull, how much of the scratch images is used. */
export interface BackupProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** News of a backup: a disk has ended (`disk`), or all have. */
export interface BackupNews {
  readonly record: BackupRecord;
  readonly status: 'disk' | BackupOutcome;
}

/** The backup of one running guest. All waits have deadlines. Errors: qmp.* */
export interface LiveBackup {
  /** The one that has begun and has not been cleared. */
  readonly record: BackupRecord | undefined;
  /**
   * Begins a backup, all disks at one moment. `save` writes the guest's status; `around` is called when all is ready, and
   * calls what begins it. On failure nothing is left of it but the files that the caller made.
   * @throws VirtError domain.state when there is one, checkpoint.inconsistent, file.*, qmp.*
   */
  begin(request: BackupRequest, options: BackupBeginning): Promise<void>;
  progress(): Promise<BackupProgress>;
  /** Asks for its end; the event tells it. Of a pull that is how it is finished. */
  cancel(): Promise<void>;
  /** After its end: QEMU forgets it, and files that are not needed go. Idempotent. */
  clear(): Promise<void>;
}

/** The checkpoints in the images of one running guest. Errors: qmp.* */
export interface LiveCheckpoints {
  /** Adds a bitmap of that name to all these disks at one moment. */
  add(name: string, disks: readonly string[]): Promise<void>;
  /** Targets of those disks that have no whole bitmap of that name: it is missing, or was cut off. */
  broken(name: string, disks: readonly string[]): Promise<string[]>;
  /** Bytes that were written since, by disk; of disks with a whole bitmap only. */
  sizes(name: string, disks: readonly string[]): Promise<ReadonlyMap<string, number>>;
}

export interface CheckpointRemoving {
  /**
   * Takes the bitmap away from all images of these disks; images without it are passed over, disks that the guest has no
   * more too. Images below the topmost one are opened for writing for that moment; what somebody else uses keeps it.
   * @throws VirtError qmp.*
   */
  removeCheckpoint(guest: LiveGuest, name: string, disks: readonly string[]): Promise<void>;
}
