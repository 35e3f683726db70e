/** What the daemon asks of a hypervisor driver, and what a driver asks of the host through the daemon. */
import type { DomainDef } from '../model/domain/domain.ts';
import type { CheckpointRemoving } from './driver/backups.ts';
import type { BlockJobStarting } from './driver/block-jobs.ts';
import type { LiveGuest } from './driver/live-guest.ts';
import type { DevicePlugging } from './driver/plugging.ts';
import type { GuestRecovery } from './driver/recovery.ts';
import type { GuestSnapshots } from './driver/snapshotting.ts';
import type { SparseForm } from './live-memory.ts';

export type * from './driver/backups.ts';
export type * from './driver/block-jobs.ts';
export type * from './driver/cpu-models.ts';
export type * from './driver/guest-events.ts';
export type * from './driver/guest-record.ts';
export type * from './driver/host.ts';
export type * from './driver/launch-security.ts';
export type * from './driver/live-guest.ts';
export type * from './driver/passed-files.ts';
export type * from './driver/plugging.ts';
export type * from './driver/recovery.ts';
export type * from './driver/snapshotting.ts';
export type * from './driver/storage.ts';

/** How a start is wanted. */
export interface StartOptions {
  /** Leave the vCPUs stopped after the start. */
  readonly paused: boolean;
  /** UEFI's variables are made anew from their template; not with `incoming`. */
  readonly resetNvram?: boolean;
  readonly signal?: AbortSignal;
  /** Hears what is being done, in words for people. */
  readonly onStep?: (step: string) => void;
  /** Called when everything is in place but the emulator's process; when it throws, the start has failed with that. */
  readonly beforeLaunch?: (definition: DomainDef) => Promise<void>;
  /** The guest goes on from where it was saved instead of booting. */
  readonly incoming?: IncomingState;
}

/** A saved state to go on from. */
export interface IncomingState {
  /** What QEMU wrote, from where the descriptor stands; the caller's to close after the start. */
  readonly fd: number;
  /** Set for one of QEMU's sparse form. */
  readonly sparse?: SparseForm | undefined;
  /**
   * Called when the state is loaded, before any virtual CPU runs: a state that others could load again is taken away
   * here. When it throws, the start has failed with that.
   */
  readonly onLoaded?: (guest: LiveGuest) => Promise<void>;
}

/** One hypervisor. */
export interface HypervisorDriver
  extends BlockJobStarting,
    CheckpointRemoving,
    DevicePlugging,
    GuestRecovery,
    GuestSnapshots {
  /**
   * Makes a parsed definition complete: emulator, machine type, MACs, controllers, addresses, targets; refuses what is
   * contradictory. The result, formatted and completed again, is the same.
   * @throws VirtError definition.unsupported, network.session, kvm.unusable, qemu.missing
   */
  complete(definition: DomainDef, previous?: DomainDef): Promise<DomainDef>;
  /**
   * Checks a complete definition against its emulator. Apart from `complete`, so that it can be done while the disk
   * writes what may yet be taken back.
   * @throws VirtError definition.unsupported, qemu.missing, qemu.lacks
   */
  check(definition: DomainDef): Promise<void>;
  /** The QEMU command line of a definition as it would be started, for display. */
  commandLine(definition: DomainDef): Promise<readonly string[]>;
  /** Starts a guest. On any failure nothing is left behind. `domainId` is the new libvirt id. */
  start(definition: DomainDef, domainId: number, options: StartOptions): Promise<LiveGuest>;
  /** The end of the QEMU log of a domain, at most `maxBytes`. */
  logTail(definition: DomainDef, maxBytes: number): Promise<string>;
  /** Takes the QEMU logs of a domain away, older ones too. @throws VirtError file.* */
  removeLogs(definition: DomainDef): Promise<void>;
  /** The end of the log file of the first serial device that has one; undefined when none has. */
  consoleLogTail(definition: DomainDef, maxBytes: number): Promise<string | undefined>;
  /** libvirt's capabilities document and domain capabilities document. */
  capabilitiesXml(): Promise<string>;
  domainCapabilitiesXml(query: {
    readonly emulator?: string;
    readonly arch?: string;
    readonly machine?: string;
    readonly virtType?: string;
  }): Promise<string>;
}
