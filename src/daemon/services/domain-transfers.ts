/**
 * How far the saves, snapshots and dumps of domains are, and how the last of each domain went: in this daemon's memory,
 * for clients that watch.
 */
import type { RunningJob } from '../../base/job-registry.ts';
import type { MemoryProgress } from '../../drivers/live-memory.ts';
import type { Domain } from './domain.ts';
import type { EventBus } from './events.ts';

export type MemoryTransferKind = 'save' | 'snapshot' | 'dump';
export type TransferKind = MemoryTransferKind | 'backup';

/** A transfer of a guest's memory, in work or over. */
export interface Transfer {
  readonly kind: TransferKind;
  readonly elapsedMs: number;
  readonly progress: MemoryProgress | undefined;
  /** Of a backup: how much of the disks was written, or of the scratch images of a pull. */
  readonly disks?: { readonly doneBytes: number; readonly totalBytes: number; readonly isScratch: boolean };
  readonly error?: string | undefined;
  /** Undefined while it is in work. */
  readonly outcome: 'completed' | 'failed' | 'cancelled' | undefined;
}

interface Entry {
  readonly kind: TransferKind;
  readonly beganAt: number;
  progress?: MemoryProgress;
}

export class TransferNotes {
  private readonly inWork = new Map<string, Entry>();
  private readonly over = new Map<string, Transfer>();
  private readonly events: EventBus;

  constructor(events: EventBus) {
    this.events = events;
  }

  /** Runs a transfer of memory; `note` hears how far it is. A migration that is whole is told as an event. */
  async run<T>(
    domain: Domain,
    kind: MemoryTransferKind,
    work: (note: (progress: MemoryProgress) => void) => Promise<T>,
  ): Promise<T> {
    const { uuid } = domain;
    const entry: Entry = { kind, beganAt: performance.now() };
    this.inWork.set(uuid, entry);
    let outcome: Transfer['outcome'] = 'failed';
    try {
      const result = await work((progress) => {
        entry.progress = progress;
      });
      outcome = 'completed';
      return result;
    } finally {
      this.inWork.delete(uuid);
      const ended = { ...transferOf(entry), outcome };
      this.over.set(uuid, ended);
      if (outcome === 'completed') this.tell(domain, kind, ended);
    }
  }

  private tell(domain: Domain, job: MemoryTransferKind, { elapsedMs, progress }: Transfer): void {
    // A dump for debuggers is no migration: QEMU counts nothing of this.
    if (progress === undefined || progress.iterations === 0) return;
    const { iterations, downtimeMs, totalMs: _, doneBytes: __, ...figures } = progress;
    this.events.emit('domain.memory-written', domain.identity, {
      ...{ job, durationMs: elapsedMs, stoppedMs: downtimeMs, passes: iterations },
      ...figures,
    });
  }

  /** Notes how one ended that was followed elsewhere. */
  finish({ uuid }: Pick<Domain, 'uuid'>, transfer: Transfer): void {
    this.over.set(uuid, transfer);
  }

  /** The one in work. */
  current({ uuid }: Domain): Transfer | undefined {
    const entry = this.inWork.get(uuid);
    return entry && transferOf(entry);
  }

  /** The last that came to its end; with `forget` nobody hears of it again. */
  last({ uuid }: Domain, { forget }: { readonly forget: boolean }): Transfer | undefined {
    const found = this.over.get(uuid);
    if (forget) this.over.delete(uuid);
    return found;
  }
}

function transferOf({ kind, beganAt, progress }: Entry): Transfer {
  return { kind, elapsedMs: Math.round(performance.now() - beganAt), progress, outcome: undefined };
}

/** Tells progress to both who ask for the transfer and who follow the job. */
export function noteMemory(note: (progress: MemoryProgress) => void, job: RunningJob) {
  return (progress: MemoryProgress): void => {
    note(progress);
    job.progress({ step: 'writing memory', done: progress.doneBytes, total: progress.totalBytes });
  };
}
