/** Guests of an earlier daemon: found again, or cleared away. */
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestRecord, StrayGuest } from './guest-record.ts';
import type { LiveGuest } from './live-guest.ts';

/** What a driver does for a daemon that comes after another. */
export interface GuestRecovery {
  /**
   * Finds a guest of an earlier daemon again. Undefined when that process is gone; then `tail` of its log can be
   * had with `logTail`.
   */
  reattach(record: GuestRecord, definition: DomainDef): Promise<LiveGuest | undefined>;
  /** Removes what a dead guest of that record left behind. */
  cleanUp(record: GuestRecord, definition: DomainDef): Promise<void>;
  /** Finds running guests of ours that no record names; directories of guests that nobody has any more are removed. */
  findStrays(known: readonly GuestRecord[]): Promise<StrayGuest[]>;
  /** Ends one of them: its start was never acknowledged. */
  endStray(stray: StrayGuest): Promise<void>;
  /**
   * Makes a record of one whose own was lost, from what its QEMU says; undefined when it is not of that definition.
   * @throws VirtError qmp.* when its monitor does not answer
   */
  recordOf(stray: StrayGuest, definition: DomainDef): Promise<GuestRecord | undefined>;
}
