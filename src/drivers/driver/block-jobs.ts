/**
 * Jobs on the images of a running guest, as a driver offers them: an image's data is pulled up, merged down, or copied
 * elsewhere while the guest goes on writing. At most one job a disk.
 *
 * How a job ends: QEMU says so, the driver changes the running definition and tells the event `block-job`, the service
 * stores what must outlive the guest and then calls `clear`. Until then QEMU keeps the job, so that a daemon that dies
 * in between finds it again. Before a disk switches to another image (`pivot`), the guest's writes are held and the event
 * has the status `switching`: the service stores the new definition and calls `goOn`. So there is no moment at which a
 * write of the guest is on an image that no definition names.
 */
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { LiveGuest } from './live-guest.ts';

export const blockJobKinds = ['pull', 'commit', 'active-commit', 'copy'] as const;
export type BlockJobKind = (typeof blockJobKinds)[number];

/** What is remembered of a job in the status of its guest. Images are named by their number in the running definition. */
export interface BlockJobRecord {
  /** QEMU's name of the job. */
  readonly id: string;
  readonly kind: BlockJobKind;
  /** Target of the disk (`vda`). */
  readonly disk: string;
  /** Merging: the uppermost image that is merged away. */
  readonly top?: number;
  /** The image that stays below: of a pull (null: none stays), or the one that is merged into. */
  readonly base?: number | null;
  /** The files of images that were merged away are removed at the end. */
  readonly isDeleting?: boolean;
  /** Descriptors that QEMU got for the job: with them it may write to images that are read-only otherwise. */
  readonly grants?: readonly { readonly set: number; readonly fd: number }[];
  /** Both images are the same now, and stay so; only then the disk can switch. */
  readonly isReady?: boolean;
  /** Pulling: all data is there, and the images below are being let go of. */
  readonly isFinishing?: boolean;
  /** What has been asked of it. */
  readonly ending?: 'pivot' | 'cancel';
}

/** What a job does, with how far it is. */
export interface BlockJobInfo extends BlockJobRecord {
  readonly doneBytes: number;
  /** What there is to do; grows while the guest writes. */
  readonly totalBytes: number;
  /** The limit; 0 is none. */
  readonly bytesPerSecond: number;
  /** Waits or ends for a reason of its own: paused by an error. */
  readonly isPaused: boolean;
}

/** A job that is to begin. Images are named by their number; sizes are bytes. */
export type BlockJobRequest = {
  /** Target of the disk. */
  readonly disk: string;
  /** 0 or left out: as fast as it goes. */
  readonly bytesPerSecond?: number;
} & (
  | {
      readonly kind: 'pull';
      /** The image that stays below; null pulls everything up. */
      readonly base: number | null;
      /** Name the base by a relative path where the chain does so. */
      readonly isRelative: boolean;
    }
  | {
      readonly kind: 'commit';
      readonly top: number;
      readonly base: number;
      readonly isRelative: boolean;
      readonly isDeleting: boolean;
    }
  | {
      readonly kind: 'copy';
      /** Where to: an image that is there, of the disk's size. */
      readonly target: Pick<NonNullable<Disk['mirror']>, 'source'> & {
        readonly format: NonNullable<NonNullable<Disk['mirror']>['format']>['type'];
      };
      /**
       * What is below the copy. `none`: it gets all data. `shared`: only the topmost image is copied, and the copy lies on
       * the same image as it. `own`: the same with the images that the copy's header names.
       */
      readonly below: 'none' | 'shared' | 'own';
      /** Bytes that are copied as one; a power of two. */
      readonly granularityBytes?: number;
      readonly bufferBytes?: number;
      /** The guest's writes go to both at once, so that the copy becomes ready under any load. */
      readonly isSynchronous?: boolean;
    }
);

export type BlockJobOutcome = 'completed' | 'failed' | 'cancelled';

/** News of a job. */
export interface BlockJobNews {
  readonly job: BlockJobRecord;
  /** `switching`: the guest's writes are held until `goOn`. An outcome: the running definition is the new one. */
  readonly status: 'ready' | 'switching' | BlockJobOutcome;
  /** The disk before and, for `switching` and what has completed, after. */
  readonly before: Disk;
  readonly after: Disk;
  /** Why it failed. */
  readonly error?: string;
}

/** The jobs of one running guest. All waits have deadlines. Errors: qmp.*, domain.no-block-job */
export interface LiveBlockJobs {
  /** Those that have begun and have not been cleared. */
  readonly records: readonly BlockJobRecord[];
  /** How far each of them is. */
  list(): Promise<BlockJobInfo[]>;
  setSpeed(id: string, bytesPerSecond: number): Promise<void>;
  /** Asks for its end: a copy that is ready stays as it is then, and the disk stays where it was. */
  cancel(id: string): Promise<void>;
  /**
   * Asks a job that is ready to switch the disk, after `save` has stored that it was asked to: a daemon that finds it at
   * its end knows then that the disk switches. @throws VirtError domain.state before it is ready
   */
  pivot(id: string, options: { readonly save: () => Promise<void> }): Promise<void>;
  /** After `switching`: the disk switches. */
  goOn(id: string): Promise<void>;
  /** After `switching`, instead of `goOn`: the disk stays where it was, and the job fails. */
  giveUp(id: string): Promise<void>;
  /** After its end: QEMU forgets the job and the images that the disk has no more. Idempotent. */
  clear(id: string): Promise<void>;
}

export interface BlockJobStarting {
  /**
   * Begins a job on the images of a disk. `save` writes the guest's status when the intent is noted. On failure nothing
   * is left of it.
   * @throws VirtError domain.no-device, domain.state when the disk has a job, definition.unsupported, file.*, qmp.*
   */
  startBlockJob(
    guest: LiveGuest,
    request: BlockJobRequest,
    options: { readonly save: () => Promise<void> },
  ): Promise<BlockJobRecord>;
}
