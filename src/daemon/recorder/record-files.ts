/** The files of the flight recorder: two halves for each guest, one entry a line as JSON. */
import { closeSync, constants, fstatSync, open as openCallback, write as writeCallback } from 'node:fs';
import { readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import { errnoOf, fileError } from '../../base/errors.ts';
import { ensureDirectory, readText, statIfPresent } from '../../base/files.ts';
import type { FlightEntry } from './flight-recorder.ts';

/** Each of the two halves, in bytes: some 400 entries. */
const HALF_BYTES = 64 * 1024;
/** The longest line; what an entry came with is left out beyond that. */
const MAX_LINE = 2048;
/** Records of guests that are gone are kept so long, and so many of them. */
const KEPT_MS = 7 * 24 * 3600 * 1000;
const MAX_GONE = 200;

const lineSchema = z.object({
  at: z.number(),
  kind: z.enum(['call', 'qmp', 'event', 'host', 'network']),
  text: z.string(),
  facts: z.record(z.string(), z.unknown()).optional(),
  times: z.number().optional(),
});

// Bare descriptors: two trips to another thread for a batch, where a FileHandle takes four.
const open = promisify(openCallback);
const write = promisify(writeCallback) as (fd: number, text: string) => Promise<unknown>;

const nameRule = /^([0-9a-f-]{36})\.(?:new|old)$/;

export class RecordFiles {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Adds entries; a half that is full becomes the old one. @throws VirtError file.* */
  async append(uuid: string, entries: readonly FlightEntry[]): Promise<void> {
    const path = join(this.directory, `${uuid}.new`);
    const text = entries.map(lineOf).join('');
    try {
      const fd = await this.open(path);
      try {
        await write(fd, text);
        // At once, like closing it: what was just written is in memory.
        if (fstatSync(fd).size < HALF_BYTES) return;
      } finally {
        closeSync(fd);
      }
      await rename(path, join(this.directory, `${uuid}.old`));
    } catch (error) {
      throw fileError(error, 'write the flight record', path);
    }
  }

  private async open(path: string): Promise<number> {
    try {
      return await open(path, flags, 0o600);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await ensureDirectory(this.directory, 0o700);
      return await open(path, flags, 0o600);
    }
  }

  /** All entries, the oldest first; a torn line is left out. @throws VirtError file.* */
  async read(uuid: string): Promise<FlightEntry[]> {
    const texts: string[] = [];
    for (const half of ['old', 'new']) {
      const path = join(this.directory, `${uuid}.${half}`);
      if ((await statIfPresent(path)) !== undefined) texts.push(await readText(path, 4 * HALF_BYTES));
    }
    return texts
      .join('')
      .split('\n')
      .flatMap((line) => entryOf(line) ?? []);
  }

  /** Takes away records of guests that are gone: after a week, and where they are many. Never rejects. */
  async sweep(isKnown: (uuid: string) => boolean): Promise<void> {
    const names = await readdir(this.directory).catch(() => [] as string[]); // not there: nothing to sweep
    const gone: { readonly path: string; readonly mtimeMs: number }[] = [];
    for (const name of names) {
      const uuid = nameRule.exec(name)?.[1];
      if (uuid === undefined || isKnown(uuid)) continue;
      const path = join(this.directory, name);
      const stats = await statIfPresent(path).catch(() => undefined); // somebody else's affair
      if (stats !== undefined) gone.push({ path, mtimeMs: stats.mtimeMs });
    }
    gone.sort((a, b) => b.mtimeMs - a.mtimeMs);
    const oldest = Date.now() - KEPT_MS;
    for (const [index, { path, mtimeMs }] of gone.entries())
      if (index >= MAX_GONE || mtimeMs < oldest) await unlink(path).catch(() => undefined); // the next sweep tries again
  }
}

const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;

function lineOf({ atMs, kind, text, facts, times }: FlightEntry): string {
  const short = { at: atMs, kind, text: text.slice(0, MAX_LINE / 2), ...(times !== undefined && { times }) };
  const whole = JSON.stringify(facts === undefined ? short : { ...short, facts });
  return `${whole.length > MAX_LINE ? JSON.stringify({ ...short, facts: cut(facts) }) : whole}\n`;
}

/** Long texts are shortened; what is no text or number goes. */
function cut(facts: FlightEntry['facts']): Record<string, unknown> {
  const short: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(facts ?? {}).slice(0, 8))
    if (typeof value === 'string') short[key.slice(0, 40)] = value.slice(0, 100);
    else if (typeof value === 'number' || typeof value === 'boolean') short[key.slice(0, 40)] = value;
  return short;
}

function entryOf(line: string): FlightEntry | undefined {
  if (line === '') return undefined;
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch {
    return undefined; // the power went while it was written
  }
  const parsed = lineSchema.safeParse(raw);
  if (!parsed.success) return undefined;
  const { at, kind, text, facts, times } = parsed.data;
  return { atMs: at, kind, text, ...(facts && { facts }), ...(times !== undefined && { times }) };
}
