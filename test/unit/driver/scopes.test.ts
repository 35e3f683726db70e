/** What systemd is asked for a guest, and where the guest is then. */
import { expect, it } from 'vitest';
import { scopeIn, scopeName, transientUnit } from '../../../src/drivers/host-tuning/scopes.ts';

const guest = { id: 7, name: 'web-1 ü', uuid: 'a8d6', pids: [100, 101] };

it('names scopes as libvirt does, so that names of guests come back by unescaping', () => {
  const name = scopeName(guest);
  expect(name).toBe('machine-qemu\\x2d7\\x2dweb\\x2d1\\x20\\xc3\\xbc.scope');
  expect(scopeName({ id: 1, name: '.a_b:C' })).toBe('machine-qemu\\x2d1\\x2d.a_b:C.scope');
});

it('cuts names that systemd would not take, never in the middle of a character', () => {
  const name = scopeName({ id: 1, name: '-'.repeat(200) });
  expect(name.length).toBeLessThanOrEqual(255);
  expect(name).toMatch(/^machine-qemu\\x2d1\\x2d(\\x2d)+\.scope$/);
});

it('asks for a delegated scope with as many properties, devices and processes as it says', () => {
  const words = transientUnit(guest);
  expect(words.slice(0, 3)).toEqual([scopeName(guest), 'fail', '10']);
  expect(words).toEqual(expect.arrayContaining(['Delegate', 'b', 'true', 'Slice', 's', 'machine.slice']));
  expect(words.slice(-5)).toEqual(['au', '2', '100', '101', '0']);
  const devices = words.indexOf('DeviceAllow');
  expect(words.slice(devices, devices + 4)).toEqual(['DeviceAllow', 'a(ss)', '7', 'char-misc']);
  expect(words[devices + 3 + 14]).toBe('CollectMode');
});

it("finds the scope of a process, and nobody else's", () => {
  const path = '/machine.slice/machine-qemu\\x2d7\\x2dweb.scope';
  expect(scopeIn(`0::${path}\n`)).toBe(path);
  expect(scopeIn(`3:cpu:/x\n0::${path}/vireo/vcpu0\n`)).toBe(path);
  expect(scopeIn('0::/system.slice/vireod.service\n')).toBeUndefined();
  expect(scopeIn(`1:name=systemd:${path}\n0::/\n`)).toBeUndefined();
});
