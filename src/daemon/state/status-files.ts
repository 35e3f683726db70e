/** Status files: what a new daemon must know of what runs, one JSON file for each object, written in order. */
import { hash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type * as z from 'zod';
import { errnoOf, fileError, isVirtError, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, temporarySuffix, writeAtomic } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';

/**
 * The directory of status files, UUID.json. Writes for one object are done one after the other, in the order they were
 * asked for: a status that is late must not come back after the file was removed, or over the intent of the next start.
 * On /run, so a reboot of the host clears them.
 */
export class StatusFiles<
  Status extends { readonly uuid: string },
  New extends { readonly uuid: string } = Status,
> {
  private readonly directory: string;
  private readonly schema: z.ZodType<Status>;
  private readonly log: Logger;
  private readonly turns = new Map<string, Promise<void>>();
  /** Of what each file holds, a hash. */
  private readonly written = new Map<string, string>();

  constructor(options: { directory: string; schema: z.ZodType<Status>; log: Logger }) {
    this.directory = options.directory;
    this.schema = options.schema;
    this.log = options.log;
  }

  /** Reads all status files at start-up; a broken one is renamed to *.broken and named in the log. */
  loadAll(): Status[] {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    const found: Status[] = [];
    for (const file of readdirSync(this.directory).sort()) {
      const path = join(this.directory, file);
      if (file.endsWith(temporarySuffix)) rmSync(path, { recursive: true, force: true });
      if (!file.endsWith('.json')) continue;
      try {
        if (!statSync(path).isFile()) throw new Error('it is not a regular file');
        const status = this.schema.parse(JSON.parse(readFileSync(path, 'utf8')));
        if (`${status.uuid}.json` !== file) throw new Error('it names another UUID than the file');
        found.push(status);
      } catch (error) {
        this.putAside(path, reasonOf(error));
      }
    }
    return found;
  }

  /** A name of its own each time: what was put aside before stays. Failing that, the file stays where it is. */
  private putAside(path: string, reason: string): void {
    const aside = `${path}.${Date.now()}.broken`;
    try {
      renameSync(path, aside);
      this.log.error({ file: path, aside, reason }, 'a runtime status file is broken and was put aside');
    } catch (error) {
      this.log.error(
        { file: path, reason, problem: reasonOf(error) },
        'a runtime status file is broken and could not be put aside',
      );
    }
  }

  save(status: New): Promise<void> {
    return this.update(status.uuid, () => status);
  }

  /** Writes what `current` says when its turn has come; nothing when that is undefined. */
  update(uuid: string, current: () => New | undefined): Promise<void> {
    return this.inTurn(uuid, async () => {
      const status = current();
      if (status === undefined) return;
      const text = JSON.stringify(status);
      const digest = hash('sha256', text, 'base64');
      // A call and the event that it caused often say the same.
      if (this.written.get(uuid) === digest && existsSync(this.pathOf(uuid))) return;
      this.written.delete(uuid);
      const write = (): Promise<void> => writeAtomic(this.pathOf(uuid), text, { mode: 0o600 });
      await write().catch(async (error: unknown) => {
        if (!isVirtError(error, 'file.not-found')) throw error;
        // The directory, made when the daemon started, was taken away.
        await ensureDirectory(this.directory, 0o700);
        await write();
      });
      this.written.set(uuid, digest);
    });
  }

  remove(uuid: string): Promise<void> {
    return this.inTurn(uuid, async () => {
      this.written.delete(uuid);
      try {
        await rm(this.pathOf(uuid));
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove a file', this.pathOf(uuid));
      }
    });
  }

  private inTurn(uuid: string, work: () => Promise<void>): Promise<void> {
    const before = this.turns.get(uuid) ?? Promise.resolve();
    const own = before.then(work);
    const settled = own
      .catch(() => undefined) // Its caller hears of it; the next one has its turn all the same.
      .finally(() => {
        if (this.turns.get(uuid) === settled) this.turns.delete(uuid);
      });
    this.turns.set(uuid, settled);
    return own;
  }

  private pathOf(uuid: string): string {
    return join(this.directory, `${uuid}.json`);
  }
}
