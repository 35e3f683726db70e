/** Files with the history of guests, one of a fixed size for each, UUID.ring. */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fileError, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, statIfPresent } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import { addPoints, emptyRing, type Point, pointsOf, ringBytes, ringProblem, type Span } from './ring.ts';

const SUFFIX = '.ring';
/** Histories of guests that are gone are kept so long. */
const KEPT_MS = 7 * 24 * 3600 * 1000;

export class HistoryFiles {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.directory = options.directory;
    this.log = options.log;
  }

  /** Adds samples; the file is made when it is not there. @throws VirtError file.* */
  async add(uuid: string, points: readonly Point[]): Promise<void> {
    const path = this.pathOf(uuid);
    try {
      await ensureDirectory(this.directory, 0o700);
      const bytes = (await this.load(path)) ?? emptyRing();
      addPoints(bytes, points);
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW;
      const handle = await open(path, flags, 0o600);
      await writeAndClose(handle, bytes);
    } catch (error) {
      throw fileError(error, 'write the history of a guest', path);
    }
  }

  /** The samples of a span; none where there is no file. @throws VirtError file.* */
  async read(uuid: string, span: Span, nowSeconds: number): Promise<Point[]> {
    const bytes = await this.load(this.pathOf(uuid));
    return bytes === undefined ? [] : pointsOf(bytes, span, nowSeconds);
  }

  /** Takes away histories of guests that have been gone for a week. Never rejects. */
  async sweep(isKnown: (uuid: string) => boolean): Promise<void> {
    const names = await readdir(this.directory).catch(() => [] as string[]); // not there: nothing to sweep
    for (const name of names) {
      const path = join(this.directory, name);
      if (isKnown(name.slice(0, 36))) continue;
      const stats = await statIfPresent(path).catch(() => undefined); // somebody else's affair
      if (stats !== undefined && stats.mtimeMs < Date.now() - KEPT_MS)
        await unlink(path).catch(() => undefined); // the next sweep tries again
    }
  }

  private pathOf(uuid: string): string {
    return join(this.directory, `${uuid}${SUFFIX}`);
  }

  /** The bytes; a file that is no history is put aside and named, and undefined is told as for none. */
  private async load(path: string): Promise<Buffer | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw fileError(error, 'read the history of a guest', path);
    }
    let problem: string | undefined;
    try {
      const { size } = await handle.stat();
      const bytes = size === ringBytes ? await handle.readFile() : Buffer.alloc(0);
      problem = size === ringBytes ? ringProblem(bytes) : `it has ${size} bytes, not ${ringBytes}`;
      if (problem === undefined) return bytes;
    } finally {
      await handle.close();
    }
    const aside = `${path}.broken`;
    await rename(path, aside).catch((error: unknown) =>
      this.log.warn({ path, reason: reasonOf(error) }, 'a broken history cannot be put aside'),
    );
    this.log.warn({ path: aside, reason: problem }, 'a history was broken and put aside; a new one begins');
    return undefined;
  }
}

async function writeAndClose(handle: FileHandle, bytes: Buffer): Promise<void> {
  try {
    await handle.write(bytes, 0, bytes.length, 0);
  } finally {
    await handle.close();
  }
}
