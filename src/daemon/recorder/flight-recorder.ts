/**
 * The flight recorder: what happened around each guest lately. Whoever has something to tell pushes a small object; a second
 * later all of them are written behind each other to a file per guest, which never grows past two halves. So a daemon or a guest
 * that died is still explained, and next to nothing is kept in memory.
 */
import { reasonOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RecordFiles } from './record-files.ts';

/** Where an entry comes from: a client's call, QEMU's monitor, an event of the daemon, the host, the guest's network. */
export type FlightKind = 'call' | 'qmp' | 'event' | 'host' | 'network';

/** One thing that happened. */
export interface FlightEntry {
  /** Milliseconds since 1970; of repeated entries, the last. */
  readonly atMs: number;
  readonly kind: FlightKind;
  readonly text: string;
  /** What it came with: scalars and small objects, no secrets. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** How often it happened in a row, when more than once. */
  readonly times?: number;
}

/** Entries of one guest that wait to be written; when the disk takes nothing, the oldest go. */
const MAX_WAITING = 128;
/** So long after the first entry all that wait are written. */
const FLUSH_MS = 1000;

type Waiting = { -readonly [K in keyof FlightEntry]: FlightEntry[K] };

export class FlightRecorder {
  private readonly files: RecordFiles;
  private readonly log: Logger;
  private readonly waiting = new Map<string, Waiting[]>();
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> = Promise.resolve();
  private readonly clean: (uuid: string, entries: readonly FlightEntry[]) => readonly FlightEntry[];
  private isTold = false;
  private isClosed = false;

  /** `clean`: takes out what must not be kept, just before entries are written. */
  constructor(options: {
    readonly files: RecordFiles;
    readonly log: Logger;
    readonly clean?: (uuid: string, entries: readonly FlightEntry[]) => readonly FlightEntry[];
  }) {
    this.files = options.files;
    this.clean = options.clean ?? ((_uuid, entries) => entries);
    this.log = options.log;
  }

  /** Notes something about a guest. Costs a small object; nothing is formatted or written here. */
  note(uuid: string, kind: FlightKind, text: string, facts?: Readonly<Record<string, unknown>>): void {
    let entries = this.waiting.get(uuid);
    if (entries === undefined) this.waiting.set(uuid, (entries = []));
    const atMs = Date.now();
    const last = entries.at(-1);
    if (facts === undefined && last?.text === text && last.kind === kind && last.facts === undefined) {
      last.times = (last.times ?? 1) + 1;
      last.atMs = atMs;
      return;
    }
    if (entries.length >= MAX_WAITING) entries.shift();
    entries.push(facts === undefined ? { atMs, kind, text } : { atMs, kind, text, facts });
    if (!this.isClosed) this.timer ??= setTimeout(() => void this.flush(), FLUSH_MS).unref();
  }

  /** Writes what waits; what is noted later is not written any more. */
  close(): Promise<void> {
    this.isClosed = true;
    return this.flush();
  }

  /** Writes what waits. Never rejects: what cannot be written waits for the next time. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.writing = this.writing.then(() => this.write());
    return this.writing;
  }

  /** What is known of a guest, the oldest first, and at most `limit` entries. @throws VirtError file.* */
  async read(uuid: string, limit: number): Promise<FlightEntry[]> {
    await this.flush();
    const entries = [...(await this.files.read(uuid)), ...this.clean(uuid, this.waiting.get(uuid) ?? [])];
    return entries.slice(-limit);
  }

  private async write(): Promise<void> {
    const batches = [...this.waiting];
    this.waiting.clear();
    for (const [uuid, entries] of batches) {
      try {
        await this.files.append(uuid, this.clean(uuid, entries));
      } catch (error) {
        this.keep(uuid, entries);
        // Once: a full disk would fill the log as well.
        if (!this.isTold) this.log.warn({ reason: reasonOf(error) }, 'the flight recorder cannot write');
        this.isTold = true;
      }
    }
  }

  private keep(uuid: string, entries: readonly Waiting[]): void {
    const all = [...entries, ...(this.waiting.get(uuid) ?? [])];
    this.waiting.set(uuid, all.slice(-MAX_WAITING));
  }
}
