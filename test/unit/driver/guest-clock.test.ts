import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import {
  missedRtcAdjustment,
  rtcAdjustmentOf,
  withRtcAdjustment,
} from '../../../src/drivers/qemu/guest-clock.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';

const definitionWith = (clock: string) =>
  parseDomain(
    `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='pc'>hvm</type></os>${clock}</domain>`,
    { mode: 'strict' },
  ).definition;

it.each([
  [
    "<clock offset='variable' adjustment='3600'/>",
    3600,
    "<clock offset='variable' adjustment='7200' basis='utc'/>",
  ],
  [
    "<clock offset='variable' basis='localtime'/>",
    0,
    "<clock offset='variable' adjustment='7200' basis='localtime'/>",
  ],
  ["<clock offset='utc' adjustment='-5'/>", -5, "<clock offset='variable' adjustment='7200' basis='utc'/>"],
  ["<clock offset='utc'/>", undefined, "<clock offset='utc'/>"],
  ["<clock offset='utc' adjustment='reset'/>", undefined, "<clock offset='utc' adjustment='reset'/>"],
  ["<clock offset='localtime'/>", undefined, "<clock offset='localtime'/>"],
  ['', undefined, undefined],
])('a clock %s is %s ahead at its start, and after the guest set it', (clock, ahead, after) => {
  const definition = definitionWith(clock);
  expect(rtcAdjustmentOf(definition)).toBe(ahead);
  const text = formatDomain(withRtcAdjustment(definition, 7200), { secure: false });
  expect(/<clock.*?\/>/.exec(text)?.[0]).toBe(after);
});

describe('a daemon that comes back', () => {
  /** A monitor that answers with a clock so many seconds ahead. */
  const monitor = (answer: unknown) => ({
    execute: (() => (answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer))) as never,
  });
  const clockAt = (ahead: number) => {
    const at = new Date(Date.now() + ahead * 1000);
    return {
      tm_year: at.getUTCFullYear() - 1900,
      tm_mon: at.getUTCMonth(),
      tm_mday: at.getUTCDate(),
      tm_hour: at.getUTCHours(),
      tm_min: at.getUTCMinutes(),
      tm_sec: at.getUTCSeconds(),
    };
  };
  const variable = definitionWith("<clock offset='variable' adjustment='60' basis='utc'/>");

  it('finds out how far the clock is ahead, when that is news', async () => {
    const ahead = await missedRtcAdjustment(monitor(clockAt(86_400)), variable);
    expect(Math.abs((ahead ?? 0) - 86_400)).toBeLessThan(2);
    expect(await missedRtcAdjustment(monitor(clockAt(60)), variable)).toBeUndefined();
  });

  it.each([
    ["<clock offset='utc'/>", clockAt(86_400)],
    ["<clock offset='variable' basis='localtime'/>", clockAt(86_400)],
    ["<clock offset='variable'/>", { tm_year: 'x' }],
    ["<clock offset='variable'/>", undefined],
    ["<clock offset='variable'/>", new VirtError('qmp.failed', { reason: 'no such property' })],
  ])('leaves %s as it is when it is told %j', async (clock, answer) => {
    expect(await missedRtcAdjustment(monitor(answer), definitionWith(clock))).toBeUndefined();
  });

  it('hands on that the monitor broke off', async () => {
    const closed = new VirtError('qmp.closed', { reason: 'gone' });
    await expect(missedRtcAdjustment(monitor(closed), variable)).rejects.toBe(closed);
  });
});
