/** The clock of a guest that keeps a time of its own: how far it is ahead, at its start and as it runs. */
import * as z from 'zod';
import { isVirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { QmpClient } from './qmp/client.ts';

/**
 * Seconds the guest's clock is ahead at its start where it may keep a time of its own: offset variable, and utc with a
 * number, which libvirt takes for the same. Undefined where a change is lost with the guest.
 */
export function rtcAdjustmentOf({ clock }: DomainDef): number | undefined {
  if (clock?.offset !== 'variable' && clock?.offset !== 'utc') return undefined;
  if (typeof clock.adjustment === 'number') return clock.adjustment;
  return clock.offset === 'variable' ? 0 : undefined;
}

/** The definition of a guest that has set its clock so many seconds ahead. */
export function withRtcAdjustment(definition: DomainDef, aheadSeconds: number): DomainDef {
  const { clock } = definition;
  if (clock === undefined || rtcAdjustmentOf(definition) === undefined) return definition;
  const basis = clock.basis ?? 'utc';
  return { ...definition, clock: { ...clock, offset: 'variable', basis, adjustment: aheadSeconds } };
}

/** struct tm as QEMU tells it: years since 1900, months from 0 (qom/object.c, property_get_tm). */
const brokenDownTime = z.object({
  tm_year: z.int(),
  tm_mon: z.int(),
  tm_mday: z.int(),
  tm_hour: z.int(),
  tm_min: z.int(),
  tm_sec: z.int(),
});

/** Reading takes a moment, and both clocks count whole seconds. */
const NOISE_SECONDS = 2;

/**
 * Asks how far the clock is ahead now, for a daemon that may have missed the news. Undefined when it is as the
 * definition says, when the guest keeps no time of its own, and where the machine does not tell (only PCs do). One that
 * goes by local time is not asked: the host's offset may have changed since its start.
 * @throws VirtError qmp.* when the monitor breaks off
 */
export async function missedRtcAdjustment(
  monitor: Pick<QmpClient, 'execute'>,
  definition: DomainDef,
): Promise<number | undefined> {
  const known = rtcAdjustmentOf(definition);
  if (known === undefined || definition.clock?.basis === 'localtime') return undefined;
  const request = { path: '/machine', property: 'rtc-time' };
  const answer = await monitor.execute('qom-get', request).catch((error: unknown) => {
    if (isVirtError(error, 'qmp.failed')) return undefined;
    throw error;
  });
  const { success, data } = brokenDownTime.safeParse(answer);
  if (!success) return undefined;
  const { tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec } = data;
  const clockMs = Date.UTC(1900 + tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec);
  const ahead = Math.round((clockMs - Date.now()) / 1000);
  return Number.isSafeInteger(ahead) && Math.abs(ahead - known) >= NOISE_SECONDS ? ahead : undefined;
}
