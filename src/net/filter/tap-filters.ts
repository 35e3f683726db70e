/** Filters on the taps of running guests: put in place, kept in place, taken away. */

import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import { FfiError } from '../../base/ffi.ts';
import type { Logger } from '../../base/log.ts';
import { nftGeneration } from '../firewall/nft-kernel.ts';
import type { CompiledFilter } from './compile.ts';
import { readFilterTable } from './kernel-state.ts';
import { applyText, dropText, type FilterTableState, isInPlace, tapOfChain } from './transaction.ts';

/** How often the guardian looks, in milliseconds. */
const CHECK_EVERY_MS = 4000;

export interface TapFiltersOptions {
  readonly log: Logger;
  readonly checkEveryMs?: number;
}

/**
 * One per daemon. A tap whose rules somebody flushed is mended at the guardian's next look, which costs one netlink
 * message as long as nobody has changed any rule on the host.
 */
export class TapFilters {
  private readonly log: Logger;
  private readonly checkEveryMs: number;
  private readonly applied = new Map<string, CompiledFilter>();
  private generation: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  private last: Promise<unknown> = Promise.resolve();

  constructor({ log, checkEveryMs = CHECK_EVERY_MS }: TapFiltersOptions) {
    this.log = log;
    this.checkEveryMs = checkEveryMs;
  }

  /**
   * Puts filters in place, by tap: all in one transaction, however many there are. The taps for which something had to be
   * changed.
   * @throws VirtError program.missing, definition.unsupported when the kernel can't filter on bridges
   */
  apply(filters: ReadonlyMap<string, CompiledFilter>): Promise<string[]> {
    return this.inTurn(async () => {
      const changed = await put(filters);
      for (const [tap, filter] of filters) this.applied.set(tap, filter);
      if (this.applied.size > 0) this.watch();
      return changed;
    });
  }

  /** Takes the filter of a tap away. Idempotent; a tap that has none costs nothing. */
  drop(tap: string): Promise<void> {
    return this.inTurn(async () => {
      if (!this.applied.delete(tap)) return;
      await this.remove(new Set([tap]));
    });
  }

  /** Takes away what guests left that ended while no daemon ran. */
  dropOthers(kept: ReadonlySet<string>): Promise<void> {
    return this.inTurn(async () => {
      const chains = read()?.chains ?? [];
      const found = new Set(chains.flatMap((chain) => tapOfChain(chain) ?? []));
      const gone = new Set([...found].filter((tap) => !kept.has(tap)));
      for (const tap of gone) this.applied.delete(tap);
      await this.remove(gone);
    });
  }

  /** Stops watching; the rules stay. */
  detach(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.applied.clear();
  }

  /** Puts back what has disappeared or changed; the taps it was. */
  check(): Promise<string[]> {
    return this.inTurn(async () => {
      const generation = nftGeneration();
      if (generation !== undefined && generation === this.generation) return [];
      const mended = await put(this.applied);
      this.generation = nftGeneration();
      return mended;
    });
  }

  /** Two at once would both find the table missing. */
  private inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const next = this.last.then(work);
    // The failure is its caller's to handle; the next in turn starts all the same.
    this.last = next.catch(() => undefined);
    return next;
  }

  private async remove(taps: ReadonlySet<string>): Promise<void> {
    if (taps.size === 0) return;
    const text = dropText(taps, read());
    if (text !== undefined) await commit(text, `take the filter of ${[...taps].join(', ')} away`);
    if (this.applied.size === 0) this.detach();
  }

  private watch(): void {
    this.timer ??= setInterval(() => void this.look(), this.checkEveryMs).unref(); // It tells its failures itself.
  }

  private async look(): Promise<void> {
    try {
      const mended = await this.check();
      if (mended.length > 0)
        this.log.warn({ taps: mended }, 'filters of guests had disappeared and were put back');
    } catch (error) {
      this.log.error({ err: error }, 'the filters of guests could not be checked');
    }
  }
}

async function put(filters: ReadonlyMap<string, CompiledFilter>): Promise<string[]> {
  const state = read();
  const wrong = [...filters].filter(([tap, filter]) => !isInPlace(tap, filter, state));
  const taps = wrong.map(([tap]) => tap);
  if (wrong.length > 0)
    await commit(
      wrong.map(([tap, filter]) => applyText(tap, filter, state)).join(''),
      `put the filter on ${taps.join(', ')}`,
    );
  return taps;
}

/** A kernel without nf_tables has no table of ours either; putting one there then says what is wrong. */
function read(): FilterTableState | undefined {
  try {
    return readFilterTable();
  } catch (error) {
    if (error instanceof FfiError) return undefined;
    throw error;
  }
}

async function commit(input: string, wanted: string): Promise<void> {
  try {
    await run('nft', ['-f', '-'], { timeoutMs: 30_000, input });
  } catch (error) {
    if (!isVirtError(error, 'program.failed') || !lacksBridges(reasonOf(error))) throw error;
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'the kernel has no nftables rules for bridges, or lacks one of their parts',
      hint: 'modprobe nf_tables nft_meta_bridge; a kernel of your own needs CONFIG_NF_TABLES_BRIDGE',
      cause: error,
    });
  }
}

/** EOPNOTSUPP, EAFNOSUPPORT, ENOENT, EPROTO: how nft tells that the kernel lacks a family or an expression. */
function lacksBridges(reason: string): boolean {
  return /Operation not supported|not supported by protocol|No such file or directory|Protocol error/.test(
    reason,
  );
}
