/** The record of volume formats of one place: a small file that outlives refreshes, restarts and redefined pools. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { isVirtError, reasonOf } from '../base/errors.ts';
import { ensureDirectory, readText, writeDurable } from '../base/files.ts';
import type { Logger } from '../base/log.ts';
import { Turns } from '../base/turns.ts';
import { type VolumeFormat, volumeFormats } from '../model/storage/volume/volume.ts';
import type { FormatSource } from './backend.ts';

interface Entry {
  readonly identity: string;
  readonly format: VolumeFormat;
  readonly how: FormatSource;
}

/** The file; its entries are checked one by one, in slices, since there may be many thousands. */
const schema = z.object({
  format: z.literal(1),
  place: z.string(),
  volumes: z.custom<Readonly<Record<string, unknown>>>(
    (value) => typeof value === 'object' && value !== null,
  ),
});

const knownFormats: ReadonlySet<string> = new Set(volumeFormats);
const knownSources: ReadonlySet<string> = new Set(['created', 'declared', 'seen', 'told', 'blank']);

/** @throws Error for what is no entry */
function entryOf(raw: unknown): Entry {
  const { identity, format, how } = (raw ?? {}) as Record<string, unknown>;
  const isGood =
    typeof identity === 'string' && knownFormats.has(String(format)) && knownSources.has(String(how));
  if (!isGood) throw new Error('an entry is broken');
  return { identity, format: format as VolumeFormat, how: how as FormatSource };
}

/** The largest record that is read: some hundred thousand volumes. */
const MAX_BYTES = 64 * 1024 * 1024;

/** Formats by volume name, of one directory. Belongs to the place and not to the pool, which may be defined anew. */
export class FormatRecord {
  private readonly file: string;
  private readonly place: string;
  private readonly byName = new Map<string, Entry>();
  private readonly byIdentity = new Map<string, Entry>();
  private readonly expected = new Map<string, Pick<Entry, 'format' | 'how'>>();
  private isChanged = false;
  private saving: Promise<void> = Promise.resolve();

  private constructor(file: string, place: string) {
    this.file = file;
    this.place = place;
  }

  /**
   * Reads the record of a place; one that is broken is as good as none, and is told in the log.
   * `directory` holds the records of all places.
   */
  static async load(directory: string, place: string, log: Logger): Promise<FormatRecord> {
    await ensureDirectory(directory, 0o700);
    const file = join(directory, `${createHash('sha256').update(place).digest('hex').slice(0, 32)}.json`);
    const record = new FormatRecord(file, place);
    try {
      const { volumes } = schema.parse(JSON.parse(await readText(file, MAX_BYTES)));
      const turns = new Turns();
      for (const [name, entry] of Object.entries(volumes)) {
        record.put(name, entryOf(entry));
        await turns.share();
      }
    } catch (error) {
      if (!isVirtError(error, 'file.not-found'))
        log.error({ file, place, reason: reasonOf(error) }, 'the record of volume formats cannot be read');
    }
    return record;
  }

  /**
   * The format that counts. The same file under another name keeps its format. Another file under a known name keeps it
   * when that was raw by our own or a domain's word; else it is a new file.
   */
  known(name: string, identity: string): VolumeFormat | undefined {
    const said = this.expected.get(name);
    if (said !== undefined) {
      this.expected.delete(name);
      this.remember(name, identity, said.format, said.how);
      return said.format;
    }
    const same = this.byIdentity.get(identity);
    const named = this.byName.get(name);
    const isSaid = named?.how !== 'seen' && named?.how !== 'blank';
    const entry = same ?? (named?.format === 'raw' && isSaid ? named : undefined);
    if (entry !== undefined && (named !== entry || named.identity !== identity))
      this.remember(name, identity, entry.format, entry.how);
    return entry?.format;
  }

  /** Says of which format the file is that has this name now; its identity is learnt at the next look. */
  expect(name: string, format: VolumeFormat, how: FormatSource): void {
    this.expected.set(name, { format, how });
  }

  /** Whether nobody has said anything of it, and it had no content when it was first seen. */
  wasBlank(name: string): boolean {
    return this.byName.get(name)?.how === 'blank';
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  remember(name: string, identity: string, format: VolumeFormat, how: FormatSource): void {
    this.put(name, { identity, format, how });
    this.isChanged = true;
  }

  private put(name: string, entry: Entry): void {
    const before = this.byName.get(name);
    if (before !== undefined && this.byIdentity.get(before.identity) === before)
      this.byIdentity.delete(before.identity);
    this.byName.set(name, entry);
    this.byIdentity.set(entry.identity, entry);
  }

  forget(name: string): void {
    const entry = this.byName.get(name);
    if (entry === undefined) return;
    this.byName.delete(name);
    if (this.byIdentity.get(entry.identity) === entry) this.byIdentity.delete(entry.identity);
    this.isChanged = true;
  }

  keepOnly(names: ReadonlySet<string>): void {
    for (const name of [...this.byName.keys()]) if (!names.has(name)) this.forget(name);
  }

  /** Writes what changed, for good; what is asked for meanwhile is written after. @throws VirtError file.* */
  save(): Promise<void> {
    const own = this.saving.then(() => this.write());
    this.saving = own.catch(() => undefined); // Its caller hears of it.
    return own;
  }

  private async write(): Promise<void> {
    if (!this.isChanged) return;
    this.isChanged = false;
    const volumes = Object.fromEntries(this.byName);
    try {
      await writeDurable(this.file, JSON.stringify({ format: 1, place: this.place, volumes }));
    } catch (error) {
      this.isChanged = true;
      throw error;
    }
  }
}
