/** Headers of volumes that were read before: in memory, and on disk for the next daemon. Losing it costs time only. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { isVirtError, reasonOf } from '../base/errors.ts';
import { ensureDirectory, readText, writeAtomic } from '../base/files.ts';
import type { Logger } from '../base/log.ts';
import { Turns } from '../base/turns.ts';
import { volumeFormats } from '../model/storage/volume/volume.ts';
import type { CachedHeader, HeaderCache } from './backend.ts';

const headerSchema = z.object({
  format: z.enum(volumeFormats),
  capacityBytes: z.number(),
  backing: z.object({ path: z.string(), format: z.enum(volumeFormats).optional() }).optional(),
  encryption: z.string().optional(),
  compat: z.string().optional(),
  clusterSizeBytes: z.number().optional(),
  lazyRefcounts: z.boolean().optional(),
  extendedL2: z.boolean().optional(),
  problem: z.string().optional(),
});

const entrySchema = z.object({ stamp: z.string(), header: headerSchema });

/** The file; its entries are checked one by one, in slices, since there may be many thousands. */
const schema = z.object({
  format: z.literal(1),
  headers: z.custom<Readonly<Record<string, unknown>>>(
    (value) => typeof value === 'object' && value !== null,
  ),
});

const MAX_BYTES = 64 * 1024 * 1024;

export class FileHeaderCache implements HeaderCache {
  private readonly file: string;
  private readonly headers = new Map<string, { readonly stamp: string; readonly header: CachedHeader }>();
  private isChanged = false;

  private constructor(file: string) {
    this.file = file;
  }

  static async load(directory: string, place: string, log: Logger): Promise<FileHeaderCache> {
    await ensureDirectory(directory, 0o700);
    const cache = new FileHeaderCache(
      join(directory, `${createHash('sha256').update(place).digest('hex').slice(0, 32)}.json`),
    );
    try {
      const { headers } = schema.parse(JSON.parse(await readText(cache.file, MAX_BYTES)));
      const turns = new Turns();
      for (const [name, entry] of Object.entries(headers)) {
        cache.headers.set(name, entrySchema.parse(entry) as { stamp: string; header: CachedHeader });
        await turns.share();
      }
    } catch (error) {
      if (!isVirtError(error, 'file.not-found'))
        log.warn({ file: cache.file, reason: reasonOf(error) }, 'cached image headers are read anew');
    }
    return cache;
  }

  get(name: string, stamp: string): CachedHeader | undefined {
    const found = this.headers.get(name);
    return found?.stamp === stamp ? found.header : undefined;
  }

  set(name: string, stamp: string, header: CachedHeader): void {
    this.headers.set(name, { stamp, header });
    this.isChanged = true;
  }

  forget(name: string): void {
    if (this.headers.delete(name)) this.isChanged = true;
  }

  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.headers.keys())
      if (!names.has(name)) {
        this.headers.delete(name);
        this.isChanged = true;
      }
  }

  /** @throws VirtError file.* */
  async save(): Promise<void> {
    if (!this.isChanged) return;
    this.isChanged = false;
    await writeAtomic(this.file, JSON.stringify({ format: 1, headers: Object.fromEntries(this.headers) }));
  }
}
