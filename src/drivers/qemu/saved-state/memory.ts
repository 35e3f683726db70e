/** The driver's LiveMemory over one guest's monitor: QEMU's migration into a descriptor, and its dumps. */
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { ProcessId } from '../../../base/spawn.ts';
import type {
  DumpFormat,
  LiveMemory,
  MemoryProgress,
  MemoryTransferOptions,
  SparseForm,
} from '../../live-memory.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { CommandResult } from '../qmp/commands.ts';
import { beginSparse, type Prepared, requireSparse } from './sparse.ts';
import { endOf, untilEnd } from './transfer-end.ts';

/** The name of the descriptor in QEMU. */
const FD_NAME = 'vireo-memory';
/** A file takes what the disk takes: QEMU's own limit is for networks (bytes a second). */
const UNLIMITED = 2 ** 50;
/**
 * While it writes the last of a guest that stands still, QEMU holds the lock that its monitor needs: an answer can
 * take as long as a disk may.
 */
const PATIENT = { timeoutMs: 600_000 } as const;

export class QemuMemory implements LiveMemory {
  private readonly qmp: () => QmpClient;
  private readonly process: () => ProcessId;

  constructor(qmp: () => QmpClient, process: () => ProcessId) {
    this.qmp = qmp;
    this.process = process;
  }

  requireSparse(): Promise<void> {
    return requireSparse(this.qmp(), 'save the state of a guest');
  }

  save(fd: number, options: MemoryTransferOptions = {}): Promise<MemoryProgress> {
    return sendMemory(this.qmp(), fd, { ...options, process: this.process() });
  }

  dump(fd: number, format: DumpFormat, options: Pick<MemoryTransferOptions, 'onProgress'> = {}) {
    return dumpMemory(this.qmp(), fd, format, { ...options, process: this.process() });
  }
}

async function sendMemory(
  qmp: QmpClient,
  fd: number,
  { signal, onProgress, process, sparse }: MemoryTransferOptions & { readonly process: ProcessId },
): Promise<MemoryProgress> {
  const wanted = 'save the state of a guest';
  signal?.throwIfAborted();
  await tellEvents(qmp);
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': UNLIMITED });
  await using target = await passState(qmp, fd, sparse, wanted);
  using end = endOf(qmp, 'MIGRATION', ({ status }) => isFinal(status));
  const cancel = (): void => {
    // When it has ended meanwhile there is nothing to call off.
    qmp.execute('migrate_cancel', undefined, PATIENT).catch(() => undefined);
  };
  try {
    await afterDump(() => qmp.execute('migrate', { uri: target.uri }));
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted === true) cancel();
    const look = async () => onProgress?.(progressOf(await qmp.execute('query-migrate', undefined, PATIENT)));
    await untilEnd(end, { wanted, process, limitMs: qmp.commandMs, signal, look });
  } catch (error) {
    if (isVirtError(error, 'qmp.timeout')) {
      cancel(); // It waits in the monitor.
      target.leave();
    }
    throw cannotSave(error);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
  const info = await qmp.execute('query-migrate', undefined, PATIENT);
  if (info.status === 'completed') return progressOf(info);
  if (signal?.aborted === true) throw new VirtError('operation.aborted', { wanted, reason: 'cancelled' });
  throw writeFailed(info['error-desc'] ?? `QEMU's migration is ${info.status ?? 'gone'}`);
}

/** Gives QEMU the descriptor in the way that the form needs; what was set up for it goes with the answer. */
async function passState(
  qmp: QmpClient,
  fd: number,
  sparse: SparseForm | undefined,
  wanted: string,
): Promise<Prepared> {
  if (sparse !== undefined) return beginSparse(qmp, fd, sparse, wanted);
  await qmp.passDescriptor(FD_NAME, fd);
  // QEMU closes it itself.
  return { uri: `fd:${FD_NAME}`, leave: () => undefined, [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** How often, and how long apart, a migration is tried while QEMU tidies up after a dump whose end it has told. */
const TRIES = 40;
const TRY_MS = 25;

async function afterDump(begin: () => Promise<unknown>): Promise<void> {
  for (let left = TRIES; ; left--) {
    try {
      await begin();
      return;
    } catch (error) {
      if (left === 0 || !isVirtError(error, 'qmp.failed') || !/dump-guest-memory/.test(error.reason))
        throw error;
      await new Promise((done) => setTimeout(done, TRY_MS));
    }
  }
}

/** Has QEMU tell the end of migrations, out of and into it. */
export async function tellEvents(qmp: QmpClient): Promise<void> {
  await qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
}

function isFinal(status: unknown): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

/**
 * Loads a state into a QEMU that waits for one (`-incoming defer`). A state that does not fit ends QEMU.
 * @throws VirtError qmp.closed, qmp.timeout, operation.aborted, qemu.lacks for the sparse form
 */
export async function receiveMemory(
  qmp: QmpClient,
  fd: number,
  {
    signal,
    process,
    sparse,
  }: Pick<MemoryTransferOptions, 'sparse'> & {
    readonly signal?: AbortSignal | undefined;
    readonly process: ProcessId;
  },
): Promise<void> {
  const wanted = 'load a state';
  await tellEvents(qmp);
  await using source = await passState(qmp, fd, sparse, wanted);
  using end = endOf(qmp, 'MIGRATION', ({ status }) => isFinal(status));
  await qmp.execute('migrate-incoming', { uri: source.uri });
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(new VirtError('operation.aborted', { wanted, reason: 'cancelled' }));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const ended = untilEnd(end, { wanted, process, limitMs: qmp.commandMs });
    const { status } = await Promise.race([ended, aborted.promise]);
    if (status !== 'completed')
      throw new VirtError('qmp.failed', { wanted, reason: `QEMU says it is ${String(status)}` });
  } catch (error) {
    if (isVirtError(error, 'qmp.timeout')) source.leave(); // It is ended next.
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

async function dumpMemory(
  qmp: QmpClient,
  fd: number,
  format: DumpFormat,
  { onProgress, process }: Pick<MemoryTransferOptions, 'onProgress'> & { readonly process: ProcessId },
): Promise<void> {
  const wanted = 'dump the memory of a guest';
  const { formats } = await qmp.execute('query-dump-guest-memory-capability');
  if (!formats.includes(format))
    throw new VirtError('qemu.lacks', {
      wanted,
      reason: `this QEMU cannot write ${format}; it can write ${formats.join(', ')}`,
    });
  await qmp.passDescriptor(FD_NAME, fd);
  using end = endOf(qmp, 'DUMP_COMPLETED', () => true);
  await qmp.execute('dump-guest-memory', { paging: false, protocol: `fd:${FD_NAME}`, detach: true, format });
  const beganAt = performance.now();
  const look = async () => {
    const { completed, total } = await qmp.execute('query-dump', undefined, PATIENT);
    onProgress?.(dumpProgress(completed, total, performance.now() - beganAt));
  };
  const { error } = await untilEnd(end, { wanted, process, limitMs: qmp.commandMs, look });
  if (typeof error === 'string') throw writeFailed(error);
}

function dumpProgress(completed: number, total: number, sinceMs: number): MemoryProgress {
  return {
    ...nothingDone,
    totalBytes: total,
    doneBytes: completed,
    remainingBytes: Math.max(0, total - completed),
    writtenBytes: completed,
    totalMs: Math.round(sinceMs),
  };
}

const nothingDone: MemoryProgress = {
  totalBytes: 0,
  doneBytes: 0,
  remainingBytes: 0,
  writtenBytes: 0,
  constantPages: 0,
  normalPages: 0,
  normalBytes: 0,
  pageBytes: 4096,
  bytesPerSecond: 0,
  dirtyPagesPerSecond: 0,
  iterations: 0,
  totalMs: 0,
  downtimeMs: 0,
  setupMs: 0,
};

function progressOf(info: CommandResult<'query-migrate'>): MemoryProgress {
  const { ram } = info;
  const times = {
    totalMs: info['total-time'] ?? 0,
    downtimeMs: info.downtime ?? 0,
    setupMs: info['setup-time'] ?? 0,
  };
  if (ram === undefined) return { ...nothingDone, ...times };
  return {
    totalBytes: ram.total,
    doneBytes: Math.max(0, ram.total - ram.remaining),
    remainingBytes: ram.remaining,
    writtenBytes: ram.transferred,
    constantPages: ram.duplicate,
    normalPages: ram.normal,
    normalBytes: ram['normal-bytes'],
    pageBytes: ram['page-size'],
    bytesPerSecond: Math.round((ram.mbps * 1_000_000) / 8),
    dirtyPagesPerSecond: ram['dirty-pages-rate'],
    iterations: ram['dirty-sync-count'],
    ...times,
  };
}

/** A device that cannot be saved is found when it is tried: it is the domain's state, not QEMU's fault. */
function cannotSave(error: unknown): unknown {
  if (!isVirtError(error, 'qmp.failed')) return error;
  return new VirtError('domain.state', {
    wanted: 'save the state of a guest',
    reason: error.reason,
    hint: 'take the device that QEMU names out of the guest, or shut the guest down instead',
    cause: error,
  });
}

function writeFailed(reason: string): VirtError {
  const isFull = /No space left on device/.test(reason);
  return new VirtError(isFull ? 'file.no-space' : 'operation.failed', {
    wanted: 'write the state of a guest',
    reason,
  });
}
