/** The rehearsal of a quiet daemon: what it does, and that it makes way. */
import { expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { type RehearsedDriver, rehearsed, WarmUp } from '../../../src/daemon/warm-up.ts';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import { complete, context, recorded } from '../../golden/argv/cases.ts';

/** Notes what it is asked for, in order. */
function driver(asked: string[], given: Partial<RehearsedDriver> = {}): RehearsedDriver {
  return {
    async complete(definition) {
      asked.push('complete');
      return definition;
    },
    async check() {
      asked.push('check');
    },
    async capabilitiesXml() {
      asked.push('capabilities');
      return '';
    },
    ...given,
  };
}

it('rehearses a definition that goes through', () => {
  const capabilities = recorded('7.2');
  const { args } = buildCommand(complete(rehearsed, capabilities), capabilities, context);
  expect(args.length).toBeGreaterThan(20);
});

it('asks for all, several times, and is over', async () => {
  const asked: string[] = [];
  const warmUp = new WarmUp(driver(asked));
  expect(await warmUp.run(() => true)).toBe(true);
  expect(asked.slice(0, 4)).toEqual(['complete', 'check', 'capabilities', 'complete']);
  expect(asked.length).toBeGreaterThan(6);
  const { length } = asked;
  expect(await warmUp.run(() => true)).toBe(true);
  expect(asked).toHaveLength(length);
});

it('makes way after each step when somebody comes, lets others run in between, and goes on later', async () => {
  const asked: string[] = [];
  const warmUp = new WarmUp(driver(asked));
  let turns = 0;
  const count = setInterval(() => (turns += 1), 0);
  expect(await warmUp.run(() => !asked.includes('check'))).toBe(false);
  expect(asked).toEqual(['complete', 'check']);
  expect(await warmUp.run(() => asked.length < 3)).toBe(false);
  expect(asked).toEqual(['complete', 'check', 'capabilities']);
  await warmUp.run(() => asked.length < 12);
  clearInterval(count);
  expect(turns).toBeGreaterThan(0);
});

it('tells why it cannot go on, once', async () => {
  const check = async (): Promise<void> => {
    throw new VirtError('qemu.lacks', { wanted: 'use it', reason: 'no such device' });
  };
  const warmUp = new WarmUp(driver([], { check }));
  await expect(warmUp.run(() => true)).rejects.toThrow('no such device');
  expect(await warmUp.run(() => true)).toBe(true);
});
