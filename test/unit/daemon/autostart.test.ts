/** Autostart: once in the life of the host for each, whatever happens to daemons meanwhile. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { AutostartMarker } from '../../../src/daemon/state/autostart-marker.ts';
import { define, makeRig, xml } from '../../support/network-rig.ts';

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-autostart-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'marker');
}

it('the marker knows what was tried, and when all is done', () => {
  const path = temporary();
  const first = new AutostartMarker(path);
  expect([first.isDone, first.has('a')]).toEqual([false, false]);
  first.note('a');
  // The daemon dies here.
  const second = new AutostartMarker(path);
  expect([second.isDone, second.has('a'), second.has('b')]).toEqual([false, true, false]);
  second.note('b');
  second.finish();
  expect(new AutostartMarker(path).isDone).toBe(true);
});

it('the empty marker of an older daemon stands for all', () => {
  const path = temporary();
  writeFileSync(path, '');
  expect(new AutostartMarker(path).isDone).toBe(true);
  expect(readFileSync(path, 'utf8')).toBe('');
});

it('a daemon that died in the middle leaves the rest to the next, which starts nothing twice', async () => {
  const marker = temporary();
  const rig = makeRig();
  const networks = [];
  for (const [name, third] of [
    ['a', 10],
    ['b', 11],
    ['c', 12],
  ] as const) {
    const network = await define(rig, xml(name, third));
    if (name !== 'c') await rig.networks.definitions.setAutostart(network, true);
    networks.push(network);
  }
  // 'a' was started, and stopped by somebody since.
  new AutostartMarker(marker).note(networks[0]?.uuid ?? '');
  await rig.networks.bringUp(marker);
  expect(networks.map(({ isActive }) => isActive)).toEqual([false, true, false]);
  await rig.networks.lifecycle.stop(networks[1] ?? expect.fail('b'));
  await rig.networks.bringUp(marker);
  expect(networks.map(({ isActive }) => isActive)).toEqual([false, false, false]);
  expect(existsSync(marker)).toBe(true);
});
