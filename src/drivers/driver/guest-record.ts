/** What is remembered of a running guest, and what a daemon finds of guests that nothing is remembered of. */
import type { BackupRecord } from './backups.ts';
import type { BlockJobRecord } from './block-jobs.ts';

/**
 * What must be remembered of a running guest to find it again after a restart of the daemon: plain JSON, kept in the
 * runtime status file.
 */
export interface GuestRecord {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat; with the pid it names one process for good. */
  readonly startTimeTicks: string;
  readonly qemuPath: string;
  /** The guest's private runtime directory. */
  readonly directory: string;
  readonly qmpSocket: string;
  /** Path of the pseudo terminal by alias (serial0, console0, ...). */
  readonly ptys: Readonly<Record<string, string>>;
  /** Unix sockets of channels by alias, absolute. */
  readonly sockets: Readonly<Record<string, string>>;
  /** The guest's uid in system mode; undefined when it runs as the daemon's own user. */
  readonly uid?: number;
  readonly startedAtMs: number;
  /** QEMU's own log. */
  readonly logPath: string;
  /** Other logs that QEMU appends to (serial ports), which are kept below their limit. */
  readonly logs: readonly string[];
  /** TCP ports of graphics devices, by their place in the definition. */
  readonly graphicsPorts: readonly GraphicsPorts[];
  /** Processes that serve this guest alone (swtpm, virtiofsd, passt). */
  readonly helpers: readonly HelperRecord[];
  /** Host network devices made for this guest, by the place of their interface. */
  readonly links: Readonly<Record<string, string>>;
  /** Those of them that are the administrator's and stay. */
  readonly keptLinks?: readonly string[];
  /** Sockets outside `directory` that were made for this guest. */
  readonly foreignSockets: readonly string[];
  /** The vsock address that was chosen at the start. */
  readonly vsockCid?: number;
  /** A device that is being plugged in, as a document: a daemon that finds it sees whether QEMU has it. */
  readonly plugging?: string;
  /** Its state is being written to a file. */
  readonly saving?: SavingRecord;
  /** It has just been loaded from a saved state, and nobody has been told yet. */
  readonly loaded?: LoadedRecord;
  /** It was made to stand still for a moment of its disks, and has not gone on. */
  readonly still?: StillRecord;
  /** Seconds the guest's clock was ahead at its start, where the definition lets the guest keep its own time. */
  readonly rtcAdjustmentSeconds?: number;
  /** Jobs on its images that have not been cleared away. */
  readonly blockJobs?: readonly BlockJobRecord[];
  /** A backup of its disks that has not been cleared away. */
  readonly backup?: BackupRecord;
}

/** A save under way: what a daemon needs that finds it cut off. */
export interface SavingRecord {
  /** The file while it is written; it has its own name only when it is whole. */
  readonly temporary: string;
  readonly path: string;
  /** The guest ran before: it is to run again when the save comes to nothing. */
  readonly wasRunning: boolean;
  /** The number of that file in its file system: where `path` has it, the file is whole. */
  readonly inode?: number;
  /** It goes on when the file is whole as well: the file is of a snapshot, or a dump. */
  readonly goesOn?: boolean;
}

/**
 * A guest with its memory as it was saved, which has not run yet or only just does: what a daemon needs that finds it. The
 * state must not be loaded again, since disks change as soon as it runs.
 */
export interface LoadedRecord {
  /** Its virtual CPUs are to run. */
  readonly runs: boolean;
  /** The state is the one that the daemon keeps for the domain: it is given up. */
  readonly isKept: boolean;
}

/** What of a guest stands still while a moment of its disks is taken: a daemon that finds it so lets it go on. */
export interface StillRecord {
  /** Its agent was asked to freeze its file systems. */
  readonly isFrozen?: boolean;
  /** It ran, and QEMU was asked to pause it. */
  readonly isPaused?: boolean;
}

/** A helper process of a guest; pid and start time name it for good. */
export interface HelperRecord {
  readonly kind: string;
  /** The device that it serves, where there can be several. */
  readonly alias?: string;
  readonly pid: number;
  readonly startTimeTicks: string;
}

/** A process that stands in no record. */
export interface StrayProcess {
  readonly pid: number;
  readonly startTimeTicks: string;
  readonly argv: readonly string[];
}

/** Processes of one guest that no record names. Without a uuid there is no QEMU among them, only helpers. */
export interface StrayGuest {
  readonly directory: string;
  readonly uuid?: string;
  readonly processes: readonly StrayProcess[];
}

/** TCP ports of one graphics device. */
export interface GraphicsPorts {
  readonly port?: number;
  readonly tlsPort?: number;
  readonly websocket?: number;
}
