/** What is known of images of the catalogue that were pulled: a small file for each, below the data directory. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, fileError, isVirtError, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, readText, removeDurable, writeDurable } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { distributionNames } from '../../model/storage/image-reference.ts';

const recordSchema = z.strictObject({
  format: z.literal(1),
  distribution: z.enum(distributionNames),
  version: z.string().max(32),
  arch: z.string().max(16),
  /** UUID and volume of the pool where it lies. */
  pool: z.string().max(64),
  volume: z.string().max(255),
  url: z.string().max(4096),
  /** As the distribution published it, `sha512:...`. */
  checksum: z.string().max(256),
  /** Of the volume's file as it was stored. */
  sha256: z.string().length(64),
  sizeBytes: z.number().int().min(0),
  pulledAtMs: z.number().int(),
  /** Device, inode, length and time of the file when its sum was right; another one has it computed again. */
  stamp: z.string().max(128),
});
export type PulledImage = z.output<typeof recordSchema>;

const MAX_BYTES = 64 * 1024;

export class PulledImages {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** All records, the newest first. One that cannot be read is told in the log and left alone. */
  async all(): Promise<PulledImage[]> {
    const records: PulledImage[] = [];
    for (const name of await this.names()) {
      const path = join(this.directory, name);
      try {
        records.push(recordSchema.parse(JSON.parse(await readText(path, MAX_BYTES))));
      } catch (error) {
        if (isVirtError(error, 'file.not-found')) continue;
        this.log.warn({ path, reason: reasonOf(error) }, 'the record of a pulled image cannot be read');
      }
    }
    return records.sort((a, b) => b.pulledAtMs - a.pulledAtMs);
  }

  async save(record: PulledImage): Promise<void> {
    await ensureDirectory(this.directory, 0o700);
    await writeDurable(this.pathOf(record), `${JSON.stringify(record, null, 2)}\n`);
  }

  async remove(record: PulledImage): Promise<void> {
    await removeDurable(this.pathOf(record));
  }

  private pathOf({ pool, volume }: PulledImage): string {
    return join(this.directory, `${pool}-${Buffer.from(volume).toString('base64url').slice(0, 180)}.json`);
  }

  private async names(): Promise<string[]> {
    try {
      return (await readdir(this.directory)).filter((name) => name.endsWith('.json'));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(error, 'list the pulled images', this.directory);
    }
  }
}
