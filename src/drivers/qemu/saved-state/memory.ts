/** The driver's LiveMemory over one guest's monitor: QEMU's migration into a descriptor, and its dumps. */
import { isVirtError, VirtError } from '../../../base/errors.ts';
import type { DumpFormat, LiveMemory, MemoryProgress, MemoryTransferOptions } from '../../live-memory.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { CommandResult } from '../qmp/commands.ts';

/** The name of the descriptor in QEMU. */
const FD_NAME = 'vireo-memory';
/** How often QEMU is asked how far it is. The end comes as an event. */
const LOOK_MS = 250;
/** A file takes what the disk takes: QEMU's own limit is for networks (bytes a second). */
const UNLIMITED = 2 ** 50;
/**
 * While it writes the last of a guest that stands still, QEMU holds the lock that its monitor needs: an answer can
 * take as long as a disk may.
 */
const PATIENT = { timeoutMs: 600_000 } as const;

export class QemuMemory implements LiveMemory {
  private readonly qmp: () => QmpClient;

  constructor(qmp: () => QmpClient) {
    this.qmp = qmp;
  }

  save(fd: number, options: MemoryTransferOptions = {}): Promise<MemoryProgress> {
    return sendMemory(this.qmp(), fd, options);
  }

  dump(fd: number, format: DumpFormat, options: Pick<MemoryTransferOptions, 'onProgress'> = {}) {
    return dumpMemory(this.qmp(), fd, format, options);
  }
}

async function sendMemory(
  qmp: QmpClient,
  fd: number,
  { signal, onProgress }: MemoryTransferOptions,
): Promise<MemoryProgress> {
  signal?.throwIfAborted();
  await tellEvents(qmp);
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': UNLIMITED });
  await qmp.passDescriptor(FD_NAME, fd);
  using end = endOf(qmp, 'MIGRATION', ({ status }) => isFinal(status));
  const cancel = (): void => {
    // When it has ended meanwhile there is nothing to call off.
    qmp.execute('migrate_cancel', undefined, PATIENT).catch(() => undefined);
  };
  try {
    await qmp.execute('migrate', { uri: `fd:${FD_NAME}` });
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted === true) cancel();
    const look = async () => onProgress?.(progressOf(await qmp.execute('query-migrate', undefined, PATIENT)));
    await untilEnd(end.reached, look);
  } catch (error) {
    throw cannotSave(error);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
  const info = await qmp.execute('query-migrate', undefined, PATIENT);
  if (info.status === 'completed') return progressOf(info);
  if (signal?.aborted === true)
    throw new VirtError('operation.aborted', { wanted: 'save the state of a guest', reason: 'cancelled' });
  throw writeFailed(info['error-desc'] ?? `QEMU's migration is ${info.status ?? 'gone'}`);
}

/** Has QEMU tell the end of migrations, out of and into it. */
export async function tellEvents(qmp: QmpClient): Promise<void> {
  await qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
}

function isFinal(status: unknown): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

/** Loads a state into a QEMU that waits for one (`-incoming defer`). A state that does not fit ends QEMU. */
export async function receiveMemory(qmp: QmpClient, fd: number, signal?: AbortSignal): Promise<void> {
  await tellEvents(qmp);
  await qmp.passDescriptor(FD_NAME, fd);
  using end = endOf(qmp, 'MIGRATION', ({ status }) => isFinal(status));
  await qmp.execute('migrate-incoming', { uri: `fd:${FD_NAME}` });
  const aborted = Promise.withResolvers<never>();
  const abort = () =>
    aborted.reject(new VirtError('operation.aborted', { wanted: 'load a state', reason: 'cancelled' }));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const { status } = await Promise.race([end.reached, aborted.promise]);
    if (status !== 'completed')
      throw new VirtError('qmp.failed', {
        wanted: 'load a state',
        reason: `QEMU says it is ${String(status)}`,
      });
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

async function dumpMemory(
  qmp: QmpClient,
  fd: number,
  format: DumpFormat,
  { onProgress }: Pick<MemoryTransferOptions, 'onProgress'>,
): Promise<void> {
  const { formats } = await qmp.execute('query-dump-guest-memory-capability');
  if (!formats.includes(format))
    throw new VirtError('qemu.lacks', {
      wanted: 'dump the memory of a guest',
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
  const { error } = await untilEnd(end.reached, look);
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

type EventData = Readonly<Record<string, unknown>>;

/** Waits for an event that ends something. Listen before the command that begins it. */
function endOf(qmp: QmpClient, name: string, isEnd: (data: EventData) => boolean) {
  const { promise, resolve, reject } = Promise.withResolvers<EventData>();
  const stop = qmp.onEvent((event) => {
    if (event.name === name && isEnd(event.data)) resolve(event.data);
  });
  void qmp.closed.then(({ error }) => reject(error));
  promise.catch(() => undefined); // Whoever waits for it hears of it.
  return { reached: promise, [Symbol.dispose]: stop };
}

/** Looks again and again until the end. A look that fails says nothing of the end. */
async function untilEnd(reached: Promise<EventData>, look: () => Promise<void>): Promise<EventData> {
  const state = { isOver: false };
  const over = reached.finally(() => {
    state.isOver = true;
  });
  void lookUntil(state, look);
  return over;
}

async function lookUntil(state: { readonly isOver: boolean }, look: () => Promise<void>): Promise<void> {
  for (;;) {
    await new Promise((done) => setTimeout(done, LOOK_MS).unref());
    if (state.isOver) return;
    // The monitor may be gone, of which `reached` tells.
    await look().catch(() => undefined);
  }
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
