import { afterEach, describe, expect, it, vi } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { keepWatchdogQuiet, listenFds, notify, watchdogMs } from '../../../src/base/sd-notify.ts';

const code = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return isVirtError(error) ? error.code : String(error);
  }
};

describe('notify', () => {
  it('does nothing where no service manager asked', () => {
    expect(notify({ READY: 1 }, {})).toBe(false);
    expect(notify({ READY: 1 }, { NOTIFY_SOCKET: '' })).toBe(false);
  });

  it('refuses a socket that is none', () => {
    expect(code(() => notify({ READY: 1 }, { NOTIFY_SOCKET: 'vsock:2:1234' }))).toBe('system.call');
    expect(code(() => notify({ READY: 1 }, { NOTIFY_SOCKET: '/nowhere/notify' }))).toBe('system.call');
  });
});

describe('listenFds', () => {
  it('takes nothing that is not meant for this process', () => {
    expect(listenFds({}, 42)).toEqual([]);
    expect(listenFds({ LISTEN_FDS: '1', LISTEN_PID: '41' }, 42)).toEqual([]);
    expect(listenFds({ LISTEN_FDS: '0', LISTEN_PID: '42' }, 42)).toEqual([]);
  });

  it.each(['-1', 'x', '1e9', '65'])('refuses the count %s', (count) => {
    expect(code(() => listenFds({ LISTEN_FDS: count, LISTEN_PID: '42' }, 42))).toBe('config.invalid');
  });
});

describe('watchdogMs', () => {
  it.each([
    [{}, undefined],
    [{ WATCHDOG_USEC: '60000000' }, 60_000],
    [{ WATCHDOG_USEC: '1500000', WATCHDOG_PID: '42' }, 1500],
    [{ WATCHDOG_USEC: '1500000', WATCHDOG_PID: '41' }, undefined],
    [{ WATCHDOG_USEC: '0' }, undefined],
    [{ WATCHDOG_USEC: 'soon' }, undefined],
  ])('understands %j', (environment, expected) => {
    expect(watchdogMs(environment, 42)).toBe(expected);
  });
});

describe('keepWatchdogQuiet', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('sends at half the limit until it is ended, and reports what fails', () => {
    vi.useFakeTimers();
    const errors: unknown[] = [];
    const stop = keepWatchdogQuiet((error) => errors.push(error), {
      WATCHDOG_USEC: '1000000',
      NOTIFY_SOCKET: '/nowhere/notify',
    });
    vi.advanceTimersByTime(1000);
    expect(errors).toHaveLength(2);
    stop();
    vi.advanceTimersByTime(1000);
    expect(errors).toHaveLength(2);
  });
});
