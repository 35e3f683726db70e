/** One line on a terminal that tells how far a transfer is; nothing where nobody watches. */
import { formatBytes } from '../../base/units.ts';
import type { Sink } from './output.ts';

const EVERY_MS = 200;

export class ProgressLine {
  private readonly sink: Sink;
  private readonly isShown: boolean;
  private readonly startedAt = performance.now();
  private toldAt = 0;
  private first: number | undefined;
  private hasText = false;

  /** `isQuiet`: for documents, or when the output itself goes to this terminal. */
  constructor(sink: Sink, isQuiet: boolean) {
    this.sink = sink;
    this.isShown = sink.isTTY === true && !isQuiet;
  }

  readonly tell = (done: number, total: number | undefined): void => {
    const now = performance.now();
    this.first ??= done;
    if (!this.isShown || now - this.toldAt < EVERY_MS) return;
    this.toldAt = now;
    const seconds = (now - this.startedAt) / 1000;
    const rate = formatBytes(Math.round((done - this.first) / Math.max(seconds, 0.001)));
    const share = total === undefined || total === 0 ? '' : ` (${Math.floor((100 * done) / total)} %)`;
    const of = total === undefined ? '' : ` of ${formatBytes(total)}`;
    this.sink.write(`\r\x1b[K${formatBytes(done)}${of}${share}, ${rate}/s`);
    this.hasText = true;
  };

  /** Takes the line away. */
  end(): void {
    if (this.hasText) this.sink.write('\r\x1b[K');
    this.hasText = false;
  }
}
