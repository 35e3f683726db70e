/** Hears of changes that others make in a pool's directory (inotify, by Node), and tells them together. */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { reasonOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';

/** Changes are told when it has been quiet for this long, or after the second time in any case. */
const QUIET_MS = 300;
const AT_MOST_MS = 2000;

/** More names than this are told as 'all': a whole scan is quicker then. */
const MANY = 200;

/** A guest that writes its disk makes an event each time. So many in a second, and the watch rests for a while. */
const STORM_EVENTS = 300;
const REST_MS = 5000;

export type Changes = readonly string[] | 'all';

/** Calls back with the names that changed. A directory that cannot be watched is told in the log and left alone. */
export function watchDirectory(
  path: string,
  onChange: (changes: Changes) => void,
  log: Logger,
): { close(): void } {
  const watcher = new DirectoryWatch(path, onChange, log);
  watcher.open();
  return watcher;
}

class DirectoryWatch {
  private readonly path: string;
  private readonly onChange: (changes: Changes) => void;
  private readonly log: Logger;
  private readonly names = new Set<string>();
  private isEverything = false;
  private firstAt: number | undefined;
  private telling: NodeJS.Timeout | undefined;
  private resting: NodeJS.Timeout | undefined;
  private watcher: FSWatcher | undefined;
  private second = { startedAt: 0, events: 0 };

  constructor(path: string, onChange: (changes: Changes) => void, log: Logger) {
    this.path = path;
    this.onChange = onChange;
    this.log = log;
  }

  open(): void {
    try {
      this.watcher = watch(this.path, { persistent: false }, (_kind, name) => this.hear(name));
      this.watcher.on('error', (error) => this.complain(error));
    } catch (error) {
      this.complain(error);
    }
  }

  close(): void {
    clearTimeout(this.telling);
    clearTimeout(this.resting);
    this.watcher?.close();
    this.watcher = undefined;
  }

  private complain(error: unknown): void {
    this.log.warn({ path: this.path, reason: reasonOf(error) }, 'a pool is not watched; refresh it by hand');
  }

  private hear(name: string | null): void {
    if (this.isStorm()) return this.rest();
    if (name?.startsWith('.') === true) return;
    if (name === null) this.isEverything = true;
    else this.names.add(name);
    this.firstAt ??= performance.now();
    clearTimeout(this.telling);
    const waitMs = Math.max(0, Math.min(QUIET_MS, this.firstAt + AT_MOST_MS - performance.now()));
    this.telling = setTimeout(() => this.tell(), waitMs);
    this.telling.unref();
  }

  private tell(): void {
    const told = this.isEverything || this.names.size > MANY ? 'all' : [...this.names];
    this.names.clear();
    this.isEverything = false;
    this.firstAt = undefined;
    this.onChange(told);
  }

  private isStorm(): boolean {
    const now = performance.now();
    if (now - this.second.startedAt > 1000) this.second = { startedAt: now, events: 0 };
    this.second.events += 1;
    return this.second.events > STORM_EVENTS;
  }

  /** Stops listening for some seconds; then the directory's own time tells whether files came or went. */
  private rest(): void {
    if (this.watcher === undefined) return;
    this.watcher.close();
    this.watcher = undefined;
    const before = this.changedAt();
    this.resting = setTimeout(() => {
      this.open();
      if (this.changedAt() !== before) this.hear(null);
    }, REST_MS);
    this.resting.unref();
  }

  private changedAt(): bigint | undefined {
    return statSync(this.path, { bigint: true, throwIfNoEntry: false })?.mtimeNs;
  }
}
