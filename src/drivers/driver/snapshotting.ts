/** What a driver does for snapshots of running guests. */
import type { DomainDef } from '../../model/domain/domain.ts';
import type { LiveGuest } from './live-guest.ts';

/** A tag inside the images of a running guest's disks, with what its memory was. */
export interface InternalSnapshot {
  /** The tag. */
  readonly name: string;
  /** Targets of the disks that have it; the first one's image holds the memory. */
  readonly disks: readonly string[];
}

/** A new image on top of a disk's: it is there, empty, and its header names the one below. */
export interface NewOverlay {
  /** `vda` */
  readonly target: string;
  readonly file: string;
  readonly format: 'qcow2';
}

export interface GuestSnapshots {
  /**
   * Writes disks and memory of a guest into its images; the guest stands still meanwhile, and goes on as it was. On
   * failure no image has the tag.
   * @throws VirtError operation.failed when QEMU refuses, qmp.*
   */
  saveSnapshot(guest: LiveGuest, snapshot: InternalSnapshot): Promise<void>;
  /**
   * Puts disks and memory of a guest back to what they were; its vCPUs are stopped afterwards.
   * @throws VirtError operation.failed when QEMU refuses: the guest is stopped then, and what it has is undefined; qmp.*
   */
  loadSnapshot(guest: LiveGuest, snapshot: InternalSnapshot): Promise<void>;
  /**
   * After a daemon that was at it is gone: waits for the end of a load, and tells whether it failed. False where none was begun.
   * @throws VirtError qmp.*
   */
  hasFailedToLoad(guest: LiveGuest): Promise<boolean>;
  /** Takes a tag away from the images of a running guest; images without it are passed over. @throws VirtError as above */
  deleteSnapshot(guest: LiveGuest, snapshot: InternalSnapshot): Promise<void>;
  /**
   * Has a guest write to new images from one moment on, the same for all; the running definition then has them. On failure
   * nothing has changed.
   * @throws VirtError domain.no-device, file.*, qmp.*
   */
  addOverlays(guest: LiveGuest, overlays: readonly NewOverlay[]): Promise<void>;
  /** A running guest writes to these images already: its definition has them from now on. */
  adoptOverlays(guest: LiveGuest, overlays: readonly NewOverlay[]): void;
  /** True when a guest writes to new images that its definition does not know of. @throws VirtError qmp.* */
  isOnNewImages(guest: LiveGuest): Promise<boolean>;
  /**
   * True when a guest that runs with `running` could be put back to a state that was saved under `saved` without a new
   * QEMU: all that a guest can see, and all that QEMU has in memory, is the same.
   */
  isSameMachine(running: DomainDef, saved: DomainDef): boolean;
}
