/** Waiting for the end of a transfer of memory: the event that tells it, or a QEMU that will tell nothing. */
import { VirtError } from '../../../base/errors.ts';
import { isHeld, type ProcessId } from '../../../base/spawn.ts';
import type { QmpClient } from '../qmp/client.ts';
import { heldError } from '../qmp/held.ts';

/** How often QEMU is asked how far it is. The end comes as an event. */
const LOOK_MS = 250;

type EventData = Readonly<Record<string, unknown>>;

export interface TransferEnd extends Disposable {
  /** Settles with the event's data. @throws VirtError qmp.closed */
  readonly reached: Promise<EventData>;
}

/** Listens for an event that ends something, from before the command that begins it. */
export function endOf(qmp: QmpClient, name: string, isEnd: (data: EventData) => boolean): TransferEnd {
  const { promise, resolve, reject } = Promise.withResolvers<EventData>();
  const stop = qmp.onEvent((event) => {
    if (event.name === name && isEnd(event.data)) resolve(event.data);
  });
  void qmp.closed.then(({ error }) => reject(error));
  promise.catch(() => undefined); // Whoever waits for it hears of it.
  return { reached: promise, [Symbol.dispose]: stop };
}

export interface Waiting {
  /** What it is for, in words. */
  readonly wanted: string;
  readonly process: ProcessId;
  /** How long QEMU may be held by a signal, or take to obey `signal`. */
  readonly limitMs: number;
  /** Aborted when QEMU has been told to call it off. */
  readonly signal?: AbortSignal | undefined;
  /** Asks how far it is. A look that fails says nothing of the end. */
  readonly look?: () => Promise<void>;
}

/**
 * Waits for the end, as long as it takes: terabytes may be on their way to a slow disk.
 * @throws VirtError qmp.closed; qmp.timeout for a QEMU that is held by a signal, or does not call off what it was told to:
 *   what becomes of the transfer is not known then
 */
export async function untilEnd({ reached }: TransferEnd, waiting: Waiting): Promise<EventData> {
  const givenUp = Promise.withResolvers<never>();
  const watch = { heldMs: 0, abortedMs: 0, isLooking: false };
  const timer = setInterval(() => {
    const { process, limitMs, signal, wanted, look } = waiting;
    watch.heldMs = isHeld(process) ? watch.heldMs + LOOK_MS : 0;
    watch.abortedMs = signal?.aborted === true ? watch.abortedMs + LOOK_MS : 0;
    if (watch.heldMs > limitMs) givenUp.reject(heldError(wanted, process));
    else if (watch.abortedMs > limitMs) givenUp.reject(notObeyed(wanted, limitMs));
    if (look === undefined || watch.isLooking) return;
    watch.isLooking = true;
    look()
      .catch(() => undefined) // The monitor may be gone, of which `reached` tells.
      .finally(() => {
        watch.isLooking = false;
      });
  }, LOOK_MS);
  timer.unref();
  try {
    return await Promise.race([reached, givenUp.promise]);
  } finally {
    clearInterval(timer);
  }
}

function notObeyed(wanted: string, limitMs: number): VirtError {
  return new VirtError('qmp.timeout', {
    wanted,
    reason: `it was called off, and QEMU goes on with it after ${limitMs} ms`,
    hint: 'see whether the disk that it writes to answers; the guest is let go on when QEMU has come to an end',
  });
}
